//! What steps report of themselves, until the journal has it.

use crate::plan::StepId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The last report of each step that no entry has yet. Clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reports {
    last: Arc<Mutex<Last>>,
    new: Arc<Notify>,
}

/// The attempt and the text.
type Last = BTreeMap<StepId, (u32, String)>;

impl Reports {
    /// Puts a report in the place of the step's earlier one.
    pub(crate) fn put(&self, step: &StepId, attempt: u32, text: String) {
        self.last().insert(step.clone(), (attempt, text));
        self.new.notify_one();
    }

    /// Takes the report of a step out.
    pub(crate) fn take(&self, step: &StepId) -> Option<(u32, String)> {
        self.last().remove(step)
    }

    /// A step that has reported something.
    pub(crate) fn first(&self) -> Option<StepId> {
        self.last().keys().next().cloned()
    }

    /// Comes back when there is a new report.
    pub(crate) async fn is_new(&self) {
        self.new.notified().await;
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
