//! What a step waits for without a process, and what ended the wait.

use fulcrum_state::{RunId, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// What a step waits for. No process is needed meanwhile: the journal has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each variant says what its fields are")]
#[non_exhaustive]
pub enum Wait {
    /// A time of the wall clock.
    Time { until: Timestamp },
    /// The decision of a person ([`Engine::approve`](crate::Engine::approve),
    /// [`Engine::reject`](crate::Engine::reject)). At `expires` nobody can decide any more.
    Decision {
        question: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires: Option<Timestamp>,
    },
    /// Another run, which waits itself, at most until then.
    Run {
        run: RunId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
}

/// A question to a person, for [`Context::approval`](crate::Context::approval) and
/// [`Context::decision`](crate::Context::decision).
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a question must be asked"]
pub struct Question {
    pub(crate) text: String,
    pub(crate) expires_in: Option<Duration>,
}

/// What was decided, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Decision {
    /// What was decided.
    pub verdict: Verdict,
    /// Who decided, in a word of the program's. Empty if the question has expired.
    pub by: String,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// What a decision says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Verdict {
    /// Go on.
    Approved,
    /// Do not.
    Rejected,
    /// Nobody decided in time.
    Expired,
}

/// The waits of a step that its next attempt may rely on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Waited {
    /// The time until which an attempt of it waited last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer: Option<Timestamp>,
    /// What was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

impl Wait {
    /// When the wait ends by itself, if ever.
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Time { until } => Some(*until),
            Self::Decision { expires, .. } => *expires,
            Self::Run { until, .. } => *until,
        }
    }

    /// Whether a person must decide before the step goes on.
    pub fn is_for_a_decision(&self) -> bool {
        matches!(self, Self::Decision { .. })
    }
}

impl Question {
    /// A question that does not expire.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), expires_in: None }
    }

    /// The question expires this long after it was first asked, by the wall clock.
    pub fn expires_in(mut self, time: Duration) -> Self {
        self.expires_in = Some(time);
        self
    }
}

impl Decision {
    /// A decision without a note.
    pub fn new(verdict: Verdict, by: impl Into<String>) -> Self {
        Self { verdict, by: by.into(), note: String::new() }
    }

    /// This decision with a note.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// The time this long after `from`. Far beyond any clock it is the last time that there is.
pub(crate) fn after(from: Timestamp, time: Duration) -> Timestamp {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    Timestamp::from_micros(from.as_micros().saturating_add(micros))
}

/// The earlier of two times, of which either may be missing.
pub(crate) fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time { .. } => f.write_str("for a time"),
            Self::Decision { question, .. } => write!(f, "for a decision: {question}"),
            Self::Run { run, .. } => write!(f, "for run {run}"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
        })
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.verdict {
            Verdict::Expired => f.write_str("nobody decided in time")?,
            verdict => write!(f, "{verdict} by {}", self.by)?,
        }
        if self.note.is_empty() { Ok(()) } else { write!(f, " ({})", self.note) }
    }
}
