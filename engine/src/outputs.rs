//! The values that the steps of a run have returned. Every call shares them, and none copies them.

use serde_json::Value;
use std::sync::{Arc, OnceLock};

/// A place for each step of the plan. An output is put there once, when it is durable.
#[derive(Debug, Clone)]
pub(crate) struct Outputs(Arc<[OnceLock<Arc<Value>>]>);

impl Outputs {
    /// Outputs that begin with the known ones.
    pub(crate) fn new(known: impl Iterator<Item = Option<Arc<Value>>>) -> Self {
        let place = |output: Option<Arc<Value>>| output.map_or_else(OnceLock::new, OnceLock::from);
        Self(known.map(place).collect())
    }

    /// Adds the output of the step at `place`. If the step has another output, from an earlier session, calls
    /// in flight keep seeing that one.
    pub(crate) fn put(&mut self, place: usize, output: Arc<Value>) {
        let Some(slot) = self.0.get(place) else { return };
        if let Err(output) = slot.set(output) {
            let mut known: Vec<_> = self.0.iter().map(|slot| slot.get().cloned()).collect();
            known[place] = Some(output);
            *self = Self::new(known.into_iter());
        }
    }

    /// The output of the step at `place`, if it has one.
    pub(crate) fn get(&self, place: usize) -> Option<&Value> {
        self.0.get(place)?.get().map(Arc::as_ref)
    }
}
