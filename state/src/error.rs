//! What can go wrong, by what was being done: opening, appending, reading.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use crate::LockHolder;
use crate::MAX_ENTRY_BYTES;
use crate::MAX_KIND_BYTES;
use crate::RunId;
use crate::StoreError;

/// Why a journal could not be opened. Nothing was changed, but for a directory that may have been made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use{}; wait until that process has ended, or stop it", path.display(), by(holder.as_ref()))]
    Locked {
        /// The state directory.
        path: PathBuf,
        /// Who, if it could be read.
        holder: Option<LockHolder>,
    },
    /// Written by a later version of fulcrum.
    #[error(
        "{} has format {found}, this version reads formats up to {supported}; use the version of fulcrum that \
         wrote it, or a later one", path.display()
    )]
    Newer {
        /// The file that says so.
        path: PathBuf,
        /// The format that it names.
        found: u64,
        /// The latest one that can be read.
        supported: u64,
    },
    /// The system refused something.
    #[error("cannot {doing} {}; it must be a directory on a local disk that this user may write", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What is kept cannot be read at all.
    #[error(
        "{} is damaged: {detail}. Files in blobs/ and archived manifests do not depend on it and can be read. \
         Keep a copy of the state directory before anything else; then verify its history, which tells the entry \
         that is hit, and put a backup in its place or start with an empty directory", path.display()
    )]
    Damaged {
        /// The file or directory.
        path: PathBuf,
        /// What was seen.
        detail: String,
    },
    /// The store failed while the journal was being recovered.
    #[error("cannot recover the journal")]
    Store(#[source] StoreError),
}

/// Why an append failed.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The commit with this append failed. Whether it is on the disk is not known; the journal is
    /// poisoned.
    #[error("the journal could not commit; nothing more is recorded until it is opened again")]
    Store(#[source] StoreError),
    /// An earlier commit failed; nothing was tried.
    #[error(
        "nothing more is recorded since a commit failed ({first}); a failed sync cannot be repeated, so look \
         at the disk, then start again"
    )]
    Poisoned {
        /// The first failure.
        first: String,
    },
    /// An entry has too many bytes. Nothing was appended.
    #[error(
        "entry {seq} of run {run} would take {bytes} bytes, the most is {MAX_ENTRY_BYTES}; keep large values with put_blob and name their digest"
    )]
    TooLarge {
        /// The run.
        run: RunId,
        /// The number that the entry would have had.
        seq: u64,
        /// Its length when encoded.
        bytes: usize,
    },
    /// The kind of a run has too many bytes. Nothing was begun.
    #[error("the kind of a run has {bytes} bytes, the most is {MAX_KIND_BYTES}: {kind:?}")]
    KindTooLong {
        /// The kind.
        kind: String,
        /// Its length.
        bytes: usize,
    },
    /// There is no such run here.
    #[error("run {run} is not in the journal {}; list the runs", path.display())]
    UnknownRun {
        /// The run.
        run: RunId,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The run cannot be read, so nothing is appended to it.
    #[error("run {run} cannot be continued")]
    Read {
        /// The run.
        run: RunId,
        /// Why.
        #[source]
        source: ReadError,
    },
    /// A blob could not be kept, for want of room. Nothing is wrong with the journal.
    #[error("the blob could not be kept; make room, then try again")]
    NoRoom(#[source] StoreError),
    /// The thread that commits is gone. Whether the append is on the disk is not known.
    #[error("the thread that commits has ended; start again, and look for a panic in the log")]
    WriterGone,
}

impl AppendError {
    /// True if this journal will not append anything any more.
    pub fn is_poisoned(&self) -> bool {
        matches!(self, AppendError::Store(_) | AppendError::Poisoned { .. } | AppendError::WriterGone)
    }
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The run is not what was acknowledged, from this entry on.
    #[error("run {run} is damaged at entry {seq}: {detail}. The entries before it are whole; restore {} from a backup, or go by them", path.display())]
    Damaged {
        /// The run.
        run: RunId,
        /// The first entry that is missing or not what was written; 0 if it is the header of the run.
        seq: u64,
        /// Where it is kept.
        path: PathBuf,
        /// What was seen.
        detail: String,
    },
    /// Written by a later version of fulcrum.
    #[error(
        "entry {seq} of run {run} in {} has schema {found}, this version reads schemas up to {supported}; use \
         the version of fulcrum that wrote it, or a later one", path.display()
    )]
    Newer {
        /// The run.
        run: RunId,
        /// The entry; 0 for the header of the run.
        seq: u64,
        /// Where it is kept.
        path: PathBuf,
        /// The schema that it names.
        found: u8,
        /// The latest one that can be read.
        supported: u8,
    },
    /// A blob is not there.
    #[error("blob {digest} is missing: {} is not there; restore it from a backup", path.display())]
    MissingBlob {
        /// Its digest.
        digest: crate::Digest,
        /// Where it should be.
        path: PathBuf,
    },
    /// A blob is there, and is not what was put.
    #[error("blob {digest} is damaged: the content of {} has digest {found}; restore it from a backup", path.display())]
    DamagedBlob {
        /// Its digest.
        digest: crate::Digest,
        /// Where it is.
        path: PathBuf,
        /// The digest of what is there.
        found: crate::Digest,
    },
    /// There is no such run here.
    #[error("run {run} is not in the journal {}; list the runs", path.display())]
    UnknownRun {
        /// The run.
        run: RunId,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The store could not be read.
    #[error("cannot read the journal")]
    Store(#[source] StoreError),
}

impl ReadError {
    /// True if something that was acknowledged is not there any more, or has changed.
    pub fn is_damage(&self) -> bool {
        match self {
            ReadError::Damaged { .. } | ReadError::MissingBlob { .. } | ReadError::DamagedBlob { .. } => true,
            ReadError::Store(source) => matches!(source, StoreError::Damaged { .. }),
            ReadError::Newer { .. } | ReadError::UnknownRun { .. } => false,
        }
    }
}

fn by(holder: Option<&LockHolder>) -> String {
    match holder {
        Some(holder) => format!(" by {holder}"),
        None => String::new(),
    }
}

/// An error and all its sources, for a place that can keep only text.
pub(crate) fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
