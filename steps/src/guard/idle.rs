//! Tells whether another process has had the journal open. Each process that opens the journal writes its
//! name into the lock file. The journal itself stays closed.

use crate::run_info::{LockPurpose, LockUse};
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

    /// Marks the journal's present state as known, if this process was the last to have it open.
    pub(super) fn seen(&mut self) {
        let text = std::fs::read(self.dir.join("lock")).unwrap_or_default();
        let holder: Option<LockHolder> = serde_json::from_slice(&text).ok();
        let ours = holder.is_none_or(|holder| holder.pid == std::process::id());
        self.seen = self.touched().filter(|_| ours);
    }

    pub(super) fn is_touched(&self) -> bool {
        self.touched() != self.seen
    }

    /// Waits until a process has opened the journal and closed it again.
    pub(super) async fn until_touched(&self, tick: Duration) {
        while !self.is_touched() {
            tokio::time::sleep(tick).await;
        }
        self.until_free(tick).await;
    }

    /// Whether a person's command has the journal open, to work on a run.
    pub(super) fn sees_a_command(&self) -> bool {
        let holder = lock_holder(&self.dir).ok().flatten();
        holder.is_some_and(|holder| LockPurpose::use_of(&holder.purpose) == LockUse::Command)
    }

    /// Waits until no process has the journal open.
    pub(super) async fn until_free(&self, tick: Duration) {
        while lock_holder(&self.dir).is_ok_and(|holder| holder.is_some()) {
            tokio::time::sleep(tick).await;
        }
    }

    fn touched(&self) -> Option<SystemTime> {
        std::fs::metadata(self.dir.join("lock")).and_then(|lock| lock.modified()).ok()
    }
}
