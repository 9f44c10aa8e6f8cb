//! How a program watches a run: for progress bars, logs and tests.

use crate::event::Event;
use crate::plan::StepId;
use fulcrum_state::{RunId, Timestamp};

/// Watches a run. The engine calls it between steps of its own work: a method must not block for long.
pub trait Observer: Send + Sync {
    /// `event` is durable in the journal of `run`.
    fn event(&self, run: RunId, time: Timestamp, event: &Event);

    /// A step says what it is doing or waiting for. Not journalled.
    fn note(&self, step: &StepId, text: &str) {
        let _ = (step, text);
    }
}

/// Ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _run: RunId, _time: Timestamp, _event: &Event) {}
}
