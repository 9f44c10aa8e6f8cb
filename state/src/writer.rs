//! The thread that commits. Whatever waits goes into one commit with one sync, so that steps that run
//! side by side share syncs. It also latches the first failure: a sync that failed once may claim success
//! when it is repeated, while the pages that it failed on are gone.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use tokio::sync::oneshot;

use crate::AppendError;
use crate::Batch;
use crate::Digest;
use crate::Head;
use crate::MAX_ENTRY_BYTES;
use crate::RunId;
use crate::StoreError;
use crate::Timestamp;
use crate::chain;
use crate::entry::Entry;
use crate::entry::RunHeader;
use crate::error::with_sources;
use crate::lock::ProcessLock;
use crate::prune;
use crate::reader::Reader;

/// The most bodies in one commit, so that a flood of appends cannot make one wait without end.
const COMMIT_BODIES_MAX: usize = 1024;

/// What the journal asks of the thread.
pub(crate) enum Request {
    /// A new run and its first entries.
    Begin { kind: String, bodies: Vec<String>, reply: Reply<(RunId, Head)> },
    /// More entries of a run.
    Append { run: RunId, bodies: Vec<String>, reply: Reply<Head> },
    /// Runs away, and the blobs that only they named.
    Remove { runs: Vec<RunId>, reply: Reply<usize> },
    /// A blob.
    Blob { digest: Digest, bytes: Vec<u8>, reply: Reply<Digest> },
}

/// Where the answer goes. Nobody may be there any more: that is no error, the entries are kept all the
/// same.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, AppendError>>;

/// What the thread owns.
pub(crate) struct Writer {
    reader: Reader,
    lock: Option<Arc<ProcessLock>>,
    syncs: Arc<AtomicU64>,
    /// The first failure.
    poison: Option<String>,
    /// Blobs that were put since the journal was opened: an entry that names one may still come.
    put: BTreeSet<Digest>,
}

impl Writer {
    pub(crate) fn new(reader: Reader, lock: Option<Arc<ProcessLock>>, syncs: Arc<AtomicU64>) -> Writer {
        Writer { reader, lock, syncs, poison: None, put: BTreeSet::new() }
    }

    /// Works until every sender is gone.
    pub(crate) fn work(mut self, requests: &Receiver<Request>) {
        while let Ok(first) = requests.recv() {
            let mut group = Group::default();
            self.take(first, &mut group);
            while group.batch.entries.len() < COMMIT_BODIES_MAX
                && let Ok(next) = requests.try_recv()
            {
                self.take(next, &mut group);
            }
            self.commit(group);
        }
    }

    fn take(&mut self, request: Request, group: &mut Group) {
        match request {
            Request::Begin { kind, bodies, reply } => {
                let run = RunId::new();
                let created = Timestamp::now();
                let head = Head { seq: 0, hash: chain::genesis(run, &kind, created) };
                let header = RunHeader { run, kind, created, head };
                match self.unpoisoned().and_then(|()| group.add(header, bodies)) {
                    Ok(head) => group.waiting.push(Waiting::Begin(reply, run, head)),
                    Err(error) => {
                        let _ = reply.send(Err(error));
                    }
                }
            }
            Request::Append { run, bodies, reply } => {
                let added = self.header_for(run, group).and_then(|header| group.add(header, bodies));
                match added {
                    Ok(head) => group.waiting.push(Waiting::Append(reply, head)),
                    Err(error) => {
                        let _ = reply.send(Err(error));
                    }
                }
            }
            Request::Remove { runs, reply } => {
                // What was appended before has its place in the order of things.
                self.commit(std::mem::take(group));
                let _ = reply.send(self.remove(&runs));
            }
            Request::Blob { digest, bytes, reply } => {
                let _ = reply.send(self.put_blob(digest, &bytes));
            }
        }
    }

    /// The header that the next entry of this run follows.
    fn header_for(&self, run: RunId, group: &Group) -> Result<RunHeader, AppendError> {
        self.unpoisoned()?;
        if let Some(header) = group.headers.get(&run) {
            return Ok(header.clone());
        }
        match self.reader.header_to_continue(run) {
            Ok(Some(header)) => Ok(header),
            Ok(None) => Err(AppendError::UnknownRun { run, path: self.reader.store.place() }),
            Err(source) => Err(AppendError::Read { run, source }),
        }
    }

