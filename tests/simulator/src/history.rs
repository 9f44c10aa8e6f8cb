//! The changes, in order. Watches tell them, and lists of an earlier moment are made from them.
//!
//! Bounded, as etcd's history is by its compaction. A request for an older version gets 410 Expired.

use super::object::Key;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::Arc;

/// One change of one object.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) key: Key,
    /// `None`: the change made the object.
    pub(super) old: Option<Arc<Value>>,
    /// `None`: the change removed the object.
    pub(super) new: Option<Arc<Value>>,
}

/// The newest changes.
#[derive(Debug, Default)]
pub(super) struct History {
    changes: VecDeque<Change>,
    keep: usize,
    /// The history knows everything after this version.
    oldest: u64,
}

impl History {
    /// A history that keeps this many changes.
    pub(super) fn new(keep: usize) -> Self {
        Self { keep, ..Self::default() }
    }

    pub(super) fn add(&mut self, change: Change) {
        self.changes.push_back(change);
        while self.changes.len() > self.keep {
            self.oldest = self.changes.pop_front().map_or(self.oldest, |change| change.version);
        }
    }

    /// Forgets everything up to and including `version`, as a compaction does.
    pub(super) fn forget(&mut self, version: u64) {
        self.changes.retain(|change| change.version > version);
        self.oldest = self.oldest.max(version);
    }

    /// The history knows every change from this version on.
    pub(super) fn oldest(&self) -> u64 {
        self.oldest
    }

    /// The changes after `version`, oldest first.
    pub(super) fn after(&self, version: u64) -> impl DoubleEndedIterator<Item = &Change> {
        let first = self.changes.partition_point(|change| change.version <= version);
        self.changes.range(first..)
    }
}
