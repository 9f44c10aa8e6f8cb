//! The handle of the journal: open, append, read.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::AppendError;
use crate::Digest;
use crate::Entries;
use crate::Head;
use crate::MAX_KIND_BYTES;
use crate::MemoryStore;
use crate::OpenError;
use crate::ReadError;
use crate::RunHeader;
use crate::RunId;
use crate::SledStore;
use crate::Store;
use crate::StoreError;
use crate::format;
use crate::fsync;
use crate::lock::ProcessLock;
use crate::reader::Reader;
use crate::salvaged_store::SalvagedStore;
use crate::writer::Reply;
use crate::writer::Request;
use crate::writer::Writer;

/// An open journal. Clones are the same journal; it is closed when the last of them, and of the
/// [`Entries`] made from them, is dropped. That waits for what is being committed, a few syncs at most, and
/// afterwards the journal can be opened again at once.
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

/// What the clones share. The order of dropping matters: the thread, then the store, then the lock.
pub(crate) struct Inner {
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
    pub(crate) reader: Reader,
    syncs: Arc<AtomicU64>,
    dir: Option<PathBuf>,
    _lock: Option<Arc<ProcessLock>>,
}

impl Journal {
    /// Opens the journal in `dir` and recovers it. The directory is made if it is not there (mode 0700).
    /// `purpose` is what [`LockHolder`](crate::LockHolder) tells others.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: in use by another process, of a newer format, damaged as a whole, or refused by the
    /// system. Damage to single runs is no error here; reading them reports it.
    pub fn open(dir: impl AsRef<Path>, purpose: &str) -> Result<Journal, OpenError> {
        let dir = dir.as_ref();
        format::check(dir)?;
        make_dir(dir)?;
        let lock = Arc::new(ProcessLock::take(dir, purpose)?);
        crate::fault::point("open/locked");
        // Again: another process may have written since.
        format::check(dir)?;
        crate::fault::point("open/before-format");
        format::mark(dir)?;
        let store = SledStore::open(dir).map_err(unopened)?;
        let reader = Reader::new(Arc::new(store)).map_err(OpenError::Store)?;
        Journal::start(reader, Some(dir.into()), Some(lock))
    }

    /// Opens what is left of a journal that [`open`](Journal::open) says is damaged, for reading only: the
    /// runs that the witness names, their entries as far as they are found in the log, and the blobs.
    /// [`verify`](Journal::verify) then says which entry is damaged; if it returns a head, the damage is in
    /// the database around the entries, and all of them are there.
    ///
    /// # Errors
    ///
    /// [`OpenError`], if it is in use, of a newer format, or refused by the system.
    pub fn salvage(dir: impl AsRef<Path>, purpose: &str) -> Result<Journal, OpenError> {
        let dir = dir.as_ref();
        format::check(dir)?;
        let lock = Arc::new(ProcessLock::take(dir, purpose)?);
        let store = SalvagedStore::open(dir).map_err(OpenError::Store)?;
        let reader = Reader::unwitnessed(Arc::new(store));
        Journal::start(reader, Some(dir.into()), Some(lock))
    }

    /// A journal that keeps nothing when the process ends.
    ///
    /// # Panics
    ///
    /// The system has no thread left.
    pub fn in_memory() -> Journal {
        let reader = Reader::unwitnessed(Arc::new(MemoryStore::new()));
        Journal::start(reader, None, None).expect("the system gives a thread to a journal in memory")
    }

    /// A journal on a store.
    ///
    /// # Errors
    ///
    /// [`OpenError::Store`] if the witness cannot be read.
    pub fn with_store(store: impl Store) -> Result<Journal, OpenError> {
        let reader = Reader::new(Arc::new(store)).map_err(OpenError::Store)?;
        Journal::start(reader, None, None)
    }

    fn start(
        reader: Reader,
        dir: Option<PathBuf>,
        lock: Option<Arc<ProcessLock>>,
    ) -> Result<Journal, OpenError> {
        let syncs = Arc::new(AtomicU64::new(0));
        let (requests, queue) = mpsc::channel();
        let writer = Writer::new(reader.clone(), lock.clone(), syncs.clone());
        let thread = std::thread::Builder::new()
            .name("fulcrum-journal".into())
            .spawn(move || writer.work(&queue))
            .map_err(|source| OpenError::Io {
                doing: "start a thread for",
                path: reader.store.place(),
                source,
            })?;
        let inner = Inner { requests: Some(requests), thread: Some(thread), reader, syncs, dir, _lock: lock };
        Ok(Journal { inner: Arc::new(inner) })
    }

    /// Begins a run of this kind (at most [`MAX_KIND_BYTES`] bytes) with its first entries, and returns when
    /// they are on the disk: one sync. After a crash the run is there with all of them, or not at all.
    ///
    /// # Errors
    ///
    /// [`AppendError`]. If [`is_poisoned`](AppendError::is_poisoned), the run may be there all the same.
    pub async fn begin(&self, kind: &str, bodies: Vec<String>) -> Result<(RunId, Head), AppendError> {
        if kind.len() > MAX_KIND_BYTES {
            return Err(AppendError::KindTooLong { kind: kind.into(), bytes: kind.len() });
        }
        self.inner.ask(|reply| Request::Begin { kind: kind.into(), bodies, reply }).await
    }

