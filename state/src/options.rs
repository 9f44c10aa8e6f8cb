//! How a journal is opened.

/// The options for opening a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The most bytes of a segment of the log, at least 64 KiB. One commit takes at most half of it.
    pub segment_bytes: u64,
    /// Where the commits of a run take place that is the only one being written.
    pub commit_on: CommitOn,
}

/// The thread on which a commit is written and synced, if no other run is being written. The commits of several
/// runs always take place on the journal's thread, where they share syncs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitOn {
    /// The journal's thread. The caller's task waits, and its thread does other work.
    #[default]
    JournalThread,
    /// The thread that polls the append. Saves two switches of threads a commit. The thread does nothing else for
    /// as long as a sync takes, or for as long as the disk hangs: for a program that has nothing else to do
    /// meanwhile.
    CallersThread,
}

impl Default for Options {
    fn default() -> Options {
        Options { segment_bytes: 16 * 1024 * 1024, commit_on: CommitOn::default() }
    }
}

impl Options {
    /// These options within their bounds.
    pub(crate) fn clamped(self) -> Options {
        Options { segment_bytes: self.segment_bytes.clamp(64 * 1024, 1 << 30), ..self }
    }
}
