//! The errors, by activity: opening, appending, reading.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::Damage;
use crate::Head;
use crate::LockHolder;
use crate::MAX_BODY_BYTES;
use crate::MAX_KIND_BYTES;
use crate::RunId;
use crate::StoreError;

/// Why a journal could not be opened. Nothing was changed, except that the directory may have been made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has the journal open.
    #[error("{} is in use{}; wait until that process has ended, or stop it", path.display(), by(holder.as_ref()))]
    Locked {
        /// The state directory.
        path: PathBuf,
        /// The process that has it open, if that could be read.
        holder: Option<LockHolder>,
    },
    /// A later version wrote the journal.
    #[error(
        "{} has format {found}, this version reads formats up to {supported}; use the version that \
         wrote it, or a later one", path.display()
    )]
    Newer {
        /// The file with the format.
        path: PathBuf,
        /// The format in it.
        found: u64,
        /// The latest format that this version can read.
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
    /// The stored data cannot be read at all.
    #[error(
        "{} is damaged: {detail}. Files in blobs/ do not depend on it and can be read. \
         Keep a copy of the state directory before anything else; then verify its history, which tells the entry \
         that is hit, and put a backup in its place or start with an empty directory", path.display()
    )]
    Damaged {
        /// The file or directory.
        path: PathBuf,
        /// What was seen.
        detail: String,
    },
    /// Another user could change the directory.
    #[error("{} is not safe: {detail}", path.display())]
    Unsafe {
        /// The directory, or a file in it.
        path: PathBuf,
        /// What was seen, and what to do.
        detail: String,
    },
    /// The directory has content, and no journal.
    #[error("{} holds {found:?} and is no journal; name an empty directory, or one that is not there", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// A name in it.
        found: String,
    },
    /// An earlier version wrote the journal, and this process only reads.
    #[error(
        "{} has format {found}; open it once for writing, which carries it over to format 2", path.display()
    )]
    Older {
        /// The state directory.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// The disk failed while the journal was being recovered.
    #[error("cannot recover the journal; it must be on a local disk that this user may write")]
    Disk(#[source] DiskError),
}

/// Why an append failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The commit with this append failed. It is not known whether the commit is on the disk. The journal is
    /// poisoned.
    #[error("the journal could not commit; nothing more is recorded until it is opened again")]
    Disk(#[source] DiskError),
    /// An earlier commit failed. Nothing was tried.
    #[error(
        "nothing more is recorded since a commit failed ({first}); a failed sync cannot be repeated, so look \
         at the disk, then start again"
    )]
    Poisoned {
        /// The first failure.
        first: String,
    },
    /// The body of an entry has too many bytes. Nothing was appended.
    #[error(
        "entry {seq} of run {run} has {bytes} bytes, the most is {MAX_BODY_BYTES}; keep large values as blobs and \
         name their digest"
    )]
    TooLarge {
        /// The run.
        run: RunId,
        /// The number that the entry would have had.
        seq: u64,
        /// The length of its body.
        bytes: usize,
    },
    /// The entries of a commit have too many bytes together. Nothing was appended.
    #[error(
        "a commit to run {run} has {bytes} bytes, the most is {most}; append its entries in several commits"
    )]
    CommitTooLarge {
        /// The run.
        run: RunId,
        /// The length of the commit in the log.
        bytes: usize,
        /// The most that it may have.
        most: usize,
    },
    /// A body is not one JSON value on one line. Nothing was appended.
    #[error("entry {seq} of run {run} is not one JSON value on one line: {detail}")]
    NotJson {
        /// The run.
        run: RunId,
        /// The number that the entry would have had.
        seq: u64,
        /// What is wrong with it.
        detail: String,
    },
    /// A commit has blobs and no entry that they belong to. Nothing was appended.
    #[error("a commit to run {run} has blobs and no entry; append them with the entry that names them")]
    BlobsAlone {
        /// The run.
        run: RunId,
    },
    /// The run is being written by another part of this process.
    #[error("run {run} is already at work in this process; wait until that has ended, or stop it")]
    Claimed {
        /// The run.
        run: RunId,
    },
    /// A run of this name was begun earlier. Nothing was begun.
    #[error("run {run} was begun earlier; continue that one")]
    Exists {
        /// The run.
        run: RunId,
    },
    /// The run has grown since the writer looked: the caller dropped an append before its answer.
    #[error(
        "run {run} ends with entry {found}, not with entry {}; continue the run anew, and read it first", expected.seq
    )]
    Moved {
        /// The run.
        run: RunId,
        /// The head that the append should follow.
        expected: Head,
        /// The number of the last entry.
        found: u64,
    },
    /// The kind of a run has too many bytes. Nothing was begun.
    #[error("the kind of a run has {bytes} bytes, the most is {MAX_KIND_BYTES}: {kind:?}")]
    KindTooLong {
        /// The kind.
        kind: String,
        /// Its length.
        bytes: usize,
    },
    /// The run cannot be read, so nothing is appended to it.
    #[error("run {run} cannot be continued")]
    Read {
        /// The run.
        run: RunId,
        /// The cause.
        #[source]
        source: ReadError,
    },
    /// The disk has no room for it. Nothing was appended, and the journal is sound.
    #[error("the journal has no room for it; make room on the disk, then try again")]
    NoRoom(#[source] DiskError),
    /// A blob could not be written as a file, and not for want of room. Nothing was appended, and the journal is
    /// sound.
    #[error("the journal could not keep a blob; look at the disk, then try again")]
    Blob(#[source] DiskError),
    /// A store could not append. It is not known whether the entries are there.
    #[error("the store could not append; once it answers again, continue the run anew, and read it first")]
    Store(#[source] StoreError),
    /// Another process has claimed the run.
    #[error(
        "run {run} is at work on {by}, whose claim lasts for another {left:?} if nobody renews it; wait for its end"
    )]
    Held {
        /// The run.
        run: RunId,
        /// Who has claimed it.
        by: String,
        /// How long the claim lasts if it is not renewed.
        left: Duration,
    },
    /// Another claim on the run has followed this writer's. Nothing was appended.
    #[error(
        "run {run} was taken over: this writer's claim has token {token}, the latest has {latest}; \
         drop what is in flight, it is somebody else's"
    )]
    Fenced {
        /// The run.
        run: RunId,
        /// The token of this writer's claim.
        token: u64,
        /// The token of the latest claim.
        latest: u64,
    },
    /// The thread that commits is gone. It is not known whether the append is on the disk.
    #[error("the thread that commits has ended; start again, and look for a panic in the log")]
    WriterGone,
}

