//! The journal on this machine, and the run that the arguments mean.

use crate::exit::{Exit, Failure};
use fulcrum_engine::Run;
use fulcrum_engine::load::load;
use fulcrum_engine::state::{Journal, LockHolder, OpenError, RunId};
use fulcrum_steps::plan::PIVOT;
use fulcrum_steps::run_info::{LockPurpose, LockUse};
use fulcrum_steps::unit::UNIT;
use std::path::Path;

/// Opens the journal, or says which process has it open.
pub(crate) fn open_journal(state_dir: &Path, purpose: LockPurpose) -> Result<Journal, Failure> {
    Journal::open(state_dir, purpose.text()).map_err(not_opened)
}

fn not_opened(error: OpenError) -> Failure {
    match &error {
        OpenError::Locked { holder: Some(holder), .. } => Failure::new(Exit::Unfinished, in_progress(holder)),
        _ => error.into(),
    }
}

fn in_progress(holder: &LockHolder) -> anyhow::Error {
    let (purpose, pid) = (&holder.purpose, holder.pid);
    let works = LockPurpose::use_of(purpose);
    if works == LockUse::Guard {
        return anyhow::anyhow!(
            "the guard, pid {pid}, is at work; wait for its end (`fulcrum status` says what it does), or stop it with \
             `systemctl stop {UNIT}`: it stops at a safe point"
        );
    }
    if works == LockUse::Reading {
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

/// Refuses to take up an older run beside a later one: both would change the same files. The guard's runs
/// since then are no obstacle, for every undo acts on what it sees. Returns those of them that are
/// unfinished, newest first.
pub(crate) fn followers(journal: &Journal, run: RunId) -> Result<Vec<RunId>, Failure> {
    let mut unfinished = Vec::new();
    for later in journal.reader().runs()?.into_iter().rev().take_while(|later| later.run > run) {
        let state = load(&journal.reader(), later.run)?;
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

/// Every run of the journal, oldest first.
pub(crate) fn runs(journal: &Journal) -> Result<Vec<RunId>, Failure> {
    Ok(journal.reader().runs()?.into_iter().map(|header| header.run).collect())
}

/// The last run and its state.
pub(crate) fn last_run(journal: &Journal) -> Result<Option<(RunId, Run)>, Failure> {
    let Some(run) = runs(journal)?.last().copied() else { return Ok(None) };
    Ok(Some((run, load(&journal.reader(), run)?)))
}

/// The last pivot.
pub(crate) fn last_pivot(journal: &Journal) -> Result<Option<RunId>, Failure> {
    Ok(journal.reader().runs()?.into_iter().rfind(|header| header.kind == PIVOT).map(|header| header.run))
}

/// The run that the person means: by the beginning of its id, or the last one.
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
