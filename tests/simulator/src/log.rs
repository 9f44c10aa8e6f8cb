//! What happened, in order.

use std::collections::VecDeque;
use std::time::Duration;

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// Time since the rehearsal began.
    pub at: Duration,
    /// The subject: `kubelet`, `pod kube-system/…`, `lease kube-scheduler`, `api`.
    pub to: String,
    /// What happened.
    pub what: String,
}

/// The newest lines.
#[derive(Debug, Default)]
pub(super) struct Log {
    lines: VecDeque<Happened>,
}

/// More than a hundred pivots' worth. Older lines are dropped.
const LINES_MAX: usize = 20_000;

impl Log {
    pub(super) fn add(&mut self, at: Duration, to: impl Into<String>, what: impl Into<String>) {
        let line = Happened { at, to: to.into(), what: what.into() };
        tracing::debug!(target: "fulcrum::rehearsal", at = ?line.at, to = line.to, "{}", line.what);
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    pub(super) fn lines(&self) -> Vec<Happened> {
        self.lines.iter().cloned().collect()
    }
}
