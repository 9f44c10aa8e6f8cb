//! Dies after a chosen entry.

use crate::error::EngineError;
use crate::event::Event;
use fulcrum_state::{AppendError, RunId};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The point at which a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Death {
    /// The last entry that is written, from 1, counted over all runs of the journal.
    pub(crate) entry: usize,
    /// Whether the entry's consequences are still carried out, until the next entry should be written.
    pub(crate) late: bool,
}

/// What was written to a journal, of all its runs, in this order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Vec<(RunId, Event)>>>);

/// A process that may die. It writes nothing after that.
#[derive(Debug)]
pub(crate) struct Mortality {
    death: Option<Death>,
    ledger: Ledger,
    /// Held for as long as an entry is written: a run and its children die together.
    state: tokio::sync::Mutex<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Alive,
    Dying,
    Dead,
}

/// The right to write one entry.
pub(crate) struct Turn<'a> {
    mortality: &'a Mortality,
    state: tokio::sync::MutexGuard<'a, State>,
}

impl Ledger {
    /// The entries so far.
    pub(crate) fn entries(&self) -> Vec<(RunId, Event)> {
        self.lock().clone()
    }

    fn push(&self, run: RunId, event: &Event) -> usize {
        let mut entries = self.lock();
        entries.push((run, event.clone()));
        entries.len()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(RunId, Event)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mortality {
    pub(crate) fn new(death: Option<Death>, ledger: Ledger) -> Self {
        Self { death, ledger, state: tokio::sync::Mutex::new(State::Alive) }
    }

    /// Whether the process died.
    pub(crate) async fn died(&self) -> bool {
        *self.state.lock().await == State::Dead
    }

    /// The turn to write an entry.
    ///
    /// # Errors
    /// When the process is dead, or dies here.
    pub(crate) async fn turn(&self) -> Result<Turn<'_>, EngineError> {
        let mut state = self.state.lock().await;
        match *state {
            State::Alive => Ok(Turn { mortality: self, state }),
            _ => Err(dead(&mut state)),
        }
    }
}

impl Turn<'_> {
    /// The entry is written.
    ///
    /// # Errors
    /// When the process dies of it.
    pub(crate) fn has_written(mut self, run: RunId, event: &Event) -> Result<(), EngineError> {
        let entries = self.mortality.ledger.push(run, event);
        match self.mortality.death {
            Some(death) if entries >= death.entry && death.late => {
                *self.state = State::Dying;
                Ok(())
            }
            Some(death) if entries >= death.entry => Err(dead(&mut self.state)),
            _ => Ok(()),
        }
    }
}

/// What a process would see of a journal that accepts nothing any more.
fn dead(state: &mut State) -> EngineError {
    *state = State::Dead;
    EngineError::Journal(AppendError::WriterGone)
}
