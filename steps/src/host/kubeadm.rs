//! The installed kubeadm, which renews certificates.

use super::edge::{Hindrance, HostError};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// kubeadm reads the cluster's configuration first, which may not answer, and goes on without.
const WITHIN: Duration = Duration::from_secs(60);
/// Where kubeadm keeps its kubeconfigs. No flag changes that.
const ROOT: &str = "/etc/kubernetes";

/// The version of the kubeadm on the path.
pub(super) async fn version() -> Result<String, HostError> {
    let output = run(&["version", "-o", "short"], Stdio::null()).await?;
    Ok(output.trim().to_owned())
}

/// Has kubeadm renew one certificate. A kubeadm that outlives this process, which was killed, holds the lock on
/// the directory until it ends: no second one writes beside it.
pub(super) async fn renew(name: &str, root: &Path) -> Result<(), HostError> {
    let attempt = format!("kubeadm certs renew {name}");
    if root != Path::new(ROOT) {
        let cause = format!("kubeadm renews what is below {ROOT}, not below {}", root.display());
        return Err(HostError::hindered(Hindrance::Unsupported, attempt, cause));
    }
    let Some(lock) = locked(root)? else {
        return Err(HostError::new(attempt, "a kubeadm that was started before is still at work"));
    };
    let dir = root.join("pki");
    let dir = dir.to_string_lossy();
    let kubeconfig = root.join("admin.conf");
    let kubeconfig = kubeconfig.to_string_lossy();
    let words = ["certs", "renew", name, "--cert-dir", &*dir, "--kubeconfig", &*kubeconfig];
    run(&words, Stdio::from(lock)).await.map(drop)
}

/// Whether no kubeadm that [`renew`] has started is at work.
///
/// # Errors
/// When the directory cannot be opened.
pub(crate) fn at_rest(root: &Path) -> Result<bool, HostError> {
    locked(root).map(|lock| lock.is_some())
}

/// The directory of the certificates, locked for as long as it is open: in this process, or in a child that has it as
/// its standard input. `None` if another process has it.
fn locked(root: &Path) -> Result<Option<File>, HostError> {
    let dir = root.join("pki");
    let attempt = || format!("lock {}", dir.display());
    let file = File::open(&dir).map_err(|error| HostError::new(attempt(), error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(HostError::of(attempt(), errno)),
    }
}

async fn run(words: &[&str], stdin: Stdio) -> Result<String, HostError> {
    let attempt = format!("kubeadm {}", words.join(" "));
    let command = Command::new("kubeadm").args(words).stdin(stdin).kill_on_drop(true).output();
    let output = match tokio::time::timeout(WITHIN, command).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(HostError::hindered(Hindrance::Unsupported, attempt, error)),
        Err(_) => return Err(HostError::new(attempt, format!("no end within {WITHIN:?}"))),
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(HostError::new(attempt, format!("{}: {}", output.status, said.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a killed process has started goes on to write, and holds the lock meanwhile.
    #[test]
    fn a_kubeadm_that_outlives_its_process_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("pki")).unwrap();
        let lock = Stdio::from(locked(dir.path()).unwrap().unwrap());
        // The command that is dropped at once holds the lock, too.
        let mut sleeper = std::process::Command::new("sleep").arg("60").stdin(lock).spawn().unwrap();
        assert!(!at_rest(dir.path()).unwrap());
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert!(at_rest(dir.path()).unwrap());
    }
}
