//! Claims on the runs of this process: one writer for each run at a time.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::RunId;

/// The runs that are being written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims {
    runs: Arc<Mutex<HashSet<RunId>>>,
}

/// A run that is being written, until this is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    claims: Claims,
    run: RunId,
    files: Mutex<()>,
}

impl Claims {
    /// Claims a run. `None` if it is claimed already.
    pub(crate) fn claim(&self, run: RunId) -> Option<Arc<Claim>> {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.insert(run).then(|| Arc::new(Claim { claims: self.clone(), run, files: Mutex::default() }))
    }

    /// True if one run is being written, and no other.
    pub(crate) fn is_single(&self) -> bool {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).len() == 1
    }
}

impl Claim {
    pub(crate) fn run(&self) -> RunId {
        self.run
    }

    /// Waits until no other task writes files of the run, and keeps others from it.
    pub(crate) fn alone(&self) -> MutexGuard<'_, ()> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.runs.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.run);
    }
}
