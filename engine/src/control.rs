//! The request for a pause, from outside of a run.

use crate::event::PauseCause;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio_util::sync::CancellationToken;

/// Pauses a run from outside, for example from a signal handler.
#[derive(Debug, Clone, Default)]
pub struct Control {
    state: Arc<Mutex<Asked>>,
}

/// The request for a pause, if there is one. The calls that are at work share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) pause: CancellationToken,
    why: Arc<OnceLock<(String, PauseCause)>>,
    /// How many earlier requests were answered.
    answered: u64,
}

impl Control {
    /// Asks for a pause. The engine starts nothing new, asks the steps in flight to stop, and journals the
    /// pause once they have. A second call changes nothing.
    ///
    /// The request is for the calls that are at work, or for the next one if there is none. Once such a call
    /// has returned, a run can be taken up again.
    pub fn pause(&self, reason: impl Into<String>, cause: PauseCause) {
        let state = self.state();
        state.why.get_or_init(|| (reason.into(), cause));
        state.pause.cancel();
    }

    pub(crate) fn asked(&self) -> Asked {
        self.state().clone()
    }

    /// The run has paused, or has ended first.
    pub(crate) fn answered(&self, asked: &Asked) {
        let mut state = self.state();
        if state.pause.is_cancelled() && state.answered == asked.answered {
            *state = Asked { answered: asked.answered + 1, ..Asked::default() };
        }
    }

    fn state(&self) -> MutexGuard<'_, Asked> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked {
    /// The reason and the cause, once the pause was asked for.
    pub(crate) fn why(&self) -> (String, PauseCause) {
        self.why.get().cloned().unwrap_or_default()
    }
}
