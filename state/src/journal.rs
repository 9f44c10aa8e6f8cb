//! The one writer of a journal: open, begin, append, prune.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::AppendError;
use crate::Commit;
use crate::Digest;
use crate::DiskError;
use crate::Head;
use crate::MAX_KIND_BYTES;
use crate::MemoryDisk;
use crate::OpenError;
use crate::Options;
use crate::ReadError;
use crate::Reader;
use crate::RunHeader;
use crate::RunId;
use crate::RunWriter;
use crate::Store;
use crate::Timestamp;
use crate::carry;
use crate::claim::Claim;
use crate::commit::Prepared;
use crate::dir;
use crate::disk::Disk;
use crate::disk::SystemDisk;
use crate::inner::Inner;
use crate::lock::ProcessLock;
use crate::log::FORMAT;
use crate::run_writer::Way;
use crate::writer::Request;

/// The segment size of a journal in memory: a program's tests may have hundreds of such journals.
const MEMORY_BYTES: u64 = 512 * 1024;

/// An open journal. Clones are one journal. It is closed when the last clone and the last of its
/// [`RunWriter`]s are dropped. Dropping waits for what is being committed. Afterwards the journal can be
/// opened again at once.
#[derive(Clone)]
pub struct Journal {
    kept: Kept,
}

/// Where the journal is.
#[derive(Clone)]
enum Kept {
    Log(Arc<Inner>),
    Store(Arc<dyn Store>),
}

impl Journal {
    /// Opens the journal in `dir` for writing and recovers it. Makes the directory if it does not exist (mode
    /// 0700). [`LockHolder`](crate::LockHolder) tells `purpose` to others.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: in use by another process, of a newer format, not safe, or refused by the system.
    /// Damage to single runs is no error here: reading them reports it.
    pub fn open(dir: impl AsRef<Path>, purpose: &str) -> Result<Journal, OpenError> {
        Journal::open_with(dir, purpose, Options::default())
    }

    /// [`open`](Journal::open), with options.
    ///
    /// # Errors
    ///
    /// As [`open`](Journal::open).
    pub fn open_with(dir: impl AsRef<Path>, purpose: &str, options: Options) -> Result<Journal, OpenError> {
        let dir = dir.as_ref();
        dir::check(dir)?;
        dir::make(dir)?;
        let lock = Arc::new(ProcessLock::take(dir, purpose)?);
        crate::fault::point("open/locked");
        // Checked again: another process may have written since.
        let format = dir::check(dir)?;
        crate::fault::point("open/before-format");
        match format {
            Some(FORMAT) => carry::finish(dir)?,
            Some(_) => carry::carry_over(dir, options.clamped())?,
            None => dir::mark(dir)?,
        }
        if dir::is_volatile(dir) {
            tracing::warn!(dir = %dir.display(), "the journal lies in memory: a power cut or a reboot takes it away");
        }
        let disk = Arc::new(SystemDisk::new(dir.into()));
        let inner = Inner::start(disk, options, Some(dir.into()), Some(lock)).map_err(OpenError::Disk)?;
        Ok(Journal { kept: Kept::Log(Arc::new(inner)) })
    }

    /// A journal that loses everything when the process ends.
    ///
    /// # Panics
    ///
    /// The system has no thread left.
    pub fn in_memory() -> Journal {
        let disk = Arc::new(MemoryDisk::new());
        Journal::on(disk, Options { segment_bytes: MEMORY_BYTES, ..Options::default() })
            .expect("the system gives a thread to a journal in memory")
    }

    /// A journal on a disk that no other process writes, without a lock and without a checkpoint.
    ///
    /// # Errors
    ///
    /// [`DiskError`] if the journal cannot be recovered.
    pub fn on(disk: Arc<dyn Disk>, options: Options) -> Result<Journal, DiskError> {
        let inner = Inner::start(disk, options, None, None)?;
        Ok(Journal { kept: Kept::Log(Arc::new(inner)) })
    }

    /// The journal in a store. Each process that works on its runs has a journal of its own.
    pub fn in_store(store: Arc<dyn Store>) -> Journal {
        Journal { kept: Kept::Store(store) }
    }

    /// A reader of this journal. It sees a commit once the commit is on the disk.
    pub fn reader(&self) -> Reader {
        match &self.kept {
            Kept::Log(inner) => Reader::of_log(inner.shared.clone()),
            Kept::Store(store) => Reader::of_store(store.clone()),
        }
    }

    /// Begins a run of this kind (at most [`MAX_KIND_BYTES`] bytes) with its first entries. Returns when they
    /// are on the disk: one sync. After a crash the run is there with all of them, or not at all.
    ///
    /// A run is only begun, and only goes forward, if there is also room to end it. Otherwise the disk is full,
    /// and this returns [`AppendError::NoRoom`].
    ///
    /// # Errors
    ///
    /// [`AppendError`]. If [`is_poisoned`](AppendError::is_poisoned), the run may still be there.
    pub async fn begin(&self, kind: &str, commit: Commit) -> Result<RunWriter, AppendError> {
        self.begin_as(RunId::new(), kind, commit).await
    }

