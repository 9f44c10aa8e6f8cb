//! The journal on this machine, and the run that the arguments mean.

use crate::exit::{Exit, Failure};
use crate::pace::{Pace, RUNS_MAX};
use fulcrum_engine::history::{Attempt, AttemptResult, History};
use fulcrum_engine::load::load;
use fulcrum_engine::state::{Journal, LockHolder, OpenError, Reader, RunId};
use fulcrum_engine::{Run, StepId};
use fulcrum_steps::plan::{ADOPT, PIVOT};
use fulcrum_steps::run_info::{LockPurpose, LockUse, RunInfo};
use fulcrum_steps::settings::{HandoverMode, Settings};
use fulcrum_steps::step_name::StepKind;
use fulcrum_steps::unit::UNIT;
use std::io::ErrorKind;
use std::path::Path;

/// Opens the journal, or says which process has it open.
pub(crate) fn open_journal(state_dir: &Path, purpose: LockPurpose) -> Result<Journal, Failure> {
    Journal::open(state_dir, purpose.text()).map_err(not_opened)
}

/// Reads the journal for a command that will open it for writing. Whether that is possible is found out now.
/// Then the journal is closed again: a person who is asked may take long, and nothing that works on the node
/// must wait for the answer.
pub(crate) fn read_before_writing(state_dir: &Path, purpose: LockPurpose) -> Result<Reader, Failure> {
    drop(open_journal(state_dir, purpose)?);
    read_journal(state_dir, purpose)
}

/// The journal is not what it was when a person was asked.
pub(crate) fn gone_on_meanwhile(run: RunId) -> Failure {
    let text = format!(
        "another process has gone on with run {run} meanwhile; this command has changed nothing: see `fulcrum status`, and \
         repeat the command if it is still wanted"
    );
    Failure::new(Exit::Unfinished, anyhow::anyhow!(text))
}

/// Reads the journal, beside a process that writes it, too. Takes no lock, except to carry over once what an
/// earlier version has written.
pub(crate) fn read_journal(state_dir: &Path, purpose: LockPurpose) -> Result<Reader, Failure> {
    let opened = match Reader::open(state_dir) {
        Err(OpenError::Older { .. }) => {
            drop(open_journal(state_dir, purpose)?);
            Reader::open(state_dir)
        }
        opened => opened,
    };
    opened.map_err(|error| match error {
        OpenError::Io { doing, path, source } if source.kind() == ErrorKind::PermissionDenied => {
            Failure::refused(format!(
                "could not {doing} {}: {source}; only root reads the journal: run it as root",
                path.display()
            ))
        }
        error => error.into(),
    })
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
pub(crate) fn followers(journal: &Reader, run: RunId) -> Result<Vec<(RunId, Run)>, Failure> {
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
            _ => unfinished.push((later.run, state)),
        }
    }
    Ok(unfinished)
}

/// Every run of the journal, oldest first.
pub(crate) fn runs(journal: &Reader) -> Result<Vec<RunId>, Failure> {
    Ok(journal.runs()?.into_iter().map(|header| header.run).collect())
}

/// The last run and its state.
pub(crate) fn last_run(journal: &Reader) -> Result<Option<(RunId, Run)>, Failure> {
    let Some(run) = runs(journal)?.last().copied() else { return Ok(None) };
    Ok(Some((run, load(journal, run)?)))
}

/// Refuses to begin a run beside an unfinished one.
pub(crate) fn refuse_unfinished(journal: &Reader) -> Result<(), Failure> {
    let Some((run, state)) = last_run(journal)?.filter(|(_, state)| !state.is_over()) else { return Ok(()) };
    let session = state.session().map(|session| format!(", last worked on by pid {}", session.pid));
    Err(Failure::new(
        Exit::Unfinished,
        anyhow::anyhow!(
            "run {run} is {}{}; go on with `fulcrum resume`, or undo it with `fulcrum rollback {run}`",
            state.phase(),
            session.unwrap_or_default()
        ),
    ))
}

