//! Rollbacks and phases: how they are made and what they are called.

use super::{Phase, Rollback};
use std::fmt;

impl Rollback {
    /// A rollback for this reason, in no particular mode.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), mode: None }
    }

    /// This rollback in this mode.
    #[must_use]
    pub fn with_mode(mut self, mode: impl Into<String>) -> Self {
        self.mode = Some(mode.into());
        self
    }
}

impl From<&str> for Rollback {
    fn from(reason: &str) -> Self {
        Self::new(reason)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("not begun"),
            Self::Active => f.write_str("unfinished"),
            Self::Paused { reason, .. } => write!(f, "paused ({reason})"),
            Self::Waiting { .. } => f.write_str("waiting"),
            Self::Ended(outcome, _) => write!(f, "{outcome}"),
        }
    }
}
