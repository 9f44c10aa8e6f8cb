//! systemd: it starts programs at boot. This layer is as thin as can be; other code decides what a unit says.

use super::edge::{Hindrance, HostError};
use async_trait::async_trait;
use rustix::fs::StatVfsMountFlags;
use std::fmt::Debug;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

/// The machine's units.
#[async_trait]
pub trait Units: Send + Sync + Debug {
    /// Whether this machine starts units at all.
    ///
    /// # Errors
    /// What the machine has instead.
    async fn support(&self) -> Result<(), HostError>;

    /// Where the administrator's unit files are.
    fn dir(&self) -> &Path;

    /// The running program, to be copied.
    fn program(&self) -> &Path;

    /// The directory of a copy of the program that outlives the original.
    fn home(&self) -> &Path;

    /// Makes systemd read changed unit files.
    async fn reload(&self) -> Result<(), HostError>;

    /// Starts the unit at every boot, and now. If it runs, it is started anew.
    async fn enable(&self, unit: &str) -> Result<(), HostError>;

    /// The opposite of [`Units::enable`]. With `stop` the unit is also ended now.
    async fn disable(&self, unit: &str, stop: bool) -> Result<(), HostError>;

    /// Whether the unit is started at every boot, and whether it runs.
    async fn state(&self, unit: &str) -> Result<UnitState, HostError>;

    /// What the running unit says of itself, in words. Empty if it says nothing.
    async fn words(&self, unit: &str) -> Result<String, HostError>;

    /// Whether a unit with a sandbox has another directory in the place of the one that `path` is in.
    fn hides(&self, path: &Path) -> bool;

    /// Checks that the running unit finds at `path` the file that this process finds there, and that it may
    /// change the file if it `writes`.
    ///
    /// # Errors
    /// What the unit finds instead.
    async fn sees(&self, unit: &str, path: &Path, writes: bool) -> Result<(), HostError>;
}

/// The state of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnitState {
    /// The unit is started at every boot.
    pub enabled: bool,
    /// The unit runs.
    pub active: bool,
}

/// systemd, through its own command.
#[derive(Debug, Clone)]
pub struct Systemd {
    dir: PathBuf,
    program: PathBuf,
    home: PathBuf,
}

/// systemd waits this long for a unit to report that it is ready, and a little more.
const SYSTEMCTL_WITHIN: Duration = Duration::from_secs(100);

impl Default for Systemd {
    fn default() -> Self {
        Self {
            dir: "/etc/systemd/system".into(),
            // This path is right even when the file has been replaced or deleted since the program was
            // started.
            program: "/proc/self/exe".into(),
            home: "/usr/local/lib/fulcrum".into(),
        }
    }
}

