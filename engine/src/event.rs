//! The content of the journal: everything that a run's state is made of.
//!
//! An event is one JSON object in one journal entry. Fields may be added, as readers ignore unknown ones.
//! Names and meanings never change.
//!
//! `facts` are what the method of the step has recorded ([`Context::record`](crate::Context::record)). Entries of
//! version 0.1 have none.

use crate::plan::StepId;
use crate::wait::{Decision, Wait};
use fulcrum_state::{Digest, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// One fact about a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each variant says what its fields are")]
#[non_exhaustive]
pub enum Event {
    /// The run begins. `plan` names the blob with its plan. `key` is that of
    /// [`Engine::run_or_resume`](crate::Engine::run_or_resume).
    Begun {
        workflow: String,
        plan: Digest,
        session: Session,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// The fingerprint of the plan's [shape](crate::shape::Shape). Entries of version 0.1 have none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shape: Option<Digest>,
    },
    /// The run was taken up again. Attempts without a result were cut short. `same_process` says that the
    /// process which left them did not die: it is the one that goes on.
    Resumed {
        session: Session,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        same_process: bool,
    },
    /// An attempt is about to begin. `pre_image` names a blob. The first pre-image of a step counts for all
    /// its attempts and undos.
    /// `deadline` is that of the step, from its first attempt on.
    AttemptStarted {
        step: StepId,
        attempt: u32,
        pre_image: Option<Digest>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline: Option<Timestamp>,
    },
    /// The attempt succeeded. Later steps may read `output`.
    AttemptDone {
        step: StepId,
        attempt: u32,
        output: Value,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        facts: Vec<Value>,
    },
    /// The attempt failed.
    AttemptFailed {
        step: StepId,
        attempt: u32,
        failure: Failure,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        facts: Vec<Value>,
    },
    /// The attempt was stopped before it had a result: by a pause, or because a rollback began.
    AttemptCut {
        step: StepId,
        attempt: u32,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        facts: Vec<Value>,
    },
    /// The attempt has come to a point at which the step waits, without a process. The next attempt starts when
    /// the wait is over.
    AttemptWaits {
        step: StepId,
        attempt: u32,
        wait: Wait,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        facts: Vec<Value>,
    },
    /// What the step waits for was decided, or nobody decided in time. `session` is the process that was told.
    Decided { step: StepId, decision: Decision, session: Session },
    /// What the attempt (or undo) does at present, in its own words.
    Reported { step: StepId, attempt: u32, text: String },
    /// A step without a trustworthy result was probed. `output` is what its attempt would have returned, if
    /// the probe found the step done and the attempt was cut short.
    Probed {
        step: StepId,
        #[serde(rename = "finding")]
        result: ProbeResult,
        #[serde(default, skip_serializing_if = "Value::is_null")]
        output: Value,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        facts: Vec<Value>,
    },
    /// From here on the run is being rolled back. `mode` is the program's word: the engine only keeps it.
    #[serde(rename = "unwind-started")]
    RollbackStarted {
        reason: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<String>,
    },
    /// An undo is about to begin.
    UndoStarted { step: StepId, attempt: u32 },
    /// The step's effect is gone.
    UndoDone {
        step: StepId,
        attempt: u32,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        facts: Vec<Value>,
    },
    /// The undo failed.
    UndoFailed {
        step: StepId,
        attempt: u32,
        failure: Failure,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        facts: Vec<Value>,
    },
    /// The undo was stopped before it had a result.
    UndoCut {
        step: StepId,
        attempt: u32,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        facts: Vec<Value>,
    },
    /// The process stopped at a safe point, on purpose.
    Paused {
        reason: String,
        #[serde(default, skip_serializing_if = "PauseCause::is_unknown")]
        cause: PauseCause,
    },
    /// Nothing of the run can go on here before a wait is over, at the latest at this time. No process is at work on it.
    /// A step that is bound to another machine goes on there.
    Waiting {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// Another version of the program took the run on. `plan` names the blob with the plan that the run has
    /// from here on.
    Adopted { plan: Digest, reason: String, session: Session },
    /// The run was given up as it is. Nothing more is done to it.
    Abandoned { reason: String, session: Session },
    /// The run ended.
    Ended { outcome: Outcome, reason: String },
}

impl Event {
    /// The event's name in the journal, e.g. `attempt-started`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Begun { .. } => "begun",
            Self::Resumed { .. } => "resumed",
            Self::AttemptStarted { .. } => "attempt-started",
            Self::AttemptDone { .. } => "attempt-done",
            Self::AttemptFailed { .. } => "attempt-failed",
            Self::AttemptCut { .. } => "attempt-cut",
            Self::AttemptWaits { .. } => "attempt-waits",
            Self::Decided { .. } => "decided",
            Self::Reported { .. } => "reported",
            Self::Probed { .. } => "probed",
            Self::RollbackStarted { .. } => "unwind-started",
            Self::UndoStarted { .. } => "undo-started",
            Self::UndoDone { .. } => "undo-done",
            Self::UndoFailed { .. } => "undo-failed",
            Self::UndoCut { .. } => "undo-cut",
            Self::Paused { .. } => "paused",
            Self::Waiting { .. } => "waiting",
            Self::Adopted { .. } => "adopted",
            Self::Abandoned { .. } => "abandoned",
            Self::Ended { .. } => "ended",
        }
    }

    /// What the step has recorded in the attempt, probe or undo that this event ends.
    pub fn facts(&self) -> &[Value] {
        match self {
            Self::AttemptDone { facts, .. }
            | Self::AttemptFailed { facts, .. }
            | Self::AttemptCut { facts, .. }
            | Self::AttemptWaits { facts, .. }
            | Self::Probed { facts, .. }
            | Self::UndoDone { facts, .. }
            | Self::UndoFailed { facts, .. }
            | Self::UndoCut { facts, .. } => facts,
            _ => &[],
        }
    }

    /// The event's step, if it has one.
    pub fn step(&self) -> Option<&StepId> {
        match self {
            Self::AttemptStarted { step, .. }
            | Self::AttemptDone { step, .. }
            | Self::AttemptFailed { step, .. }
            | Self::AttemptCut { step, .. }
            | Self::AttemptWaits { step, .. }
            | Self::Decided { step, .. }
            | Self::Reported { step, .. }
            | Self::Probed { step, .. }
            | Self::UndoStarted { step, .. }
            | Self::UndoDone { step, .. }
            | Self::UndoFailed { step, .. }
            | Self::UndoCut { step, .. } => Some(step),
            Self::Begun { .. }
            | Self::Resumed { .. }
            | Self::RollbackStarted { .. }
            | Self::Paused { .. }
            | Self::Waiting { .. }
            | Self::Adopted { .. }
            | Self::Abandoned { .. }
            | Self::Ended { .. } => None,
        }
    }
}

