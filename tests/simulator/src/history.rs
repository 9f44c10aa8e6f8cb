//! What changed, in order: what watches are told from, and what lists of an earlier moment are made from.
//!
//! Bounded, as etcd's history is by its compaction: who asks for what is older gets 410 Expired.

use super::store::Key;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::Arc;

/// One change of one object.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) key: Key,
    /// `None`: it was made.
    pub(super) old: Option<Arc<Value>>,
    /// `None`: it was taken away.
    pub(super) new: Option<Arc<Value>>,
}

/// The newest changes.
#[derive(Debug, Default)]
pub(super) struct History {
    changes: VecDeque<Change>,
    keep: usize,
    /// Everything after this version is known.
    oldest: u64,
}

impl History {
    /// Keeps that many changes.
    pub(super) fn new(keep: usize) -> Self {
        Self { keep, ..Self::default() }
    }

    pub(super) fn add(&mut self, change: Change) {
        self.changes.push_back(change);
        while self.changes.len() > self.keep {
            self.oldest = self.changes.pop_front().map_or(self.oldest, |change| change.version);
        }
    }

    /// Forgets everything up to and with `version`, as a compaction does.
    pub(super) fn forget(&mut self, version: u64) {
        self.changes.retain(|change| change.version > version);
        self.oldest = self.oldest.max(version);
    }

    /// The version from which on every change is known.
    pub(super) fn oldest(&self) -> u64 {
        self.oldest
    }

    /// The changes after `version`, oldest first.
    pub(super) fn after(&self, version: u64) -> impl DoubleEndedIterator<Item = &Change> {
        let first = self.changes.partition_point(|change| change.version <= version);
        self.changes.range(first..)
    }
}
