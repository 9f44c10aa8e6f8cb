//! What a step records of its doings in one call, until the entry that ends the call has it.

use crate::limits::{LimitError, check_facts};
use serde_json::Value;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The facts of one call, each once, in their order. Clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    all: Arc<Mutex<Vec<Value>>>,
}

impl Facts {
    /// Adds a fact that is not there yet.
    pub(crate) fn add(&self, fact: Value) -> Result<(), LimitError> {
        let mut all = self.all();
        if all.contains(&fact) {
            return Ok(());
        }
        all.push(fact);
        let checked = check_facts(&all);
        if checked.is_err() {
            all.pop();
        }
        checked
    }

    /// Takes all of them out.
    pub(crate) fn take(&self) -> Vec<Value> {
        mem::take(&mut self.all())
    }

    fn all(&self) -> MutexGuard<'_, Vec<Value>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
