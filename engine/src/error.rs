//! Errors of the engine. A failed step is no such error: it decides how a run ends.

use crate::limits::LimitError;
use crate::plan::StepId;
use crate::run::Phase;
use crate::shape::Differences;
use crate::status::IllegalEvent;
use fulcrum_state::{AppendError, ReadError, RunId};
use std::time::Duration;

/// A run could not be started, taken up or carried on. The journal has everything that was done: the run can
/// be resumed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant says what its fields are")]
#[non_exhaustive]
pub enum EngineError {
    /// The journal did not take an entry. Attempts in flight were dropped; a resumed run probes them.
    #[error(
        "the run stopped half-way because the journal could not be written; once it can, resume the run or roll it back"
    )]
    Journal(#[from] AppendError),
    /// The journal could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The run could not be read back.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The program does not know a step of the stored plan.
    #[error(
        "step {step} of the stored plan cannot be carried out by this program: {reason}; \
         use the version that started the run ({started_by})"
    )]
    UnknownStep { step: StepId, reason: String, started_by: String },
    /// The program's steps or its plan are not those of the run. Nothing was done.
    #[error(
        "the run was begun by {started_by} and does not fit this program: {differences}; use the version that \
         started the run, or adopt the run, or abandon it"
    )]
    OtherPlan { run: Option<RunId>, differences: Differences, started_by: String },
    /// The run cannot take on the plan. Nothing was done.
    #[error("run {run} was not adopted: {why}")]
    NotAdopted { run: RunId, why: String },
    /// The run is over. Nothing is left to do.
    #[error("run {run} cannot be {verb}: it is {phase}")]
    Over { run: RunId, verb: &'static str, phase: Phase },
    /// Another call of this process is at work on the run, or a step that such a call left behind.
    #[error("run {run} is at work in this process; wait until the call that works on it has returned")]
    AtWork { run: RunId },
    /// Another process is at work on the run. Nothing was done.
    #[error(
        "run {run} is at work on {by}, whose claim lasts for another {left:?} if nobody renews it; \
         wait for the run's end, or for the claim's"
    )]
    AtWorkElsewhere { run: RunId, by: String, left: Duration },
    /// A step of the run is bound to a machine that this process is not on. Nothing was done.
    #[error("step {step} is bound to machine {machine:?}, and this process is on {}; {todo}", here.as_deref().unwrap_or("no machine that it has named"))]
    OtherMachine { step: StepId, machine: String, here: Option<String>, todo: &'static str },
    /// The claim on the run was not renewed in time. Attempts in flight were dropped; the process that takes the run up
    /// probes them.
    #[error(
        "the run stopped half-way because its claim was not renewed in time; any process may take run {run} up, \
         once the journal answers"
    )]
    Lapsed { run: RunId },
    /// The key belongs to a run of another workflow. Nothing was done.
    #[error("key {key:?} belongs to run {run} of workflow {found:?}, not {workflow:?}; choose another key")]
    OtherWorkflow { key: String, run: RunId, found: String, workflow: String },
    /// The step does not ask for a decision. Nothing was done.
    #[error("nothing was decided: step {step} of run {run} does not ask for a decision, as {why}")]
    NotAsked { run: RunId, step: StepId, why: String },
    /// The plan has no such step to pause after.
    #[error("there is no step {step} to pause after; the plan has {known}")]
    UnknownBreakpoint { step: StepId, known: String },
    /// A value that cannot be kept. Nothing was done.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The state machine refused an event of the engine's own: a bug.
    #[error("{source}; this is a bug in the engine, nothing further was done")]
    Illegal { source: IllegalEvent },
    /// The engine lost track of what it had started: a bug.
    #[error("the run stopped: {cause}; this is a bug in the engine. Resume the run: its journal is whole")]
    Lost { cause: String },
    /// A value of the engine's own cannot be written as JSON: a bug.
    #[error("{what} could not be written as JSON: {cause}")]
    Encode { what: &'static str, cause: String },
}

/// A run could not be read back from its journal.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant says what its fields are")]
#[non_exhaustive]
pub enum LoadError {
    /// The journal is damaged or cannot be read.
    #[error("run {run} cannot be read back")]
    Read { run: RunId, source: ReadError },
    /// The journal does not have the run.
    #[error("the journal has no run {0}")]
    NoSuchRun(RunId),
    /// This version does not know the entry.
    #[error("run {run}, entry {seq}: not an event that this version knows ({cause}); use a newer one")]
    UnknownEvent { run: RunId, seq: u64, cause: String },
    /// The entries cannot follow each other.
    #[error("run {run}, entry {seq}: {source}; the journal was not written by this engine as it is")]
    Illegal { run: RunId, seq: u64, source: IllegalEvent },
    /// The stored plan is not valid.
    #[error("run {run}: its stored plan cannot be used: {cause}")]
    Plan { run: RunId, cause: String },
}
