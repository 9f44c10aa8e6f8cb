//! The process that is broken: the `fulcrum` program again, as a child that works on this process's simulated
//! cluster over loopback TCP. At its point the child says so and waits for a word. Instead of a word it may
//! get SIGKILL.
//!
//! A child whose parent is gone ends, because its standard input ends.

use super::error::RehearsalError;
use super::pace::{API_AWAY, SOON};
use super::point::{Fault, Point, Then};
use super::simulated_site::SimulatedSite;
use fulcrum_engine::load::load;
use fulcrum_steps::certificates::Renewable;
use fulcrum_steps::component::Component;
use fulcrum_steps::plan::{Edit, RenewCerts, Upgrade, UpgradeEtcd};
use fulcrum_steps::preflight::{Found, SelfHosted};
use fulcrum_steps::settings::Settings;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use tokio::net::TcpListener;

/// The child's words at its point.
pub(super) const AT_ITS_POINT: &str = "at its point";
/// A word for the child: go on.
pub(super) const GO_ON: &str = "go on";
/// A word for the child: pause, as after Ctrl-C.
pub(super) const PAUSE: &str = "pause";

/// The orders of a child.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Orders {
    pub(super) verb: Verb,
    pub(super) api: SocketAddr,
    pub(super) state_dir: PathBuf,
    /// The settings for the run that it starts. A run that it takes up has them in the journal.
    pub(super) settings: Option<Settings>,
    /// For [`Verb::Change`]: what changes.
    pub(super) change: Option<Change>,
    pub(super) point: Option<Point>,
}

/// What a child does with the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Starts a run.
    Pivot,
    /// Takes the run up.
    Resume,
    /// Undoes the run.
    Rollback,
    /// Starts a change after the run, which is a completed pivot.
    Change,
}

/// What a child changes of a control plane that is self-hosted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Change {
    /// One command line.
    Edit(Edit),
    /// The release.
    Upgrade(Upgrade),
    /// The image of etcd.
    UpgradeEtcd(UpgradeEtcd),
    /// Certificates.
    RenewCerts(RenewCerts),
    /// Pods that go on with older certificates, as the guard starts them.
    RollCerts(BTreeMap<Component, Vec<Renewable>>),
    /// Who made it: a control plane that was found self-hosted is taken over.
    Adopt(Box<Settings>, Found),
}

impl From<&SelfHosted> for Change {
    fn from(there: &SelfHosted) -> Self {
        Self::Adopt(Box::new(there.settings.clone()), there.found.clone())
    }
}

/// The fate of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildExit {
    /// The child was killed at its point.
    Killed,
    /// The child came to its end.
    Ended,
}

impl SimulatedSite {
    fn serve_on(&self, listener: TcpListener) -> std::io::Result<SocketAddr> {
        match self.is_alone() {
            true => self.machine().serve_on(listener),
            false => self.machine().serve_balanced_on(listener),
        }
    }

    /// Runs `program` as a child that does `verb`, and injects the fault when the child is at its point. A
    /// child that survives is told to go on, or with [`Then::Rollback`] to pause. Then this waits for its
    /// end.
    ///
    /// # Errors
    /// When the child ends without reaching its point, fails, or hangs.
    pub async fn inject_fault(
        &self,
        program: &Path,
        verb: Verb,
        place: Option<(&Point, Fault, Then)>,
    ) -> Result<ChildExit, RehearsalError> {
        self.inject_fault_in(program, (verb, None), place).await
    }

    /// As [`SimulatedSite::inject_fault`], for a child that carries out this change.
    ///
    /// # Errors
    /// As there.
    pub async fn inject_fault_in_change(
        &self,
        program: &Path,
        change: Change,
        place: (&Point, Fault, Then),
    ) -> Result<ChildExit, RehearsalError> {
        self.inject_fault_in(program, (Verb::Change, Some(change)), Some(place)).await
    }

    /// The argument of a child that does `verb`, for a test that starts it in its own way.
    ///
    /// # Errors
    /// When the checks refuse the run.
    pub async fn orders(&self, verb: Verb) -> Result<String, RehearsalError> {
        self.orders_in(verb, None, None).await
    }

