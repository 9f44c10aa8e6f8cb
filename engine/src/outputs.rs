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

    /// Sets the output of the step at `place`. If the step has another one, from an earlier attempt, calls in
    /// flight keep seeing that.
    pub(crate) fn set(&mut self, place: usize, output: Option<Arc<Value>>) {
        let Some(slot) = self.0.get(place) else { return };
        let is_set = match (slot.get(), &output) {
            (None, None) => true,
            (None, Some(output)) => slot.set(Arc::clone(output)).is_ok(),
            (Some(known), Some(output)) => Arc::ptr_eq(known, output),
            (Some(_), None) => false,
        };
        if !is_set {
            let known = self.0.iter().enumerate();
            let known =
                known.map(|(at, slot)| if at == place { output.clone() } else { slot.get().cloned() });
            *self = Self::new(known.collect::<Vec<_>>().into_iter());
        }
    }

    /// The output of the step at `place`, if it has one.
    pub(crate) fn get(&self, place: usize) -> Option<&Value> {
        self.0.get(place)?.get().map(Arc::as_ref)
    }
}
