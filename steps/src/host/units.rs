//! systemd: it starts programs at boot. This layer is as thin as can be; other code decides what a unit says.

use super::edge::{Hindrance, HostError};
use async_trait::async_trait;
use std::fmt::Debug;
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
}
