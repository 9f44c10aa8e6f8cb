//! A journal in a directory: what its handles share, and the way to the thread that commits.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::AppendError;
use crate::Commit;
use crate::CommitOn;
use crate::DiskError;
use crate::Options;
use crate::active::Active;
use crate::blob;
use crate::blob::BLOBS;
use crate::checkpoint;
use crate::checkpoint::Checkpoints;
use crate::checkpoint::Known;
use crate::claim::Claim;
use crate::claim::Claims;
use crate::commit::Prepared;
use crate::disk::Disk;
use crate::index::Index;
use crate::lock::ProcessLock;
use crate::log;
use crate::place::LOG;
use crate::recover;
use crate::shared::Shared;
use crate::writer;
use crate::writer::Reply;
use crate::writer::Request;
use crate::writer::Writer;

/// The state that the clones share. The order of dropping matters: the thread, then the lock.
pub(crate) struct Inner {
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
    /// The thread's, and a caller's that commits by itself.
    writer: Arc<Mutex<Writer>>,
    commit_on: CommitOn,
    pub(crate) shared: Arc<Shared>,
    pub(crate) claims: Claims,
    pub(crate) syncs: Arc<AtomicU64>,
    pub(crate) dir: Option<PathBuf>,
    _lock: Option<Arc<ProcessLock>>,
}

impl Inner {
    /// Recovers the journal on a disk, and starts its thread.
    pub(crate) fn start(
        disk: Arc<dyn Disk>,
        options: Options,
        dir: Option<PathBuf>,
        lock: Option<Arc<ProcessLock>>,
    ) -> Result<Inner, DiskError> {
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
        let syncs = Arc::new(AtomicU64::new(0));
        let (requests, queue) = mpsc::channel();
        let writer = Writer {
            shared: shared.clone(),
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
        Ok(Inner {
            requests: Some(requests),
            thread: Some(thread),
            writer,
            commit_on: options.commit_on,
            shared,
            claims: Claims::default(),
            syncs,
            dir,
            _lock: lock,
        })
    }

    /// Checks a commit, and writes its files beside the thread that commits. So other runs do not wait for
    /// it.
    pub(crate) async fn prepared(
        &self,
        claim: &Arc<Claim>,
        last: u64,
        commit: Commit,
    ) -> Result<Prepared, AppendError> {
        let (claim, run) = (claim.clone(), claim.run());
        let prepared = Prepared::new(run, last, commit)?;
        if prepared.files.is_empty() {
            return Ok(prepared);
        }
        let disk = self.shared.disk.clone();
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
    pub(crate) async fn ask<T>(
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

    pub(crate) fn tell(&self, request: Request) -> bool {
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
