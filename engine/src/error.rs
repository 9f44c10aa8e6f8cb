//! What can go wrong with a run that is not the run's own failure.

use crate::plan::StepId;
use crate::run::Phase;
use crate::status::IllegalEvent;
use fulcrum_state::{AppendError, ReadError, RunId};

/// A run could not be started, taken up or carried on. Its journal is as far as it got: resume it.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant says what its fields are")]
pub enum EngineError {
    /// The journal did not take an entry. What was in flight has been abandoned: it will be probed.
    #[error(
        "the run stopped half-way because the journal could not be written; when it can, resume the run or undo it"
    )]
    Journal(#[from] AppendError),
    /// The run could not be read back.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The program does not know a step of the stored plan.
    #[error(
        "step {step} of the stored plan cannot be carried out by this program: {reason}; \
         use the version that started the run ({started_by})"
    )]
    UnknownStep { step: StepId, reason: String, started_by: String },
    /// The run is over: there is nothing to take up.
    #[error("run {run} cannot be {verb}: it is {phase}")]
    Over { run: RunId, verb: &'static str, phase: Phase },
    /// The state machine refused the engine's own event: a bug, or two programs on one run.
    #[error("run {}: {source}; this is a bug in the engine, nothing further was done",
        run.map_or("(new)".to_owned(), |run| run.to_string()))]
    Illegal { run: Option<RunId>, source: IllegalEvent },
    /// The engine lost track of what it had started: a bug.
    #[error(
        "the run stopped: {cause}; this is a bug in the engine. Its journal is as far as it got: resume it"
    )]
    Lost { cause: String },
    /// Something of ours does not serialise: a bug.
    #[error("{what} could not be written as JSON: {cause}")]
    Encode { what: &'static str, cause: String },
}

/// A run could not be read back from its journal.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant says what its fields are")]
pub enum LoadError {
    /// The journal is damaged or cannot be read.
    #[error("run {run} cannot be read back")]
    Read { run: RunId, source: ReadError },
    /// There is no such run, or nothing of it.
    #[error("the journal has no run {0}; `history` lists those that it has")]
    NoSuchRun(RunId),
    /// An entry that this version does not understand.
    #[error("run {run}, entry {seq}: not an event that this version knows ({cause}); use a newer one")]
    UnknownEvent { run: RunId, seq: u64, cause: String },
    /// Entries that cannot follow each other.
    #[error("run {run}, entry {seq}: {source}; the journal was not written by this engine as it is")]
    Illegal { run: RunId, seq: u64, source: IllegalEvent },
    /// The stored plan is none.
    #[error("run {run}: its stored plan cannot be used: {cause}")]
    Plan { run: RunId, cause: String },
}