/// The last pivot.
pub(crate) fn last_pivot(journal: &Reader) -> Result<Option<RunId>, Failure> {
    Ok(journal.runs()?.into_iter().rfind(|header| header.kind == PIVOT).map(|header| header.run))
}

/// The last run, if it is an adoption that is not at its end.
pub(crate) fn unfinished_adoption(journal: &Reader) -> Result<Option<RunId>, Failure> {
    let last = last_run(journal)?;
    Ok(last.filter(|(_, state)| state.plan().workflow() == ADOPT && !state.is_over()).map(|(run, _)| run))
}

/// How long a pivot with this hand-over usually takes: from the last ones of this node that completed, else as it
/// was measured. `None` if neither is known.
pub(crate) fn pace(journal: Option<&Reader>, settings: &Settings) -> Option<Pace> {
    let measured = (settings.handover == HandoverMode::Steer).then(|| Pace::measured(settings.soak));
    // Whatever cannot be read says nothing about time, and is found by those who need it.
    let headers = journal.and_then(|journal| journal.runs().ok()).unwrap_or_default();
    let pivots = headers.into_iter().rev().filter(|header| header.kind == PIVOT);
    let completed = pivots.filter_map(|header| {
        let (journal, state) = (journal?, load(journal?, header.run).ok()?);
        let alike = RunInfo::of(state.plan()).is_ok_and(|info| info.settings.handover == settings.handover);
        let history = History::read(journal, header.run).ok().filter(|_| alike)?;
        let last: StepId = StepKind::RecordHead.into();
        let is_last = |attempt: &Attempt| attempt.step == last && attempt.result == AttemptResult::Done;
        history.attempts.iter().any(is_last).then_some(history)
    });
    Pace::of_runs(&completed.take(RUNS_MAX).collect::<Vec<_>>()).or(measured)
}

/// The run that the person means: by the beginning of its id, or the last one.
pub(crate) fn find_run(journal: &Reader, said: Option<&str>) -> Result<Option<RunId>, Failure> {
    let runs = runs(journal)?;
    let Some(said) = said else { return Ok(runs.last().copied()) };
    let fitting: Vec<RunId> = runs.iter().copied().filter(|run| run.to_string().starts_with(said)).collect();
    let list = |runs: &[RunId]| runs.iter().map(RunId::to_string).collect::<Vec<_>>().join(", ");
    match fitting.as_slice() {
        [run] => Ok(Some(*run)),
        [] if runs.is_empty() => {
            Err(Failure::refused(format!("there is no run {said}: the journal is empty")))
        }
        [] => Err(Failure::refused(format!("no run's id begins with `{said}`; there are {}", list(&runs)))),
        several => Err(Failure::refused(format!("{said} could be any of {}", list(several)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulcrum_engine::Silent;
    use fulcrum_simulator::rehearsal::{Setup, SimulatedSite, Version};
    use std::sync::Arc;
    use std::time::Duration;

    /// What was measured counts until a pivot of this node has completed, and for its hand-over only.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_node_goes_by_its_own_pivots() {
        let dir = tempfile::tempdir().unwrap();
        let setup = Setup::built_in(Version::DEFAULT).unwrap();
        let world = SimulatedSite::boot(&setup, dir.path()).await.unwrap();
        world.settle().await.unwrap();
        let settings = world.preflight().await.unwrap().settings;
        let journal = world.journal().unwrap();
        let measured = Some(Pace::measured(settings.soak));
        assert_eq!(pace(None, &settings), measured);
        assert_eq!(pace(Some(&journal.reader()), &settings), measured);
        let _ = world.pivot(&journal, Arc::new(Silent)).await.unwrap();
        let own = pace(Some(&journal.reader()), &settings).unwrap();
        let plan = fulcrum_steps::plan::pivot(&settings, Duration::from_secs(600)).unwrap();
        assert_eq!(own.runs(), 1);
        assert!(own.whole(&plan).1 < 20, "a simulated pivot takes a second: {own:?}");
        let other = Settings { handover: HandoverMode::Bridge, ..settings };
        assert_eq!(pace(Some(&journal.reader()), &other), None);
    }
}