    /// Appends entries to a run, and returns when they are on the disk: one sync, shared with everything
    /// else that is being appended. After a crash all of them are there or none. Without bodies nothing is
    /// written, and the head is returned.
    ///
    /// A future that is dropped before it is done does not take its entries back.
    ///
    /// # Errors
    ///
    /// [`AppendError`]. If [`is_poisoned`](AppendError::is_poisoned), the entries may be there all the same.
    pub async fn append(&self, run: RunId, bodies: Vec<String>) -> Result<Head, AppendError> {
        self.inner.ask(|reply| Request::Append { run, bodies, reply }).await
    }

    /// Keeps a large value, and returns its digest when it is on the disk. To put it again is no error. It
    /// is not part of any run until an entry names it.
    ///
    /// # Errors
    ///
    /// [`AppendError::NoRoom`]; any other failure of the disk poisons the journal.
    pub async fn put_blob(&self, bytes: Vec<u8>) -> Result<Digest, AppendError> {
        let digest = Digest::of(&bytes);
        self.inner.ask(|reply| Request::Blob { digest, bytes, reply }).await
    }

    /// Takes runs away for good, with the blobs that no other run names, and returns when that is on the disk,
    /// with the number of those blobs. The chains of the other runs do not change: each run has its own.
    ///
    /// After a crash in the middle, each of these runs is there as a whole or gone, and a second call ends what
    /// was begun. A blob that was put since the journal was opened stays.
    ///
    /// # Errors
    ///
    /// [`AppendError`]. If [`is_poisoned`](AppendError::is_poisoned), some of it may have been done.
    pub async fn remove(&self, runs: Vec<RunId>) -> Result<usize, AppendError> {
        self.inner.ask(|reply| Request::Remove { runs, reply }).await
    }

    /// All runs, oldest first.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if a header cannot be read.
    pub fn runs(&self) -> Result<Vec<RunHeader>, ReadError> {
        self.inner.reader.headers()
    }

    /// What is known of a run without reading it: what was acknowledged, even if it is lost.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if the header cannot be read.
    pub fn header(&self, run: RunId) -> Result<Option<RunHeader>, ReadError> {
        self.inner.reader.header(run)
    }

    /// The entries of a run in order, checked on the way: the whole ones, then, if there is damage, one
    /// error, then nothing.
    pub fn entries(&self, run: RunId) -> Entries {
        Entries::new(self.inner.clone(), run)
    }

    /// Reads the whole run, and returns its last entry if everything that was acknowledged is there and
    /// is what was written. Blobs are not looked at.
    ///
    /// # Errors
    ///
    /// [`ReadError::Damaged`] with the number of the first entry that is missing or has changed.
    pub fn verify(&self, run: RunId) -> Result<Head, ReadError> {
        self.entries(run).verify()
    }

    /// The value that was put, checked against its digest.
    ///
    /// # Errors
    ///
    /// [`ReadError::MissingBlob`], [`ReadError::DamagedBlob`], or it could not be read.
    pub fn blob(&self, digest: &Digest) -> Result<Vec<u8>, ReadError> {
        let store = &self.inner.reader.store;
        let path = || store.blob_place(digest);
        let bytes = store.blob(digest).map_err(ReadError::Store)?;
        let bytes = bytes.ok_or_else(|| ReadError::MissingBlob { digest: *digest, path: path() })?;
        match Digest::of(&bytes) {
            found if found == *digest => Ok(bytes),
            found => Err(ReadError::DamagedBlob { digest: *digest, path: path(), found }),
        }
    }

    /// How many commits were synced since it was opened. Blobs are not counted.
    pub fn syncs(&self) -> u64 {
        self.inner.syncs.load(Ordering::Relaxed)
    }

    /// The state directory, if it is in one.
    pub fn dir(&self) -> Option<&Path> {
        self.inner.dir.as_deref()
    }
}

impl Inner {
    pub(crate) fn unknown(&self, run: RunId) -> ReadError {
        ReadError::UnknownRun { run, path: self.reader.store.place() }
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, AppendError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.requests.as_ref().is_some_and(|requests| requests.send(request(reply)).is_ok());
        if !sent {
            return Err(AppendError::WriterGone);
        }
        answer.await.unwrap_or(Err(AppendError::WriterGone))
    }
}

impl Drop for Inner {
    /// The thread ends when nothing can be asked of it any more. It never holds a journal itself, so that
    /// this is never that thread.
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that commits had panicked");
        }
    }
}

/// Makes the directory, only for this user, and its name durable.
fn make_dir(dir: &Path) -> Result<(), OpenError> {
    let failed = |doing| move |source| OpenError::Io { doing, path: dir.into(), source };
    if !dir.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("make"))?;
    }
    let dir = dir.canonicalize().map_err(failed("find"))?;
    match dir.parent() {
        Some(parent) => fsync::sync_dir(parent).map_err(failed("sync the parent of")),
        None => Ok(()),
    }
}

fn unopened(error: StoreError) -> OpenError {
    match error {
        StoreError::Damaged { path, detail } => OpenError::Damaged { path, detail },
        StoreError::Io { .. } => OpenError::Store(error),
    }
}

#[cfg(test)]
mod tests;
