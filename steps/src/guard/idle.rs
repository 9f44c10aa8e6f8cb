//! Whether another process has had the journal open. The lock file says so: each process that opens the journal writes
//! its name there. The journal itself stays closed.

use fulcrum_engine::state::{LockHolder, lock_holder};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Looks at the lock file.
#[derive(Debug)]
pub(super) struct JournalEye {
    dir: PathBuf,
    seen: Option<SystemTime>,
}

impl JournalEye {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), seen: None }
    }

    /// What there is now is known, if it was this process that had it open last.
    pub(super) fn seen(&mut self) {
        let text = std::fs::read(self.dir.join("lock")).unwrap_or_default();
        let holder: Option<LockHolder> = serde_json::from_slice(&text).ok();
        let ours = holder.is_none_or(|holder| holder.pid == std::process::id());
        self.seen = self.touched().filter(|_| ours);
    }

    pub(super) fn is_touched(&self) -> bool {
        self.touched() != self.seen
    }

    /// Until somebody has opened the journal, and it is closed again.
    pub(super) async fn until_touched(&self, tick: Duration) {
        while !self.is_touched() {
            tokio::time::sleep(tick).await;
        }
        self.until_free(tick).await;
    }

    /// Until no process has it open.
    pub(super) async fn until_free(&self, tick: Duration) {
        while lock_holder(&self.dir).is_ok_and(|holder| holder.is_some()) {
            tokio::time::sleep(tick).await;
        }
    }

    fn touched(&self) -> Option<SystemTime> {
        std::fs::metadata(self.dir.join("lock")).and_then(|lock| lock.modified()).ok()
    }
}
