//! The copy of the target's kubeadm. The last steps of an upgrade call it, also when the guard goes on with the run after
//! a reboot. It goes when the upgrade is over.

use crate::run_info::{PIVOT, UPGRADE};
use fulcrum_engine::load::load;
use fulcrum_engine::state::fsync::{remove_durable, sweep};
use fulcrum_engine::state::{Reader, RunHeader};
use std::path::{Path, PathBuf};

/// The copy of a kubeadm could not be removed.
#[derive(Debug, thiserror::Error)]
#[error("no upgrade needs {} any more, and it is left: {cause}; remove it", path.display())]
pub(crate) struct CopyIsLeft {
    path: PathBuf,
    cause: String,
}

/// Where the kubeadm of an upgrade stays until the run is over. The guard, which may go on with the run, sees neither a
/// person's /tmp nor their search path.
pub fn kubeadm_copy(state_dir: &Path) -> PathBuf {
    state_dir.join("kubeadm")
}

/// Removes the copy unless an upgrade since the last pivot is unfinished, and what a killed process has left half-written beside it. The
/// caller has the journal open for writing, as a process has that makes the copy.
///
/// # Errors
/// When the journal or the state directory refuses. The copy stays then.
pub(crate) fn sweep_kubeadm(journal: &Reader, state_dir: &Path) -> Result<(), CopyIsLeft> {
    let path = kubeadm_copy(state_dir);
    swept(journal, &path).map_err(|cause| CopyIsLeft { path, cause })
}

fn swept(journal: &Reader, path: &Path) -> Result<(), String> {
    sweep(path).map_err(|error| error.to_string())?;
    if !path.exists() {
        return Ok(());
    }
    let runs = journal.runs().map_err(|error| error.to_string())?;
    let run = |header: &RunHeader| load(journal, header.run).map_err(|error| error.to_string());
    // An upgrade that waits for a person is over with the pivot before it.
    let from = runs.iter().rposition(|header| header.kind == PIVOT).unwrap_or_default();
    let pivot = runs.get(from).map(run).transpose()?;
    if !pivot.is_some_and(|pivot| pivot.is_rolled_back()) {
        for header in runs[from..].iter().filter(|header| header.kind == UPGRADE) {
            if !run(header)?.is_over() {
                return Ok(());
            }
        }
    }
    remove_durable(path).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulcrum_engine::state::{Journal, RunId};
    use fulcrum_engine::{Ending, Engine, Outcome, Phase, Plan, Session, StepError, StepSpec, Steps, step};

    /// A run of one step, which ends like this.
    async fn run(engine: &Engine, kind: &str, step: &str, outcome: Outcome) -> RunId {
        let plan = Plan::new(kind, vec![StepSpec::new(step, ().into())]).unwrap();
        ended(engine.start(plan).await.unwrap(), outcome)
    }

    fn ended(ending: Ending, outcome: Outcome) -> RunId {
        assert!(matches!(&ending.phase, Phase::Ended(other, _) if *other == outcome), "{ending:?}");
        ending.run
    }

    #[tokio::test]
    async fn the_copy_stays_until_no_upgrade_needs_it() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path(), "test").unwrap();
        let bad = step("bad").run(|_| async { Err::<(), _>(StepError::fatal("it fails")) });
        // A person must see to what fails on both ways.
        let bad = bad.undo(|_| async { Err(StepError::fatal("it stays")) });
        let steps = Steps::new().with(step("good").run(|_| async { Ok(()) })).with(bad);
        let engine = Engine::new(journal.clone(), steps, Session::current("test").unwrap());
        let copy = kubeadm_copy(dir.path());
        let is_kept = || {
            std::fs::write(&copy, "kubeadm").unwrap();
            sweep_kubeadm(&journal.reader(), dir.path()).unwrap();
            copy.exists()
        };
        assert!(!is_kept(), "there is no run");
        let pivot = run(&engine, PIVOT, "good", Outcome::Completed).await;
        run(&engine, UPGRADE, "good", Outcome::Completed).await;
        assert!(!is_kept(), "the upgrade is over");
        run(&engine, UPGRADE, "bad", Outcome::NeedsOperator).await;
        assert!(is_kept(), "the upgrade may be gone on with");
        let back = engine.roll_back(pivot, "it was asked for").await.unwrap();
        ended(back, Outcome::RolledBack);
        assert!(!is_kept(), "it is over with its pivot");
        run(&engine, PIVOT, "good", Outcome::Completed).await;
        assert!(!is_kept(), "the next pivot has none");
    }
}
