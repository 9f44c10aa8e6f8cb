//! The installed kubeadm, which renews certificates.

use super::edge::{Hindrance, HostError, KubeadmPhase};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
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

/// Has a kubeadm go through a phase of `init`. It reads its configuration from its standard input.
pub(super) async fn phase(call: &KubeadmPhase<'_>) -> Result<(), HostError> {
    let (phase, part) = call.phase.split_once('/').unwrap_or((call.phase, ""));
    let kubeconfig = call.kubeconfig.to_string_lossy();
    let words = ["init", "phase", phase, part, "--config", "/dev/stdin", "--kubeconfig", &*kubeconfig];
    let (attempt, mut command) = command(call.program, &words);
    let unsupported = |error| HostError::hindered(Hindrance::Unsupported, attempt.clone(), error);
    let mut child = command.stdin(Stdio::piped()).spawn().map_err(unsupported)?;
    let mut stdin = child.stdin.take();
    let write = async {
        // A kubeadm that ends before it has read all says why.
        if let Some(stdin) = &mut stdin {
            let _ = stdin.write_all(call.config.as_bytes()).await;
        }
        drop(stdin);
    };
    let ended = async { tokio::join!(write, child.wait_with_output()).1 };
    ended_within(&attempt, ended).await.map(drop)
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
    let (attempt, mut command) = command(Path::new("kubeadm"), words);
    ended_within(&attempt, command.stdin(stdin).output()).await
}

fn command(program: &Path, words: &[&str]) -> (String, Command) {
    let mut command = Command::new(program);
    command.args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    (format!("{} {}", program.display(), words.join(" ")), command)
}

async fn ended_within(
    attempt: &str,
    ended: impl Future<Output = io::Result<Output>>,
) -> Result<String, HostError> {
    let output = match tokio::time::timeout(WITHIN, ended).await {
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
