//! One imagined process.

use super::crash::Mortality;
use super::meddler::Meddler;
use crate::clock::Clock;
use crate::engine::Engine;
use crate::event::Session;
use crate::step::StepRegistry;
use fulcrum_state::Journal;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::mpsc;

/// A process of a check: it may die at any entry, and its clock can be set forward.
pub struct Process {
    pub(crate) journal: Journal,
    pub(crate) clock: Clock,
    pub(crate) mortality: Arc<Mortality>,
    /// Closed when the last step is gone.
    pub(crate) alive: mpsc::Sender<Infallible>,
}

impl Process {
    /// An engine of this process, for the runs that a [`ChildRun`](crate::ChildRun) starts.
    pub fn engine(&self, registry: impl StepRegistry + 'static) -> Engine {
        self.engine_of(Meddler { inner: registry, with: None, alive: self.alive.clone() })
    }

    pub(crate) fn engine_of(&self, registry: impl StepRegistry + 'static) -> Engine {
        let mut engine = Engine::new(self.journal.clone(), registry, Session::new("testing", 1, "testing"));
        engine.mortality = Some(Arc::clone(&self.mortality));
        engine.clock = self.clock.clone();
        engine
    }
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process").finish_non_exhaustive()
    }
}