    /// Begins a run of this name ([`RunId::of_key`]), as [`begin`](Journal::begin) does. A journal has at most
    /// one run of a name, for ever: not even a prune frees the name.
    ///
    /// # Errors
    ///
    /// [`AppendError::Exists`] if the journal has or had such a run, [`AppendError::Claimed`] if it is being
    /// begun or written. [`AppendError`] otherwise, as for [`begin`](Journal::begin).
    pub async fn begin_as(&self, run: RunId, kind: &str, commit: Commit) -> Result<RunWriter, AppendError> {
        if kind.len() > MAX_KIND_BYTES {
            return Err(AppendError::KindTooLong { kind: kind.into(), bytes: kind.len() });
        }
        match &self.kept {
            Kept::Log(inner) => begin_in_log(inner, run, kind, commit).await,
            Kept::Store(store) => begin_in_store(store, run, kind, commit).await,
        }
    }

    /// Continues a run at its last entry.
    ///
    /// # Errors
    ///
    /// [`AppendError::Claimed`] if this process is writing the run: it has a [`RunWriter`], or a request of
    /// an earlier one is not answered yet. [`AppendError::Held`] if another process is writing it, in a store.
    /// [`AppendError::Read`] if the run is damaged, pruned, or unknown.
    pub fn continue_run(&self, run: RunId) -> Result<RunWriter, AppendError> {
        let time = Timestamp::now();
        match &self.kept {
            Kept::Log(inner) => {
                let claim = inner.claims.claim(run).ok_or(AppendError::Claimed { run })?;
                let head = inner.shared.head_to_continue(run)?;
                Ok(RunWriter { run, head, time, way: Way::Log { inner: inner.clone(), claim } })
            }
            Kept::Store(store) => {
                let (header, lease) = store.claim(run)?;
                let way = Way::Store { store: store.clone(), lease };
                Ok(RunWriter { run, head: header.head, time, way })
            }
        }
    }

    /// Removes runs for good, with their blobs, and returns when that is on the disk. A record of the prune
    /// stays, with their heads and the first 1,000 characters of the reason. The chains of the other runs do not change: each run has its
    /// own.
    ///
    /// After a crash in the middle, each of these runs is whole or gone, and the next opening ends the prune.
    /// Unknown runs are left out.
    ///
    /// # Errors
    ///
    /// [`AppendError::Claimed`] if one of the runs is being written. [`AppendError`] otherwise; if
    /// [`is_poisoned`](AppendError::is_poisoned), a part of the prune may have been done.
    pub async fn prune(&self, runs: Vec<RunId>, reason: &str) -> Result<(), AppendError> {
        let reason = reason.to_owned();
        let inner = match &self.kept {
            Kept::Log(inner) => inner,
            Kept::Store(store) => return store.prune(runs, reason).await,
        };
        let claim = |run: &RunId| inner.claims.claim(*run).ok_or(AppendError::Claimed { run: *run });
        let _claims = runs.iter().map(claim).collect::<Result<Vec<Arc<Claim>>, _>>()?;
        inner.ask(false, |reply| Request::Prune { runs, reason, reply }).await
    }

    /// The runs whose last entry did not say that they are over, in the order in which they were begun.
    ///
    /// # Errors
    ///
    /// [`ReadError`]. None for a journal that is open for writing.
    pub fn open_runs(&self) -> Result<Vec<RunHeader>, ReadError> {
        self.reader().open_runs()
    }

    /// How many commits were synced since the opening. Files of blobs do not count, nor does what a store syncs.
    pub fn syncs(&self) -> u64 {
        match &self.kept {
            Kept::Log(inner) => inner.syncs.load(Ordering::Relaxed),
            Kept::Store(_) => 0,
        }
    }

    /// The state directory. `None` for a journal without one.
    pub fn dir(&self) -> Option<&Path> {
        match &self.kept {
            Kept::Log(inner) => inner.dir.as_deref(),
            Kept::Store(_) => None,
        }
    }

    /// Whether processes of other machines may write it, too: it is in a store.
    pub fn is_shared(&self) -> bool {
        matches!(self.kept, Kept::Store(_))
    }

    /// True if the state directory is in memory: a power cut or a reboot removes it. A store says for itself what
    /// it survives.
    pub fn is_volatile(&self) -> bool {
        match &self.kept {
            Kept::Log(inner) => inner.dir.as_deref().is_none_or(dir::is_volatile),
            Kept::Store(_) => false,
        }
    }
}

async fn begin_in_log(
    inner: &Arc<Inner>,
    run: RunId,
    kind: &str,
    commit: Commit,
) -> Result<RunWriter, AppendError> {
    let claim = inner.claims.claim(run).ok_or(AppendError::Claimed { run })?;
    let commit = inner.prepared(&claim, 0, commit).await?;
    let (kind, time) = (kind.to_owned(), commit.time);
    let asked = claim.clone();
    let head = inner.ask(true, |reply| Request::Begin { run, kind, commit, reply, claim: asked }).await?;
    Ok(RunWriter { run, head, time, way: Way::Log { inner: inner.clone(), claim } })
}

async fn begin_in_store(
    store: &Arc<dyn Store>,
    run: RunId,
    kind: &str,
    commit: Commit,
) -> Result<RunWriter, AppendError> {
    let commit = Prepared::new(run, 0, commit)?;
    let (time, over) = (commit.time, commit.ends_the_run());
    let mut header = RunHeader {
        run,
        kind: kind.to_owned(),
        created: time,
        after: None,
        head: Head { seq: 0, hash: Digest::of(&[]) },
        over,
        damage: None,
    };
    header.head = header.genesis();
    let batch = commit.into_batch(run, header.head);
    header.head = batch.head().unwrap_or(header.head);
    let head = header.head;
    let lease = store.begin(header, batch).await?;
    Ok(RunWriter { run, head, time, way: Way::Store { store: store.clone(), lease } })
}
