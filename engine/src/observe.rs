//! The interface for watching a run: for progress bars, logs and tests.

use crate::event::Event;
use crate::panics::panic_text;
use crate::plan::StepId;
use crate::run::Phase;
use async_trait::async_trait;
use fulcrum_state::{Journal, RunId, Timestamp};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Watches a run. The engine calls it in the midst of its own work: a method must not block for long. A panic
/// is logged and does the run no harm.
pub trait Observer: Send + Sync {
    /// `event` is durable in the journal of `run`. `time` is its entry's time.
    fn event(&self, run: RunId, time: Timestamp, event: &Event);

    /// A step says what it does or waits for. This is not journalled.
    fn note(&self, step: &StepId, text: &str) {
        let _ = (step, text);
    }
}

/// Does something after a run has ended, paused or begun to wait, and before the engine's call returns: for example it signs
/// what the journal has. Everything of the run is durable by then, and no step is in flight.
///
/// It has no say in how the run ended, and no way to fail the call. After a crash it is not called again for
/// that end: it must do later what it has missed. The engine waits for it without a limit.
#[async_trait]
pub trait AfterRun: Send + Sync {
    /// The run has ended, paused or begun to wait, in this phase.
    async fn ended(&self, journal: &Journal, run: RunId, phase: &Phase);
}

/// Ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _run: RunId, _time: Timestamp, _event: &Event) {}
}

/// Observers that cannot harm the run: their panics are logged, and that is all.
#[derive(Clone, Default)]
pub(crate) struct Watcher(Arc<[Arc<dyn Observer>]>);

impl Watcher {
    /// These observers and one more.
    pub(crate) fn and(&self, observer: Arc<dyn Observer>) -> Self {
        Self(self.0.iter().cloned().chain([observer]).collect())
    }

    /// Whether there is an observer at all.
    pub(crate) fn is_there(&self) -> bool {
        !self.0.is_empty()
    }

    pub(crate) fn event(&self, run: RunId, time: Timestamp, event: &Event) {
        self.guarded(|observer| observer.event(run, time, event));
    }

    pub(crate) fn note(&self, step: &StepId, text: &str) {
        self.guarded(|observer| observer.note(step, text));
    }

    fn guarded(&self, tell: impl Fn(&dyn Observer)) {
        for observer in self.0.iter() {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| tell(observer.as_ref()))) {
                tracing::error!(panic = panic_text(&*panic), "the observer panicked; the run goes on");
            }
        }
    }
}
