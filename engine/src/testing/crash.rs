//! Dies after a chosen entry.

use crate::error::EngineError;
use fulcrum_state::AppendError;
use std::sync::{Mutex, PoisonError};

/// The point at which a run dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Death {
    /// The last entry that is written, from 1.
    pub(crate) entry: u64,
    /// Whether the entry's consequences are still carried out, until the next entry should be written.
    pub(crate) late: bool,
}

/// A process that may die. It writes nothing after that.
#[derive(Debug)]
pub(crate) struct Mortality {
    death: Option<Death>,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Alive,
    Dying,
    Dead,
}

impl Mortality {
    pub(crate) fn new(death: Option<Death>) -> Self {
        Self { death, state: Mutex::new(State::Alive) }
    }

    /// Whether the process died.
    pub(crate) fn died(&self) -> bool {
        self.state(|state| *state == State::Dead)
    }

    pub(crate) fn before_an_entry(&self) -> Result<(), EngineError> {
        self.state(|state| match state {
            State::Alive => Ok(()),
            _ => Err(dead(state)),
        })
    }

    pub(crate) fn after_entry(&self, seq: u64) -> Result<(), EngineError> {
        self.state(|state| match self.death {
            Some(death) if seq >= death.entry && death.late => {
                *state = State::Dying;
                Ok(())
            }
            Some(death) if seq >= death.entry => Err(dead(state)),
            _ => Ok(()),
        })
    }

    fn state<T>(&self, see: impl FnOnce(&mut State) -> T) -> T {
        see(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a process would see of a journal that accepts nothing any more.
fn dead(state: &mut State) -> EngineError {
    *state = State::Dead;
    EngineError::Journal(AppendError::WriterGone)
}