    async fn orders_in(
        &self,
        verb: Verb,
        change: Option<Change>,
        point: Option<Point>,
    ) -> Result<String, RehearsalError> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let settings = match verb {
            Verb::Pivot => Some(self.preflight().await?.settings),
            Verb::Resume | Verb::Rollback | Verb::Change => None,
        };
        let (api, state_dir) = (self.serve_on(listener)?, self.state_dir());
        Ok(serde_json::to_string(&Orders { verb, api, state_dir, settings, change, point })?)
    }

    pub(super) async fn inject_fault_in(
        &self,
        program: &Path,
        (verb, change): (Verb, Option<Change>),
        place: Option<(&Point, Fault, Then)>,
    ) -> Result<ChildExit, RehearsalError> {
        let orders = self.orders_in(verb, change, place.map(|(point, ..)| point.clone())).await?;
        let mut child = ChildGuard::start(program, &orders)?;
        let Some((point, fault, then)) = place else { return child.end_well().await };
        if !child.reaches_its_point().await? {
            let status = child.end_well().await;
            let how = status.map_or_else(|error| format!(": {error}"), |_| " well".to_owned());
            let journal = self.journal()?;
            let last = journal.reader().runs()?.pop().map(|header| load(&journal.reader(), header.run));
            let run = last.transpose()?.map(|run| format!("; its run: {}", run.phase())).unwrap_or_default();
            return Err(RehearsalError::Child(format!("it was never at {point}, and ended{how}{run}")));
        }
        match fault {
            Fault::Kill => child.kill().await,
            Fault::Reboot => {
                let killed = child.kill().await;
                self.reboot().await?;
                killed
            }
            Fault::Api => {
                self.machine().hold_down("kube-apiserver");
                child.tell(if then == Then::Rollback { PAUSE } else { GO_ON })?;
                tokio::time::sleep(API_AWAY).await;
                self.machine().repair("kube-apiserver");
                child.end_well().await
            }
            Fault::Partition => {
                self.goes_away();
                self.machine().cut_off();
                child.tell(if then == Then::Rollback { PAUSE } else { GO_ON })?;
                tokio::time::sleep(API_AWAY).await;
                self.machine().connect_again();
                self.may_be_back();
                child.end_well().await
            }
        }
    }
}

/// A child that does not outlive this guard.
struct ChildGuard {
    child: Child,
    stdin: Option<ChildStdin>,
    /// The output where the child says that it is at its point.
    said: Option<BufReader<std::process::ChildStdout>>,
}

impl ChildGuard {
    fn start(program: &Path, orders: &str) -> Result<Self, RehearsalError> {
        let mut command = Command::new(program);
        command.args(["rehearsal-child", orders]).env_remove("FULCRUM_STATE_DIR");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let (stdin, said) = (child.stdin.take(), child.stdout.take().map(BufReader::new));
        Ok(Self { child, stdin, said })
    }

    /// Waits until the child is at its point. False if it came to its end instead.
    async fn reaches_its_point(&mut self) -> Result<bool, RehearsalError> {
        let Some(mut said) = self.said.take() else { return Ok(false) };
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            said.read_line(&mut line).map(|_| (said, line))
        });
        let (said, line) = within(line).await??;
        self.said = Some(said);
        Ok(line.trim_end() == AT_ITS_POINT)
    }

    fn tell(&mut self, word: &str) -> Result<(), RehearsalError> {
        match &mut self.stdin {
            Some(stdin) => Ok(writeln!(stdin, "{word}")?),
            None => Ok(()),
        }
    }

    async fn kill(&mut self) -> Result<ChildExit, RehearsalError> {
        self.child.kill()?;
        let status = self.child.wait()?;
        match status.signal() == Some(Signal::KILL.as_raw()) {
            true => Ok(ChildExit::Killed),
            false => Err(RehearsalError::Child(format!("it was to be killed, and ended with {status}"))),
        }
    }

    /// Waits for the child's end, which must be a good one.
    async fn end_well(&mut self) -> Result<ChildExit, RehearsalError> {
        let status = self.wait().await?;
        if status.success() {
            return Ok(ChildExit::Ended);
        }
        let mut words = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut words)?;
        }
        Err(RehearsalError::Child(format!("it ended with {status}: {}", words.trim_end())))
    }

    /// Waits for the exit. The child's standard output closes as it ends.
    async fn wait(&mut self) -> Result<ExitStatus, RehearsalError> {
        if let Some(mut said) = self.said.take() {
            let closed = tokio::task::spawn_blocking(move || said.read_to_end(&mut Vec::new()));
            within(closed).await??;
        }
        Ok(self.child.wait()?)
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        // Both fail only for a child that has gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn within<T>(task: tokio::task::JoinHandle<T>) -> Result<T, RehearsalError> {
    match tokio::time::timeout(SOON * 2, task).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(panicked)) => Err(RehearsalError::Child(panicked.to_string())),
        Err(_) => Err(RehearsalError::Child(format!("it said nothing for {:?}", SOON * 2))),
    }
}