/// A process at work on a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Session {
    /// The kernel's boot id. It tells a reboot from a restart.
    pub boot_id: String,
    /// The process.
    pub pid: u32,
    /// Program and version, e.g. `fulcrum 0.1.0`.
    pub program: String,
    /// The role of the process in the program, e.g. a command or a daemon.
    #[serde(default, skip_serializing_if = "Role::is_empty")]
    pub role: Role,
    /// Who is at work, and with what. The program chooses names and values; the engine only keeps them. Empty in
    /// entries that were written before there were actors.
    #[serde(default, skip_serializing_if = "Actor::is_empty")]
    pub actor: Actor,
    /// The machine, by the name that steps are bound to ([`StepSpec::bound_to`](crate::StepSpec::bound_to)). `None` if
    /// the program has not said: then it carries out no bound step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
}

/// Who is at work on a run, and with what: facts by name, for an auditor. The engine does not interpret them.
/// Names and values together are limited ([`limits`](crate::limits)).
pub type Actor = BTreeMap<String, String>;

/// The role of a process in its program. The program chooses the word, the engine only keeps it. Empty in
/// entries that were written before there were roles.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Role(String);

/// The cause of a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PauseCause {
    /// A person asked for it.
    Person,
    /// The system ends the process, at a shutdown for example.
    Signal,
    /// A breakpoint ([`Engine::pause_after`](crate::Engine::pause_after)).
    Breakpoint,
    /// The run was handed in ([`Engine::submit`](crate::Engine::submit)), and nobody has been at work on it.
    Queued,
    /// The run above stops: this is the run of one of its steps ([`ChildRun`](crate::ChildRun)).
    Above,
    /// The entry does not say the cause: it was written before there were causes.
    #[default]
    Unknown,
}

impl PauseCause {
    fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }
}

impl Role {
    /// The role with this word.
    pub fn new(word: impl Into<String>) -> Self {
        Self(word.into())
    }

    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Session {
    /// A process without a role. [`Session::current`] is this one.
    pub fn new(boot_id: impl Into<String>, pid: u32, program: impl Into<String>) -> Self {
        Self {
            boot_id: boot_id.into(),
            pid,
            program: program.into(),
            role: Role::default(),
            actor: Actor::new(),
            machine: None,
        }
    }

    /// This process, on this boot, without a role.
    ///
    /// # Errors
    /// When the kernel's boot id cannot be read (it is `/proc/sys/kernel/random/boot_id`).
    pub fn current(program: impl Into<String>) -> std::io::Result<Self> {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        Ok(Self::new(boot_id, std::process::id(), program))
    }

    /// This session with these facts about who is at work, and with what.
    #[must_use]
    pub fn with_actor(mut self, actor: Actor) -> Self {
        self.actor = actor;
        self
    }

    /// This session on this machine. A name that stays is best: that of the host, or of a device.
    #[must_use]
    pub fn with_machine(mut self, name: impl Into<String>) -> Self {
        self.machine = Some(name.into());
        self
    }

    /// This session in this role.
    #[must_use]
    pub fn with_role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }
}

/// The finding of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ProbeResult {
    /// Nothing of the step's effect is there.
    Absent,
    /// Some of the effect is there, or all of it but not yet working. The text says what is missing.
    Partial(String),
    /// All of it is there.
    Done,
    /// Something is there that this run did not make. The text says what. This stops the run for a person.
    Foreign(String),
    /// The probe could not tell. The text says why. Forward this stops the run for a person. In a rollback
    /// the undo goes ahead, since it copes with whatever is there.
    Unknown(String),
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whether another attempt may succeed.
    pub kind: FailureKind,
    /// What was being done, on what, what was seen.
    pub error: String,
}

/// Whether another attempt may succeed after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FailureKind {
    /// Another attempt may succeed.
    Retry,
    /// No further attempt can succeed: the step has failed.
    Fatal,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Outcome {
    /// Every step is done.
    Completed,
    /// Everything that was started has been undone.
    RolledBack,
    /// A person is needed: something is there that the run may not touch, or an undo kept failing.
    NeedsOperator,
    /// The run was given up as it was ([`Engine::abandon`](crate::Engine::abandon)).
    Abandoned,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Completed => "completed",
            Self::RolledBack => "rolled-back",
            Self::NeedsOperator => "needs-operator",
            Self::Abandoned => "abandoned",
        })
    }
}
