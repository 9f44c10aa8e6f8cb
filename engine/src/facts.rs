//! What a step records of its doings in one call, until the entry that ends the call has it.

use crate::limits::check_facts;
use serde_json::Value;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The last fact of a call that has recorded more than an entry holds.
const MORE: &str = "more was recorded than the entry holds";

/// The facts of one call, each once, in their order. Clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    all: Arc<Mutex<Vec<Value>>>,
}

impl Facts {
    /// Adds a fact that is not there yet. One that does not fit is left out, and so are all after it: the last fact
    /// says so. The limit leaves room for that one.
    pub(crate) fn add(&self, fact: Value) {
        let mut all = self.all();
        if all.contains(&fact) || all.last().is_some_and(|last| last == MORE) {
            return;
        }
        all.push(fact);
        if let Err(error) = check_facts(&all) {
            tracing::warn!("a fact does not fit into the entry any more: {error}");
            all.pop();
            all.push(MORE.into());
        }
    }

    /// Takes all of them out.
    pub(crate) fn take(&self) -> Vec<Value> {
        mem::take(&mut self.all())
    }

    fn all(&self) -> MutexGuard<'_, Vec<Value>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::FACTS_BYTES_MAX;

    #[test]
    fn what_does_not_fit_is_left_out_and_the_last_fact_says_so() {
        let facts = Facts::default();
        facts.add("a".into());
        facts.add("a".into());
        facts.add("b".repeat(FACTS_BYTES_MAX - 10).into());
        for _ in 0..2 {
            facts.add("c".repeat(100).into());
        }
        facts.add("d".into());
        let kept = facts.take();
        assert_eq!((kept.len(), &kept[0], &kept[2]), (3, &"a".into(), &MORE.into()));
        assert_eq!(facts.take(), Vec::<Value>::new());
    }
}
