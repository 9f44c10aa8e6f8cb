//! The runs that this process was at work on and has left without an end: the engine returned an error, or its
//! call was dropped. Only this process can know that it did not die of them.

use fulcrum_state::RunId;
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

static LEFT: Mutex<BTreeSet<RunId>> = Mutex::new(BTreeSet::new());

/// Notes that this process is at work on the run.
pub(crate) fn at_work(run: RunId) {
    left().insert(run);
}

/// Notes that the run has paused or ended.
pub(crate) fn ended(run: RunId) {
    left().remove(&run);
}

/// Whether this process was the last at work on the run, if any process left the run without an end.
pub(crate) fn was_at_work(run: RunId) -> bool {
    left().contains(&run)
}

fn left() -> MutexGuard<'static, BTreeSet<RunId>> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}
