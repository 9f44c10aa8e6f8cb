//! The writer of one run.

use std::sync::Arc;

use crate::AppendError;
use crate::Commit;
use crate::Head;
use crate::Lease;
use crate::RunId;
use crate::Store;
use crate::Timestamp;
use crate::claim::Claim;
use crate::commit::Prepared;
use crate::inner::Inner;
use crate::writer::Request;

/// The writer of one run: the only way to append to it. Another writer can continue the run when this one is
/// dropped and its last request is answered.
pub struct RunWriter {
    pub(crate) run: RunId,
    pub(crate) head: Head,
    pub(crate) time: Timestamp,
    pub(crate) way: Way,
}

/// The way to where the run is kept, and the claim on it.
pub(crate) enum Way {
    Log {
        inner: Arc<Inner>,
        claim: Arc<Claim>,
    },
    /// In this order: the last handle of a store waits until the claims are released.
    Store {
        lease: Arc<dyn Lease>,
        store: Arc<dyn Store>,
    },
}

impl RunWriter {
    /// The run.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// The last entry that was acknowledged.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The time of the entries that were acknowledged last: all entries of a commit have one time. If there
    /// were none, the time at which the run was continued.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// The claim on a run in a store. `None` in a journal that one process alone writes.
    pub fn lease(&self) -> Option<&Arc<dyn Lease>> {
        match &self.way {
            Way::Log { .. } => None,
            Way::Store { lease, .. } => Some(lease),
        }
    }

    /// Appends entries, and returns their head when they are on the disk: one sync, shared with everything
    /// else that is being appended. After a crash all of them are there or none. Without entries this writes
    /// nothing, and returns the head.
    ///
    /// A future that is dropped before it is done does not take its entries back. This writer's next append
    /// then returns [`AppendError::Moved`].
    ///
    /// Only a commit that [`ends`](Commit::ends) takes the last room.
    ///
    /// # Errors
    ///
    /// [`AppendError`]. If [`is_poisoned`](AppendError::is_poisoned), the entries may still be there.
    pub async fn append(&mut self, commit: Commit) -> Result<Head, AppendError> {
        let (run, expected) = (self.run, self.head);
        let (head, time) = match &self.way {
            Way::Log { inner, claim } => append_to_log(inner, claim, expected, commit).await?,
            Way::Store { store, lease } => append_to_store(store, lease, run, expected, commit).await?,
        };
        (self.head, self.time) = (head, time.unwrap_or(self.time));
        Ok(head)
    }

    /// Keeps the state of the run's state machine at its head. With it, the run need not be read from its
    /// beginning. The state is not synced: after a crash it may be older, or missing. A store
    /// does not keep it.
    pub fn checkpoint(&self, state: Vec<u8>) {
        if let Way::Log { inner, .. } = &self.way {
            inner.tell(Request::Checkpoint { run: self.run, head: self.head, state });
        }
    }
}

async fn append_to_log(
    inner: &Arc<Inner>,
    claim: &Arc<Claim>,
    expected: Head,
    commit: Commit,
) -> Result<(Head, Option<Timestamp>), AppendError> {
    // A future that was dropped has left its request with the thread.
    let is_first = Arc::strong_count(claim) == 1;
    let (run, claim, has_entries) = (claim.run(), claim.clone(), !commit.bodies.is_empty());
    let commit = inner.prepared(&claim, expected.seq, commit).await?;
    let time = commit.time;
    let head = inner.ask(is_first, |reply| Request::Append { run, expected, commit, reply, claim }).await?;
    Ok((head, has_entries.then_some(time)))
}

async fn append_to_store(
    store: &Arc<dyn Store>,
    lease: &Arc<dyn Lease>,
    run: RunId,
    expected: Head,
    commit: Commit,
) -> Result<(Head, Option<Timestamp>), AppendError> {
    let commit = Prepared::new(run, expected.seq, commit)?;
    let time = commit.time;
    let batch = commit.into_batch(run, expected);
    let Some(head) = batch.head() else { return Ok((expected, None)) };
    store.append(run, lease.clone(), expected, batch).await?;
    Ok((head, Some(time)))
}
