//! The one writer of a journal: open, begin, append, prune.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::AppendError;
use crate::Commit;
use crate::CommitOn;
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
use crate::Timestamp;
use crate::active::Active;
use crate::blob;
use crate::blob::BLOBS;
use crate::carry;
use crate::checkpoint;
use crate::checkpoint::Checkpoints;
use crate::checkpoint::Known;
use crate::claim::Claim;
use crate::claim::Claims;
use crate::commit::Prepared;
use crate::dir;
use crate::disk::Disk;
use crate::disk::SystemDisk;
use crate::index::Index;
use crate::lock::ProcessLock;
use crate::log;
use crate::log::FORMAT;
use crate::place::LOG;
use crate::recover;
use crate::shared::Shared;
use crate::writer;
use crate::writer::Reply;
use crate::writer::Request;
use crate::writer::Writer;

/// The segment size of a journal in memory: a program's tests may have hundreds of such journals.
const MEMORY_BYTES: u64 = 512 * 1024;

/// An open journal. Clones are one journal. It is closed when the last clone and the last of its
/// [`RunWriter`]s are dropped. Dropping waits for what is being committed. Afterwards the journal can be
/// opened again at once.
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

/// The state that the clones share. The order of dropping matters: the thread, then the lock.
struct Inner {
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
    /// The thread's, and a caller's that commits by itself.
    writer: Arc<Mutex<Writer>>,
    commit_on: CommitOn,
    reader: Reader,
    claims: Claims,
    syncs: Arc<AtomicU64>,
    dir: Option<PathBuf>,
    _lock: Option<Arc<ProcessLock>>,
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
        let started = Journal::start(disk, options, Some(dir.into()), Some(lock));
        started.map_err(OpenError::Disk)
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
        Journal::start(disk, options, None, None)
    }

    fn start(
        disk: Arc<dyn Disk>,
        options: Options,
        dir: Option<PathBuf>,
        lock: Option<Arc<ProcessLock>>,
    ) -> Result<Journal, DiskError> {
        let options = options.clamped();
        for made in [LOG, BLOBS] {
            disk.make_dir(made).map_err(|e| DiskError::new("make", disk.path(made), e))?;
        }
        disk.sync_dir("").map_err(|e| DiskError::new("sync", disk.path(""), e))?;
        recover::sweep(disk.as_ref(), dir.as_deref());
        let known = dir.as_deref().map_or(Known::Nothing, |dir| checkpoint::load_index(dir, disk.as_ref()));
        let (mut index, other) = match known {
            Known::Fits(index) => (index, None),
            Known::Other(other) => (Index::default(), Some(other)),
            Known::Nothing => (Index::default(), None),
        };
        let tail = log::read(disk.as_ref(), &mut index, false)?;
        crate::fault::point("open/recovered");
        let lost = other.map(|other| index.less_than(&other)).unwrap_or_default();
        let end = index.end;
        let shared = Arc::new(Shared::new(disk.clone(), index, true));
        recover::tidy(&shared, end.map_or(1, |end| end.segment));
        let mut active = Active::open(disk.clone(), options, end, tail)?;
        recover::record_lost(&shared, &mut active, lost)?;
        let checkpoints = dir.as_deref().and_then(|dir| Checkpoints::start(dir, &shared));
        let reader = Reader { shared: shared.clone() };
        let syncs = Arc::new(AtomicU64::new(0));
        let (requests, queue) = mpsc::channel();
        let writer = Writer {
            shared,
            active,
            lock: lock.clone(),
            dir: dir.clone(),
            syncs: syncs.clone(),
            checkpoints,
            poison: None,
        };
        let writer = Arc::new(Mutex::new(writer));
        let thread = std::thread::Builder::new().name("fulcrum-journal".into());
        let shared_writer = writer.clone();
        let thread = thread.spawn(move || writer::work(&shared_writer, &queue));
        let thread = thread.map_err(|e| DiskError::new("start a thread for", disk.path(""), e))?;
        let inner = Inner {
            requests: Some(requests),
            thread: Some(thread),
            writer,
            commit_on: options.commit_on,
            reader,
            claims: Claims::default(),
            syncs,
            dir,
            _lock: lock,
        };
        Ok(Journal { inner: Arc::new(inner) })
    }

    /// A reader of this journal. It sees a commit once the commit is on the disk.
    pub fn reader(&self) -> Reader {
        self.inner.reader.clone()
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
        let claim = self.inner.claims.claim(run).ok_or(AppendError::Claimed { run })?;
        let commit = self.inner.prepared(&claim, 0, commit).await?;
        let (kind, time) = (kind.to_owned(), commit.time);
        let asked = claim.clone();
        let head =
            self.inner.ask(true, |reply| Request::Begin { run, kind, commit, reply, claim: asked }).await?;
        Ok(RunWriter { journal: self.clone(), run, head, time, claim })
    }

    /// Continues a run at its last entry.
    ///
    /// # Errors
    ///
    /// [`AppendError::Claimed`] if this process is writing the run: it has a [`RunWriter`], or a request of
    /// an earlier one is not answered yet. [`AppendError::Read`] if the run is damaged, pruned, or unknown.
    pub fn continue_run(&self, run: RunId) -> Result<RunWriter, AppendError> {
        let claim = self.inner.claims.claim(run).ok_or(AppendError::Claimed { run })?;
        let head = self.inner.reader.shared.head_to_continue(run)?;
        Ok(RunWriter { journal: self.clone(), run, head, time: Timestamp::now(), claim })
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
        let claim = |run: &RunId| self.inner.claims.claim(*run).ok_or(AppendError::Claimed { run: *run });
        let _claims = runs.iter().map(claim).collect::<Result<Vec<Arc<Claim>>, _>>()?;
        let reason = reason.to_owned();
        self.inner.ask(false, |reply| Request::Prune { runs, reason, reply }).await
    }

    /// The runs whose last entry did not say that they are over, in the order in which they were begun.
    ///
    /// # Errors
    ///
    /// [`ReadError`]. None for a journal that is open for writing.
    pub fn open_runs(&self) -> Result<Vec<RunHeader>, ReadError> {
        self.inner.reader.open_runs()
    }

    /// How many commits were synced since the opening. Files of blobs do not count.
    pub fn syncs(&self) -> u64 {
        self.inner.syncs.load(Ordering::Relaxed)
    }

    /// The state directory. `None` for a journal without one.
    pub fn dir(&self) -> Option<&Path> {
        self.inner.dir.as_deref()
    }

    /// True if the state directory is in memory: a power cut or a reboot removes it.
    pub fn is_volatile(&self) -> bool {
        self.dir().is_none_or(dir::is_volatile)
    }
}

