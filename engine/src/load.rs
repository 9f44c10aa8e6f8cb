//! Reads the journal back into a run, through the state machine that wrote it.

use crate::checkpoint;
use crate::error::LoadError;
use crate::event::{Event, PauseCause};
use crate::plan::Plan;
use crate::run::Run;
use fulcrum_state::{Digest, Entries, Entry, Head, ReadError, Reader, RunId, fault};
use std::sync::Arc;

/// The run that the journal tells.
///
/// # Errors
/// When the journal does not have the run, is damaged, or was written by a newer version.
pub fn load(reader: &Reader, run: RunId) -> Result<Run, LoadError> {
    if let Some((head, state)) = checkpointed(reader, run)
        && let Ok(loaded) = go_on(reader, run, Some(state), reader.entries_after(run, head))
    {
        return Ok(loaded);
    }
    go_on(reader, run, None, reader.entries(run))
}

/// The last state that was kept, if this version knows it.
fn checkpointed(reader: &Reader, run: RunId) -> Option<(Head, Run)> {
    let (head, state) = reader.checkpoint(run)?;
    let plan = read_plan(reader, run, &checkpoint::plan_of(&state)?).ok()?;
    Some((head, checkpoint::decode(&state, Arc::new(plan))?))
}

/// Takes in the following entries.
fn go_on(reader: &Reader, run: RunId, mut loaded: Option<Run>, entries: Entries) -> Result<Run, LoadError> {
    for entry in entries {
        let entry = entry.map_err(|source| unread(run, source))?;
        let event = decode(&entry)?;
        if let (None, Event::Begun { plan, .. }) = (&loaded, &event) {
            loaded = Some(Run::new(Arc::new(read_plan(reader, run, plan)?)));
            fault::point("load/begun");
        }
        let state = loaded.as_mut().ok_or_else(|| LoadError::Plan {
            run,
            cause: format!("its first entry is not the one that names it, but {event:?}"),
        })?;
        let applied = match &event {
            Event::Adopted { plan, .. } => state.adopt(&event, Arc::new(read_plan(reader, run, plan)?)),
            event => state.apply(event),
        };
        applied.map_err(|source| LoadError::Illegal { run, seq: entry.seq, source })?;
    }
    fault::point("load/done");
    loaded.ok_or(LoadError::NoSuchRun(run))
}

/// Why the run cannot be read.
pub(crate) fn unread(run: RunId, source: ReadError) -> LoadError {
    match source {
        ReadError::UnknownRun { .. } => LoadError::NoSuchRun(run),
        source => LoadError::Read { run, source },
    }
}

/// The event that an entry holds. Fills in what older versions said in words alone.
///
/// # Errors
/// When this version does not know the event.
pub fn decode(entry: &Entry) -> Result<Event, LoadError> {
    match serde_json::from_str(&entry.body) {
        Ok(Event::Paused { reason, cause: PauseCause::Unknown }) => {
            let cause = cause_in_words(&reason);
            Ok(Event::Paused { reason, cause })
        }
        Ok(event) => Ok(event),
        Err(cause) => {
            Err(LoadError::UnknownEvent { run: entry.run, seq: entry.seq, cause: cause.to_string() })
        }
    }
}

/// The beginning of the reason of a pause at a breakpoint.
pub(crate) const BREAKPOINT: &str = "breakpoint after ";

/// The cause of a pause whose entry has only the reason. Version 0.1 wrote the signal's name there.
fn cause_in_words(reason: &str) -> PauseCause {
    match reason {
        "SIGTERM" => PauseCause::Signal,
        "SIGINT" => PauseCause::Person,
        _ if reason.starts_with(BREAKPOINT) => PauseCause::Breakpoint,
        _ => PauseCause::Unknown,
    }
}

fn read_plan(reader: &Reader, run: RunId, digest: &Digest) -> Result<Plan, LoadError> {
    let bytes = reader.blob(digest).map_err(|source| LoadError::Read { run, source })?;
    serde_json::from_slice(&bytes).map_err(|cause| LoadError::Plan { run, cause: cause.to_string() })
}
