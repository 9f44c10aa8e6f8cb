//! Claims on the runs of this process: one writer for each run at a time.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
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
}

impl Claims {
    /// Claims a run. `None` if it is claimed already.
    pub(crate) fn claim(&self, run: RunId) -> Option<Arc<Claim>> {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.insert(run).then(|| Arc::new(Claim { claims: self.clone(), run }))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.runs.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.run);
    }
}
