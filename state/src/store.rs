//! The only I/O seam of the journal: a place that keeps entries, headers, blobs and a witness as bytes.
//!
//! A store knows keys and bytes. What the bytes mean, and whether they are right, is the journal's
//! business. [`conformance`](crate::conformance) says in tests what is said here in words.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::Digest;
use crate::RunId;

/// What one commit writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Entries: run, number, bytes. A number is committed once in the life of a run.
    pub entries: Vec<(RunId, u64, Vec<u8>)>,
    /// Headers: they replace the ones that are there.
    pub headers: Vec<(RunId, Vec<u8>)>,
}

/// A place that keeps a journal.
///
/// Only one thread commits; any thread reads, also during a commit. A header is the commit of its run: whoever
/// reads it and then the entries up to its head finds them all.
pub trait Store: Send + Sync + 'static {
    /// Writes the batch, the entries and then the headers, and returns when it is on the disk. Afterwards its
    /// headers are the witness of their runs.
    ///
    /// After a crash the header of a run is as it was, or all of the batch is there that is of this run. Entries
    /// beyond a header may be left; the next commit of the run writes over them.
    ///
    /// After an error nobody knows whether the batch is there; the store is not written to again.
    fn commit(&self, batch: &Batch) -> Result<(), StoreError>;

    /// The entries of `run` with the smallest numbers that are `seq` or more, in order, `most` of them if there
    /// are as many. If the store fails at one of them it may return those before it, if any; then it fails
    /// when it is asked for that one.
    fn entries_from(&self, run: RunId, seq: u64, most: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError>;

    /// The first of them.
    fn entry_from(&self, run: RunId, seq: u64) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        Ok(self.entries_from(run, seq, 1)?.pop())
    }

    /// The header of a run.
    fn header(&self, run: RunId) -> Result<Option<Vec<u8>>, StoreError>;

    /// All headers, in the order of their runs.
    fn headers(&self) -> Result<Vec<(RunId, Vec<u8>)>, StoreError>;

    /// The headers of the newest commits, as they were kept apart from the database when it was opened:
    /// they may be older than the database, or missing, and are newer only if the database lost
    /// something.
    fn witnessed(&self) -> Result<Vec<(RunId, Vec<u8>)>, StoreError>;

    /// All bytes that may hold entries, for the search for a damaged one. Empty if the store has nothing to
    /// search.
    fn raw(&self) -> Result<Vec<u8>, StoreError> {
        Ok(Vec::new())
    }

    /// Told once, after opening: whether something is missing that was witnessed. A store that may have
    /// changed what it found keeps it then, so that [`raw`](Store::raw) goes on finding it.
    fn recovered(&self, lost: bool) {
        let _ = lost;
    }

    /// Keeps a blob and returns when it and its name are on the disk. To put it again is no error.
    fn put_blob(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError>;

    /// Takes runs away, header, witness and entries, and returns when that is on the disk. After a crash in the
    /// middle each of them is there as a whole or, to every reader, gone; what is left of it then is taken away
    /// before anything else is read. That a run is not there is fine.
    fn remove(&self, runs: &[RunId]) -> Result<(), StoreError>;

    /// The digests of all blobs, in no order.
    fn blobs(&self) -> Result<Vec<Digest>, StoreError>;

    /// Takes blobs away. One that a crash left is only in the way.
    fn remove_blobs(&self, digests: &[Digest]) -> Result<(), StoreError>;

    /// The blob, unchecked.
    fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError>;

    /// Where things are, for messages.
    fn place(&self) -> PathBuf;

    /// Where this blob is, for messages.
    fn blob_place(&self, digest: &Digest) -> PathBuf {
        self.place().join("blobs").join(digest.to_string())
    }
}

impl<S: Store + ?Sized> Store for Box<S> {
    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        (**self).commit(batch)
    }

    fn entries_from(&self, run: RunId, seq: u64, most: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        (**self).entries_from(run, seq, most)
    }

    fn header(&self, run: RunId) -> Result<Option<Vec<u8>>, StoreError> {
        (**self).header(run)
    }

    fn headers(&self) -> Result<Vec<(RunId, Vec<u8>)>, StoreError> {
        (**self).headers()
    }

    fn witnessed(&self) -> Result<Vec<(RunId, Vec<u8>)>, StoreError> {
        (**self).witnessed()
    }

    fn raw(&self) -> Result<Vec<u8>, StoreError> {
        (**self).raw()
    }

    fn recovered(&self, lost: bool) {
        (**self).recovered(lost);
    }

    fn put_blob(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        (**self).put_blob(digest, bytes)
    }

    fn remove(&self, runs: &[RunId]) -> Result<(), StoreError> {
        (**self).remove(runs)
    }

    fn blobs(&self) -> Result<Vec<Digest>, StoreError> {
        (**self).blobs()
    }

    fn remove_blobs(&self, digests: &[Digest]) -> Result<(), StoreError> {
        (**self).remove_blobs(digests)
    }

    fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        (**self).blob(digest)
    }

    fn place(&self) -> PathBuf {
        (**self).place()
    }

    fn blob_place(&self, digest: &Digest) -> PathBuf {
        (**self).blob_place(digest)
    }
}

/// What went wrong in a store. It can be cloned: everyone who waited for a failed commit gets it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The system refused a read, a write or a sync.
    #[error("cannot {doing} {}; look at its file system and at the kernel's log", path.display())]
    Io {
        /// What was being done, as in "read", "sync".
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// What is kept is not what was written.
    #[error("{} is damaged: {detail}", path.display())]
    Damaged {
        /// The file or directory.
        path: PathBuf,
        /// What was seen.
        detail: String,
    },
}

impl StoreError {
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>, source: io::Error) -> StoreError {
        StoreError::Io { doing, path: path.into(), source: Arc::new(source) }
    }

    /// True if there was no room left; then nothing is wrong with what is already kept.
    pub fn is_full(&self) -> bool {
        match self {
            StoreError::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            StoreError::Damaged { .. } => false,
        }
    }
}