impl AppendError {
    /// True if this journal accepts no more appends.
    pub fn is_poisoned(&self) -> bool {
        matches!(self, AppendError::Disk(_) | AppendError::Poisoned { .. } | AppendError::WriterGone)
    }
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// From this entry on, the run differs from what was acknowledged.
    #[error(
        "run {run} is damaged at entry {seq}, in {} at byte {offset}: {detail}. The entries before it are whole; \
         restore the file from a backup, or go by them", path.display()
    )]
    Damaged {
        /// The run.
        run: RunId,
        /// The first entry that is missing or differs from what was written. 0 if it is the header of the
        /// run.
        seq: u64,
        /// The file of the finding.
        path: PathBuf,
        /// The place in the file.
        offset: u64,
        /// What was seen.
        detail: String,
    },
    /// The run was pruned.
    #[error("run {run} was pruned; its last entry was {}, {:.12}", head.seq, head.hash)]
    Pruned {
        /// The run.
        run: RunId,
        /// Its last entry.
        head: Head,
    },
    /// A blob is missing.
    #[error("blob {digest} is missing in {}; restore it from a backup", path.display())]
    MissingBlob {
        /// Its digest.
        digest: crate::Digest,
        /// The state directory.
        path: PathBuf,
    },
    /// The content of a blob differs from what was put, or its record cannot be read.
    #[error("blob {digest} is damaged, in {}: {detail}; restore the file from a backup", path.display())]
    DamagedBlob {
        /// Its digest.
        digest: crate::Digest,
        /// The blob's file, or the segment with its record.
        path: PathBuf,
        /// What was seen.
        detail: String,
    },
    /// This journal has no such run.
    #[error("run {run} is not in the journal {}; list the runs", path.display())]
    UnknownRun {
        /// The run.
        run: RunId,
        /// The journal that was searched.
        path: PathBuf,
    },
    /// The disk could not be read.
    #[error("cannot read the journal")]
    Disk(#[source] DiskError),
    /// From this entry on, the run in a store differs from what was acknowledged.
    #[error(
        "run {run} is damaged at entry {seq}, in {place}: {detail}. The entries before it are whole; restore its \
         rows from a backup, or go by them"
    )]
    DamagedRow {
        /// The run.
        run: RunId,
        /// The first entry that is missing or differs from what was kept.
        seq: u64,
        /// Where the store is.
        place: String,
        /// What was seen.
        detail: String,
    },
    /// A store could not be read.
    #[error("cannot read the journal")]
    Store(#[source] StoreError),
}

impl ReadError {
    /// True if something that was acknowledged is missing or has changed.
    pub fn is_damage(&self) -> bool {
        match self {
            ReadError::Damaged { .. }
            | ReadError::DamagedRow { .. }
            | ReadError::MissingBlob { .. }
            | ReadError::DamagedBlob { .. } => true,
            ReadError::Disk(_)
            | ReadError::Store(_)
            | ReadError::Pruned { .. }
            | ReadError::UnknownRun { .. } => false,
        }
    }
}

fn by(holder: Option<&LockHolder>) -> String {
    match holder {
        Some(holder) => format!(" by {holder}"),
        None => String::new(),
    }
}

/// The system refused a disk operation.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot {doing} {}", path.display())]
pub struct DiskError {
    /// What was being done.
    pub doing: &'static str,
    /// On what.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: Arc<io::Error>,
}

impl DiskError {
    pub(crate) fn new(doing: &'static str, path: PathBuf, source: io::Error) -> DiskError {
        DiskError { doing, path, source: Arc::new(source) }
    }

    /// True if the disk had no room.
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

impl ReadError {
    pub(crate) fn damaged(run: RunId, damage: &Damage) -> ReadError {
        let (seq, path) = (damage.seq.unwrap_or(0), damage.path.clone());
        ReadError::Damaged { run, seq, path, offset: damage.offset, detail: damage.detail.clone() }
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
