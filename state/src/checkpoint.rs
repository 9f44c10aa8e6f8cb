//! What makes opening fast: the index and the states of runs as they were a while ago.

use crate::reader::Shared;

/// Keeps the checkpoint.
pub(crate) struct Checkpoints {}

impl Checkpoints {
    /// A commit was made.
    pub(crate) fn committed(&mut self, _: &Shared) {}

    /// Nothing more is committed.
    pub(crate) fn close(self, _: &Shared) {}
}
