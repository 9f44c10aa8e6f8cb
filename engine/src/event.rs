//! What is journalled: everything that a run's state is made of.
//!
//! An event is one JSON object in one journal entry. Fields may be added (readers ignore what they do
//! not know); names and meanings never change.

use crate::plan::StepId;
use fulcrum_state::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// One fact about a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each variant says what its fields are")]
pub enum Event {
    /// The run exists. `plan` names the blob that holds it.
    Begun { workflow: String, plan: Digest, session: Session },
    /// A process took the run up again. Attempts of an earlier session without a result are cut.
    Resumed { session: Session },
    /// An attempt is about to begin. `pre_image` names the blob with what the step saved beforehand; the
    /// first that a step has is what all its attempts and undos go by.
    AttemptStarted { step: StepId, attempt: u32, pre_image: Option<Digest> },
    /// The attempt succeeded; `output` is what later steps may read.
    AttemptDone { step: StepId, attempt: u32, output: Value },
    /// The attempt failed.
    AttemptFailed { step: StepId, attempt: u32, failure: Failure },
    /// The attempt was stopped before it had a result: a pause, or the run began to unwind.
    AttemptCut { step: StepId, attempt: u32 },
    /// A step without a trustworthy result was looked at.
    Probed { step: StepId, finding: Finding },
    /// From here on the run is being undone.
    UnwindStarted { reason: String },
    /// An undo is about to begin.
    UndoStarted { step: StepId, attempt: u32 },
    /// The step's effect is gone.
    UndoDone { step: StepId, attempt: u32 },
    /// The undo failed.
    UndoFailed { step: StepId, attempt: u32, failure: Failure },
    /// The undo was stopped before it had a result.
    UndoCut { step: StepId, attempt: u32 },
    /// The process stopped at a safe point, on purpose.
    Paused { reason: String },
    /// The run ended.
    Ended { outcome: Outcome, reason: String },
}

impl Event {
    /// Its name in the journal, e.g. `attempt-started`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Begun { .. } => "begun",
            Self::Resumed { .. } => "resumed",
            Self::AttemptStarted { .. } => "attempt-started",
            Self::AttemptDone { .. } => "attempt-done",
            Self::AttemptFailed { .. } => "attempt-failed",
            Self::AttemptCut { .. } => "attempt-cut",
            Self::Probed { .. } => "probed",
            Self::UnwindStarted { .. } => "unwind-started",
            Self::UndoStarted { .. } => "undo-started",
            Self::UndoDone { .. } => "undo-done",
            Self::UndoFailed { .. } => "undo-failed",
            Self::UndoCut { .. } => "undo-cut",
            Self::Paused { .. } => "paused",
            Self::Ended { .. } => "ended",
        }
    }

    /// The step that the event is about, if it is about one.
    pub fn step(&self) -> Option<&StepId> {
        match self {
            Self::AttemptStarted { step, .. }
            | Self::AttemptDone { step, .. }
            | Self::AttemptFailed { step, .. }
            | Self::AttemptCut { step, .. }
            | Self::Probed { step, .. }
            | Self::UndoStarted { step, .. }
            | Self::UndoDone { step, .. }
            | Self::UndoFailed { step, .. }
            | Self::UndoCut { step, .. } => Some(step),
            Self::Begun { .. }
            | Self::Resumed { .. }
            | Self::UnwindStarted { .. }
            | Self::Paused { .. }
            | Self::Ended { .. } => None,
        }
    }
}

/// A process at work on a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The kernel's boot id: tells a reboot from a restart.
    pub boot_id: String,
    /// The process.
    pub pid: u32,
    /// Program and version, e.g. `fulcrum 0.1.0`.
    pub program: String,
}

impl Session {
    /// This process, on this boot.
    ///
    /// # Errors
    /// When the kernel's boot id cannot be read (it is `/proc/sys/kernel/random/boot_id`).
    pub fn current(program: impl Into<String>) -> std::io::Result<Self> {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        Ok(Self { boot_id, pid: std::process::id(), program: program.into() })
    }
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// Nothing of the step's effect is there.
    Absent,
    /// Some of it is there, or all of it but not yet working; says what is missing.
    Partial(String),
    /// All of it is there.
    Done,
    /// Something is there that is not this run's; says what. Stops the run for a person.
    Foreign(String),
    /// It could not be found out; says why. Stops the run for a person on the way forward; on the way
    /// back the undo goes ahead, for it must cope with whatever it finds.
    Unknown(String),
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What may be done about it.
    pub kind: FailureKind,
    /// What was being done, on what, what was seen.
    pub error: String,
}

/// What may be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// Another attempt may succeed.
    Retry,
    /// No further attempt can succeed: the step has failed.
    Fatal,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every step is done.
    Completed,
    /// Everything that was started has been undone.
    RolledBack,
    /// Neither: something is there that the run may not touch, or an undo kept failing.
    NeedsOperator,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Completed => "completed",
            Self::RolledBack => "rolled-back",
            Self::NeedsOperator => "needs-operator",
        })
    }
}