/// The writer of one run: the only way to append to it. Another writer can continue the run when this one is
/// dropped and its last request is answered.
pub struct RunWriter {
    journal: Journal,
    run: RunId,
    head: Head,
    time: Timestamp,
    claim: Arc<Claim>,
}

impl RunWriter {
    /// The run.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// The last entry that was acknowledged.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The time of the entries that were acknowledged last: all entries of a commit have one time. If there
    /// were none, the time at which the run was continued.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// Appends entries, and returns their head when they are on the disk: one sync, shared with everything
    /// else that is being appended. After a crash all of them are there or none. Without entries this writes
    /// nothing, and returns the head.
    ///
    /// A future that is dropped before it is done does not take its entries back. This writer's next append
    /// then returns [`AppendError::Moved`].
    ///
    /// Only a commit that [`ends`](Commit::ends) takes the last room.
    ///
    /// # Errors
    ///
    /// [`AppendError`]. If [`is_poisoned`](AppendError::is_poisoned), the entries may still be there.
    pub async fn append(&mut self, commit: Commit) -> Result<Head, AppendError> {
        // A future that was dropped has left its request with the thread.
        let is_first = Arc::strong_count(&self.claim) == 1;
        let (run, expected, claim) = (self.run, self.head, self.claim.clone());
        let inner = &self.journal.inner;
        let commit = inner.prepared(&claim, expected.seq, commit).await?;
        let time = commit.time;
        self.head =
            inner.ask(is_first, |reply| Request::Append { run, expected, commit, reply, claim }).await?;
        self.time = time;
        Ok(self.head)
    }

    /// Keeps the state of the run's state machine at its head. With it, the run need not be read from its
    /// beginning. The state is not synced: after a crash it may be older, or missing.
    pub fn checkpoint(&self, state: Vec<u8>) {
        self.journal.inner.tell(Request::Checkpoint { run: self.run, head: self.head, state });
    }
}

impl Inner {
    /// Checks a commit, and writes its files beside the thread that commits. So other runs do not wait for
    /// it.
    async fn prepared(&self, claim: &Arc<Claim>, last: u64, commit: Commit) -> Result<Prepared, AppendError> {
        let (claim, run) = (claim.clone(), claim.run());
        let prepared = Prepared::new(run, last, commit)?;
        if prepared.files.is_empty() {
            return Ok(prepared);
        }
        let disk = self.reader.shared.disk.clone();
        let (reply, answer) = oneshot::channel();
        let write = move || {
            // The caller may be gone. No other task writes files of the run until this is done.
            let _alone = claim.alone();
            let mut files = prepared.files.iter();
            let result = files.try_for_each(|(digest, value)| blob::put(disk.as_ref(), run, digest, value));
            let _ = reply.send(result.map(|()| prepared));
        };
        let thread = std::thread::Builder::new().name("fulcrum-blob".into()).spawn(write);
        thread
            .map_err(|e| AppendError::Blob(DiskError::new("start a thread for", PathBuf::from(BLOBS), e)))?;
        let written = answer.await.map_err(|_| AppendError::WriterGone)?;
        // Such a file stands for nothing: no record names it.
        written.map_err(|error| match error.is_full() {
            true => AppendError::NoRoom(error),
            false => AppendError::Blob(error),
        })
    }

    /// Has a request carried out. `is_first` says that the run has no earlier request without an answer. Such
    /// a commit may take place here, if nobody else has anything to commit.
    async fn ask<T>(
        &self,
        is_first: bool,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<T, AppendError> {
        let (reply, answer) = oneshot::channel();
        let here = self.commit_on == CommitOn::CallersThread && is_first && self.claims.is_single();
        if !self.carry_out(here, request(reply)) {
            return Err(AppendError::WriterGone);
        }
        answer.await.unwrap_or(Err(AppendError::WriterGone))
    }

    /// Carries a request out here, or leaves it to the thread. False if the thread is gone.
    fn carry_out(&self, here: bool, request: Request) -> bool {
        if here && let Ok(mut writer) = self.writer.try_lock() {
            writer.work_off([request]);
            return true;
        }
        self.tell(request)
    }

    fn tell(&self, request: Request) -> bool {
        self.requests.as_ref().is_some_and(|requests| requests.send(request).is_ok())
    }
}

impl Drop for Inner {
    /// The thread ends when no request can reach it any more. It never holds a journal itself. So this is
    /// never that thread.
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that commits had panicked");
        }
    }
}
