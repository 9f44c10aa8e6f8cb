//! Removes finished runs.

use crate::engine::Engine;
use crate::error::EngineError;
use crate::retention::{Automatic, Retention};
use fulcrum_state::{AppendError, RunId, Timestamp};

impl Engine {
    /// Removes the finished runs that `retention` does not keep, and returns them. The journal keeps a record
    /// with the head of each ([`Journal::prune`](fulcrum_state::Journal::prune)), and a removed run's key starts
    /// no second run. A run that another call works on is kept for now.
    ///
    /// # Errors
    /// When the journal cannot be read or written. After a crash each run is whole or gone.
    pub async fn retain(&self, retention: Retention) -> Result<Vec<RunId>, EngineError> {
        let mut gone = retention.chosen(&self.journal.reader(), Timestamp::now())?;
        loop {
            let runs: Vec<RunId> = gone.iter().flatten().copied().collect();
            if runs.is_empty() {
                return Ok(runs);
            }
            match self.journal.prune(runs.clone(), "retention").await {
                Err(AppendError::Claimed { run } | AppendError::Held { run, .. }) => {
                    gone.retain(|family| !family.contains(&run));
                }
                result => return result.map(|()| runs).map_err(Into::into),
            }
        }
    }

    /// Has this engine, or the first of its clones that begins a run, carry out [`Engine::retain`] once before
    /// that. A failure is logged, and the run begins all the same.
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = Some(Automatic::new(retention));
        self
    }

    pub(crate) async fn retain_once(&self) {
        let Some(retention) = self.retention.as_ref().and_then(Automatic::due) else { return };
        match self.retain(retention).await {
            Ok(runs) => tracing::debug!(runs = runs.len(), "finished runs were removed"),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "finished runs stay"),
        }
    }
}