    /// A blob that did not fit harms nothing: it was written under a name that nobody reads. Any other
    /// failure is one of the disk that the journal is on.
    fn put_blob(&mut self, digest: Digest, bytes: &[u8]) -> Result<Digest, AppendError> {
        self.unpoisoned()?;
        match self.reader.store.put_blob(&digest, bytes) {
            Ok(()) => {
                self.put.insert(digest);
                Ok(digest)
            }
            Err(error) if error.is_full() => Err(AppendError::NoRoom(error)),
            Err(error) => Err(AppendError::Store(self.poisoned_by(error))),
        }
    }

    fn remove(&mut self, runs: &[RunId]) -> Result<usize, AppendError> {
        self.unpoisoned()?;
        let store = &self.reader.store;
        let removed = store.remove(runs).and_then(|()| {
            let unnamed = prune::unnamed_blobs(&self.reader, &self.put)?;
            store.remove_blobs(&unnamed)?;
            Ok(unnamed.len())
        });
        removed.map_err(|error| AppendError::Store(self.poisoned_by(error)))
    }

    fn commit(&mut self, mut group: Group) {
        let failure = self.write(&mut group).err();
        for waiting in group.waiting {
            waiting.answer(failure.clone());
        }
    }

    fn write(&mut self, group: &mut Group) -> Result<(), Failure> {
        // A blob that came after the appends of this group may have failed.
        if let Some(first) = &self.poison {
            return Err(Failure::Poisoned(first.clone()));
        }
        let Some(first_run) = group.headers.keys().next() else { return Ok(()) };
        if let Some(lock) = &self.lock {
            lock.works_on(*first_run);
        }
        group.batch.headers = group.headers.iter().map(|(run, header)| (*run, header.encode())).collect();
        self.reader.store.commit(&group.batch).map_err(|error| Failure::Store(self.poisoned_by(error)))?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        crate::fault::point("commit/before-answer");
        Ok(())
    }

    fn unpoisoned(&self) -> Result<(), AppendError> {
        match &self.poison {
            Some(first) => Err(AppendError::Poisoned { first: first.clone() }),
            None => Ok(()),
        }
    }

    fn poisoned_by(&mut self, error: StoreError) -> StoreError {
        let first = with_sources(&error);
        tracing::error!(error = %first, "the journal is poisoned: nothing more is recorded");
        self.poison.get_or_insert(first);
        error
    }
}

/// Why a commit failed, for everyone who waited for it.
#[derive(Clone)]
enum Failure {
    Store(StoreError),
    Poisoned(String),
}

impl From<Failure> for AppendError {
    fn from(failure: Failure) -> AppendError {
        match failure {
            Failure::Store(error) => AppendError::Store(error),
            Failure::Poisoned(first) => AppendError::Poisoned { first },
        }
    }
}

/// What one commit will write, and who waits for it.
#[derive(Default)]
struct Group {
    batch: Batch,
    headers: BTreeMap<RunId, RunHeader>,
    waiting: Vec<Waiting>,
}

impl Group {
    /// Adds entries after the head of `header`: all of them, or none and an error.
    fn add(&mut self, mut header: RunHeader, bodies: Vec<String>) -> Result<Head, AppendError> {
        let run = header.run;
        let begins = header.head.seq == 0;
        let mut encoded = Vec::with_capacity(bodies.len());
        for body in bodies {
            let entry = Entry::after(run, header.head, Timestamp::now(), body);
            header.head = entry.head();
            let bytes = entry.encode();
            if bytes.len() > MAX_ENTRY_BYTES {
                return Err(AppendError::TooLarge { run, seq: entry.seq, bytes: bytes.len() });
            }
            encoded.push((run, entry.seq, bytes));
        }
        let head = header.head;
        if begins || !encoded.is_empty() {
            self.headers.insert(run, header);
        }
        self.batch.entries.append(&mut encoded);
        Ok(head)
    }
}

enum Waiting {
    Begin(Reply<(RunId, Head)>, RunId, Head),
    Append(Reply<Head>, Head),
}

impl Waiting {
    fn answer(self, failure: Option<Failure>) {
        match self {
            Waiting::Begin(reply, run, head) => {
                let _ = reply.send(failure.map_or(Ok((run, head)), |failure| Err(failure.into())));
            }
            Waiting::Append(reply, head) => {
                let _ = reply.send(failure.map_or(Ok(head), |failure| Err(failure.into())));
            }
        }
    }
}
