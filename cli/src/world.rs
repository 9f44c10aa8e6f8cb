//! What the arguments mean on this machine: the journal, the clients, the run that is meant.

use crate::exit::{Exit, Failure};
use fulcrum_engine::load::load;
use fulcrum_engine::state::{Journal, LockHolder, OpenError, RunId};
use fulcrum_engine::{Role, Run, Session};
use fulcrum_steps::cluster::{Access, Cluster, connect};
use fulcrum_steps::guard::UNIT;
use fulcrum_steps::host::{Host, Node, Proc, Systemd};
use fulcrum_steps::plan::PIVOT;
use fulcrum_steps::settings::Settings;
use fulcrum_steps::site::Site;
use fulcrum_steps::timeouts::Patience;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a cluster may take to say which it is, before that is left open.
const IDENTITY_WITHIN: Duration = Duration::from_secs(3);

/// What this program calls itself in the journal.
pub(crate) const PROGRAM: &str = concat!("fulcrum ", env!("CARGO_PKG_VERSION"));

pub(crate) fn require_root() -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::refused(
        "this changes files and looks at processes that belong to root; nothing was changed: run it as root",
    ))
}

/// Opens the journal, or says who has it open.
pub(crate) fn open_journal(state_dir: &Path, purpose: &str) -> Result<Journal, Failure> {
    Journal::open(state_dir, purpose).map_err(not_opened)
}

/// Opens the journal to be read: what is left of it, if it is damaged.
pub(crate) fn open_journal_to_read(state_dir: &Path, purpose: &str) -> Result<Journal, Failure> {
    match Journal::open(state_dir, purpose) {
        Err(OpenError::Damaged { .. }) => Journal::salvage(state_dir, purpose).map_err(not_opened),
        opened => opened.map_err(not_opened),
    }
}

fn not_opened(error: OpenError) -> Failure {
    match &error {
        OpenError::Locked { holder: Some(holder), .. } => Failure::new(Exit::Unfinished, in_progress(holder)),
        _ => error.into(),
    }
}

fn in_progress(holder: &LockHolder) -> anyhow::Error {
    let (purpose, pid) = (&holder.purpose, holder.pid);
    if purpose == "guard" {
        return anyhow::anyhow!(
            "the guard, pid {pid}, is at work; wait for its end (`fulcrum status` says what it does), or stop it with \
             `systemctl stop {UNIT}`: it stops at a safe point"
        );
    }
    if !matches!(purpose.as_str(), "pivot" | "resume" | "rollback") {
        return anyhow::anyhow!(
            "`fulcrum {purpose}`, pid {pid}, is reading the journal; wait for its end, or end it"
        );
    }
    let run = holder.run.map_or("a run that is being prepared".to_owned(), |run| format!("run {run}"));
    anyhow::anyhow!(
        "{run} is in progress: `fulcrum {purpose}`, pid {pid}, has the journal open; wait for it, or stop it (SIGINT pauses \
         it at a safe point) and then go on with `fulcrum resume` or undo it with `fulcrum rollback`"
    )
}

/// An older run may not be taken up beside a later one: both would have their hands on the same files. What the guard has
/// done since is no obstacle, for every undo acts on what it sees; returns what of it is unfinished, newest first.
pub(crate) fn followers(journal: &Journal, run: RunId) -> Result<Vec<RunId>, Failure> {
    let mut unfinished = Vec::new();
    for later in journal.runs()?.into_iter().rev().take_while(|later| later.run > run) {
        let state = load(journal, later.run)?;
        match later.kind.as_str() {
            PIVOT if !state.is_rolled_back() => {
                let text = format!("run {} came after run {run}; roll that one back first", later.run);
                return Err(Failure::refused(text));
            }
            PIVOT => {}
            _ if state.is_over() => {}
            _ => unfinished.push(later.run),
        }
    }
    Ok(unfinished)
}

/// A kubeconfig that leads elsewhere than when the run began. With the API down nothing can be said: what
/// is done then is done to this machine's files only, until it answers.
pub(crate) async fn refuse_another_cluster(cluster: &Cluster, settings: &Settings) -> Result<(), Failure> {
    match tokio::time::timeout(IDENTITY_WITHIN, cluster.uid()).await {
        Ok(Ok(uid)) if uid != settings.cluster_uid => Err(Failure::refused(
            "the kubeconfig leads to another cluster than the one on which the run was started; nothing was \
             changed: name the right one with --kubeconfig",
        )),
        _ => Ok(()),
    }
}

/// Every run of the journal, oldest first.
pub(crate) fn runs(journal: &Journal) -> Result<Vec<RunId>, Failure> {
    Ok(journal.runs()?.into_iter().map(|header| header.run).collect())
}

/// The last run, with where it stands.
pub(crate) fn last_run(journal: &Journal) -> Result<Option<(RunId, Run)>, Failure> {
    let Some(run) = runs(journal)?.last().copied() else { return Ok(None) };
    Ok(Some((run, load(journal, run)?)))
}

/// The last pivot, with where it stands.
pub(crate) fn last_pivot(journal: &Journal) -> Result<Option<(RunId, Run)>, Failure> {
    let Some(header) = journal.runs()?.into_iter().rfind(|header| header.kind == PIVOT) else {
        return Ok(None);
    };
    Ok(Some((header.run, load(journal, header.run)?)))
}

/// The run that was meant: by the beginning of its id, or the last one.
pub(crate) fn find_run(journal: &Journal, said: Option<&str>) -> Result<Option<RunId>, Failure> {
    let runs = runs(journal)?;
    let Some(said) = said else { return Ok(runs.last().copied()) };
    let fitting: Vec<RunId> = runs.iter().copied().filter(|run| run.to_string().starts_with(said)).collect();
    let list = |runs: &[RunId]| runs.iter().map(RunId::to_string).collect::<Vec<_>>().join(", ");
    match fitting.as_slice() {
        [run] => Ok(Some(*run)),
        [] if runs.is_empty() => {
            Err(Failure::refused(format!("there is no run {said}: the journal is empty")))
        }
        [] => Err(Failure::refused(format!("there is no run {said}; there are {}", list(&runs)))),
        several => Err(Failure::refused(format!("{said} could be any of {}", list(several)))),
    }
}

pub(crate) async fn access(kubeconfig: &Path) -> Result<(Access, Arc<dyn Host>), Failure> {
    let access = connect(kubeconfig).await.map_err(|error| Failure::new(Exit::Refused, error))?;
    let host: Arc<dyn Host> = Arc::new(Proc::new(Arc::clone(&access.local_tls)));
    Ok((access, host))
}

/// The site that `settings` describe.
pub(crate) fn site(settings: Settings, access: &Access, host: Arc<dyn Host>, state_dir: &Path) -> Site {
    let units = Arc::new(Systemd::default());
    let node = Node { manifests: settings.manifests(), host, units };
    let (cluster, archive) = (access.cluster.clone(), state_dir.join("archive"));
    let patience = Patience::default();
    Site { node, cluster, settings, archive, patience, keep_port_sharing: false }
}

pub(crate) async fn session(host: &dyn Host) -> Result<Session, Failure> {
    let boot_id = host.boot_id().await.map_err(|error| Failure::new(Exit::Other, error))?;
    Ok(Session { boot_id, pid: std::process::id(), program: PROGRAM.to_owned(), role: Role::default() })
}