impl Systemd {
    async fn systemctl(&self, args: &[&str]) -> Result<std::process::Output, HostError> {
        let attempt = format!("systemctl {}", args.join(" "));
        let run = Command::new("systemctl").args(args).kill_on_drop(true).output();
        match tokio::time::timeout(SYSTEMCTL_WITHIN, run).await {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(error)) => Err(HostError::hindered(Hindrance::Unsupported, attempt, error)),
            Err(_) => Err(HostError::new(attempt, format!("no end within {SYSTEMCTL_WITHIN:?}"))),
        }
    }

    async fn told(&self, args: &[&str]) -> Result<(), HostError> {
        let output = self.systemctl(args).await?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(HostError::new(
            format!("systemctl {}", args.join(" ")),
            format!("{}: {}", output.status, said.trim()),
        ))
    }

    async fn is(&self, what: &str, unit: &str) -> Result<bool, HostError> {
        Ok(self.systemctl(&[what, "--quiet", unit]).await?.status.success())
    }

    async fn property(&self, name: &str, unit: &str) -> Result<String, HostError> {
        let output = self.systemctl(&["show", "--value", "--property", name, unit]).await?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

/// What a unit with `PrivateTmp` and `PrivateDevices` has for itself, and what names files of one process.
const HIDDEN: [&str; 4] = ["/tmp", "/var/tmp", "/dev", "/proc"];

/// `path` without links, as far as it exists.
fn without_links(path: &Path) -> PathBuf {
    let mut missing = Vec::new();
    for there in path.ancestors() {
        if let Ok(real) = there.canonicalize() {
            return missing.into_iter().rev().fold(real, |path, name| path.join(name));
        }
        missing.extend(there.file_name());
    }
    path.to_owned()
}

/// Compares what is at `path` for this process with what is there below `root`, the root of another one.
fn seen_from(root: &Path, path: &Path, writes: bool) -> Result<(), String> {
    // A link below `root` would be followed from this process's root.
    let real = path.canonicalize().map_err(|error| format!("it cannot be found: {error}"))?;
    let there = root.join(real.strip_prefix("/").unwrap_or(&real));
    let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    let ours = identity(&real).map_err(|error| format!("it cannot be looked at: {error}"))?;
    let theirs = identity(&there).map_err(|error| format!("there it cannot be found: {error}"))?;
    if ours != theirs {
        return Err("there it is another file".to_owned());
    }
    let mounted = rustix::fs::statvfs(&there).map_err(|error| format!("there it cannot be used: {error}"))?;
    match writes && mounted.f_flag.contains(StatVfsMountFlags::RDONLY) {
        true => Err("there it is read-only".to_owned()),
        false => Ok(()),
    }
}

#[async_trait]
impl Units for Systemd {
    async fn support(&self) -> Result<(), HostError> {
        // sd_booted(3) looks at this directory.
        if !Path::new("/run/systemd/system").is_dir() {
            let cause = "there is no /run/systemd/system: this machine was not booted by systemd";
            return Err(HostError::hindered(Hindrance::Unsupported, "look for systemd", cause));
        }
        self.systemctl(&["--version"]).await.map(|_| ())
    }

    fn dir(&self) -> &Path {
        &self.dir
    }

    fn program(&self) -> &Path {
        &self.program
    }

    fn home(&self) -> &Path {
        &self.home
    }

    async fn reload(&self) -> Result<(), HostError> {
        self.told(&["daemon-reload"]).await
    }

    async fn enable(&self, unit: &str) -> Result<(), HostError> {
        self.told(&["enable", unit]).await?;
        self.told(&["restart", unit]).await
    }

    async fn disable(&self, unit: &str, stop: bool) -> Result<(), HostError> {
        let enabled = self.is("is-enabled", unit).await?;
        if enabled {
            self.told(&["disable", unit]).await?;
        }
        match stop && self.is("is-active", unit).await? {
            true => self.told(&["stop", unit]).await,
            false => Ok(()),
        }
    }

    async fn state(&self, unit: &str) -> Result<UnitState, HostError> {
        Ok(UnitState {
            enabled: self.is("is-enabled", unit).await?,
            active: self.is("is-active", unit).await?,
        })
    }

    async fn words(&self, unit: &str) -> Result<String, HostError> {
        self.property("StatusText", unit).await
    }

    fn hides(&self, path: &Path) -> bool {
        let real = without_links(path);
        HIDDEN.iter().any(|hidden| path.starts_with(hidden) || real.starts_with(hidden))
    }

    async fn sees(&self, unit: &str, path: &Path, writes: bool) -> Result<(), HostError> {
        let attempt = || format!("look at {} as {unit} does", path.display());
        let pid = self.property("MainPID", unit).await?;
        let Some(pid) = pid.parse::<u32>().ok().filter(|pid| *pid != 0) else {
            return Err(HostError::new(attempt(), "the unit does not run"));
        };
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        seen_from(&root, path, writes).map_err(|cause| HostError::new(attempt(), cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::{Talker, skipped};

    #[test]
    fn what_a_sandbox_has_for_itself_is_known_also_behind_links() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let elsewhere = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let link = elsewhere.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        let units = Systemd::default();
        for hidden in ["/tmp/admin.conf", "/var/tmp/x/y", "/dev/fd/63", "/proc/self/fd/3"] {
            assert!(units.hides(Path::new(hidden)), "{hidden}");
        }
        assert!(units.hides(&link.join("not/yet")));
        for seen in ["/var/lib/fulcrum", "/etc/kubernetes/admin.conf", "/root/.kube/config", "/tmpfs/x"] {
            assert!(!units.hides(Path::new(seen)), "{seen}");
        }
    }

    #[test]
    fn another_root_is_looked_through() {
        let script = "mount -t tmpfs none /var/tmp && mount --bind /etc /etc && \
                      mount -o remount,bind,ro /etc && echo $$ && exec sleep 60";
        let mut sandboxed =
            Talker::start(std::process::Command::new("unshare").args(["-m", "sh", "-c", script]));
        let Some(pid) = sandboxed.lines().next() else { return skipped("no mount namespace can be made") };
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        let hidden = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
        let cause = seen_from(&root, hidden.path(), false).unwrap_err();
        assert!(cause.starts_with("there it cannot be found"), "{cause}");
        assert_eq!(seen_from(&root, Path::new("/var/tmp"), false).unwrap_err(), "there it is another file");
        assert_eq!(seen_from(&root, Path::new("/etc/passwd"), false), Ok(()));
        assert_eq!(seen_from(&root, Path::new("/etc"), true).unwrap_err(), "there it is read-only");
        assert_eq!(seen_from(&root, Path::new("/usr"), true), Ok(()));
    }
}
