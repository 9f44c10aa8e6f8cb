//! The thread that commits, or a caller in its place. All waiting requests go into one commit with one sync.
//! So steps that run side by side share syncs. The writer also latches the first failure: a sync that failed
//! once may claim success when it is repeated, while the pages on which it failed are gone.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use tokio::sync::oneshot;

use crate::AppendError;
use crate::DiskError;
use crate::Head;
use crate::Predecessor;
use crate::ReadError;
use crate::RunId;
use crate::active::Active;
use crate::active::WriteError;
use crate::carry;
use crate::checkpoint::Checkpoints;
use crate::claim::Claim;
use crate::commit::Prepared;
use crate::commit::Staged;
use crate::error::with_sources;
use crate::lock::ProcessLock;
use crate::prune;
use crate::shared::Shared;

/// The journal's requests to the thread.
pub(crate) enum Request {
    /// A new run and its first entries.
    Begin { run: RunId, kind: String, commit: Prepared, reply: Reply<Head>, claim: Arc<Claim> },
    /// More entries of a run.
    Append { run: RunId, expected: Head, commit: Prepared, reply: Reply<Head>, claim: Arc<Claim> },
    /// A prune of runs.
    Prune { runs: Vec<RunId>, reason: String, reply: Reply<()> },
    /// The state of the state machine of a run at its head.
    Checkpoint { run: RunId, head: Head, state: Vec<u8> },
}

/// The receiver of the answer. The caller may be gone. That is no error: the entries are kept all the same.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, AppendError>>;

/// What commits: the thread's, or a caller's that commits by itself.
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) active: Active,
    pub(crate) lock: Option<Arc<ProcessLock>>,
    pub(crate) dir: Option<PathBuf>,
    pub(crate) syncs: Arc<AtomicU64>,
    pub(crate) checkpoints: Option<Checkpoints>,
    /// The first failure.
    pub(crate) poison: Option<String>,
}

/// The thread: works until every sender is gone, or until a commit panicked.
pub(crate) fn work(writer: &Mutex<Writer>, requests: &Receiver<Request>) {
    while let Ok(first) = requests.recv() {
        let Ok(mut writer) = writer.lock() else { return };
        writer.work_off(std::iter::once(first).chain(requests.try_iter()));
    }
    if let Ok(mut writer) = writer.lock()
        && let Some(checkpoints) = writer.checkpoints.take()
    {
        checkpoints.close(&writer.shared);
    }
}

impl Writer {
    /// Takes requests until a commit is full, and commits them.
    pub(crate) fn work_off(&mut self, requests: impl IntoIterator<Item = Request>) {
        let mut group = Group::default();
        for request in requests {
            self.take(request, &mut group);
            if group.staged.bytes.len() >= self.active.commit_max() {
                break;
            }
        }
        let bytes = group.staged.bytes.len();
        self.commit(group);
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.committed(&self.shared, bytes);
        }
    }

    fn take(&mut self, request: Request, group: &mut Group) {
        match request {
            Request::Begin { run, kind, commit, reply, claim } => {
                let result = self.begin(run, kind, commit, group);
                group.wait(result, reply, claim);
            }
            Request::Append { run, expected, commit, reply, claim } => {
                let result = self.append(run, expected, commit, group);
                group.wait(result, reply, claim);
            }
            Request::Prune { runs, reason, reply } => {
                // Earlier appends come first.
                self.commit(std::mem::take(group));
                let _ = reply.send(self.prune(&runs, &reason));
            }
            Request::Checkpoint { run, head, state } => self.shared.keep_state(run, head, state),
        }
    }

    fn begin(
        &mut self,
        run: RunId,
        kind: String,
        commit: Prepared,
        group: &mut Group,
    ) -> Result<Head, AppendError> {
        self.unpoisoned()?;
        let was_there = {
            let index = self.shared.index();
            index.run(run).is_some() || index.pruned(run).is_some()
        };
        if was_there || group.heads.contains_key(&run) {
            return Err(AppendError::Exists { run });
        }
        let after = group.last.or_else(|| self.shared.index().predecessor());
        let after = after.map(|before| match group.heads.get(&before.run) {
            Some(head) => Predecessor { run: before.run, head: *head },
            None => before,
        });
        let (staged, head) = Staged::begin(run, kind, after, commit)?;
        // Also a run that is over at once: nothing has to be ended.
        self.join(run, head, staged, group, false)?;
        group.last = Some(Predecessor { run, head });
        Ok(head)
    }

    fn append(
        &mut self,
        run: RunId,
        expected: Head,
        commit: Prepared,
        group: &mut Group,
    ) -> Result<Head, AppendError> {
        self.unpoisoned()?;
        let head = match group.heads.get(&run) {
            Some(head) => *head,
            None => self.shared.head_to_continue(run)?,
        };
        if head != expected {
            return Err(AppendError::Moved { run, expected, found: head.seq });
        }
        let ends = commit.ends;
        let (staged, head) = Staged::append(run, head, commit)?;
        if !staged.is_empty() {
            self.join(run, head, staged, group, ends)?;
        }
        Ok(head)
    }

    /// Puts one caller's commit into the group, or into the next one if it does not fit.
    fn join(
        &mut self,
        run: RunId,
        head: Head,
        staged: Staged,
        group: &mut Group,
        ends: bool,
    ) -> Result<(), AppendError> {
        let most = self.active.commit_max();
        if staged.bytes.len() > most {
            return Err(AppendError::CommitTooLarge { run, bytes: staged.bytes.len(), most });
        }
        if group.staged.bytes.len() + staged.bytes.len() > most {
            // The staged records may follow records in that group.
            if let Some(failure) = self.commit(std::mem::take(group)) {
                return Err(failure.error());
            }
        }
        if !ends {
            let bytes = group.staged.bytes.len() + staged.bytes.len();
            let reserved = self.active.reserve(bytes).map_err(WriteError::not_written);
            reserved.map_err(|error| self.failed(error).error())?;
        }
        group.staged.join(staged);
        group.heads.insert(run, head);
        Ok(())
    }

    fn commit(&mut self, group: Group) -> Option<Failure> {
        let Group { staged, waiting, heads, .. } = group;
        let failure = if staged.is_empty() { None } else { self.write(staged, heads.keys().next()).err() };
        for Waiting { reply, head, claim } in waiting {
            let answer = match &failure {
                None => Ok(head),
                Some(failure) => Err(failure.error()),
            };
            // Dropped before the answer: a caller that has the answer can continue the run.
            drop(claim);
            let _ = reply.send(answer);
        }
        failure
    }

    fn write(&mut self, staged: Staged, first_run: Option<&RunId>) -> Result<(), Failure> {
        if let Some(first) = &self.poison {
            return Err(Failure::Poisoned(first.clone()));
        }
        if let (Some(lock), Some(run)) = (&self.lock, first_run) {
            lock.works_on(*run);
        }
        // The index is not locked while the disk works: readers go on.
        let written = self.active.write_staged(staged, &self.shared);
        written.map_err(|error| self.failed(error))?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        crate::fault::point("commit/before-answer");
        Ok(())
    }

    fn prune(&mut self, runs: &[RunId], reason: &str) -> Result<(), AppendError> {
        self.unpoisoned()?;
        for some in runs.chunks(prune::RUNS_MAX) {
            let content = prune::content(&self.shared.index(), some, reason)?;
            if content.runs.is_empty() {
                continue;
            }
            let staged = Staged::prune(content);
            self.write(staged, None).map_err(|failure| failure.error())?;
        }
        crate::fault::point("prune/recorded");
        let finished = prune::finish(&self.shared, self.active.end().segment);
        // Its file may have been replaced, also if that failed.
        self.active.reopen().map_err(|error| AppendError::Disk(self.poisoned_by(error)))?;
        // The old journal of format 1 may have the runs, too.
        let forgotten = finished.and_then(|()| match &self.dir {
            Some(dir) => carry::forget(dir).map_err(|e| {
                WriteError::not_written(DiskError::new("remove what is old in", dir.clone(), e))
            }),
            None => Ok(()),
        });
        // The next opening of the journal removes what is left.
        forgotten.map_err(|error| self.failed(error).error())
    }

    fn unpoisoned(&self) -> Result<(), AppendError> {
        match &self.poison {
            Some(first) => Err(AppendError::Poisoned { first: first.clone() }),
            None => Ok(()),
        }
    }

    fn failed(&mut self, error: WriteError) -> Failure {
        match error {
            WriteError::NoRoom(error) => Failure::NoRoom(error),
            WriteError::Failed(error) => Failure::Disk(self.poisoned_by(error)),
        }
    }

    fn poisoned_by(&mut self, error: DiskError) -> DiskError {
        let first = with_sources(&error);
        tracing::error!(error = %first, "the journal is poisoned: nothing more is recorded");
        self.poison.get_or_insert(first);
        error
    }
}

impl Shared {
    /// The head of a run from which nothing is known to be missing.
    pub(crate) fn head_to_continue(&self, run: RunId) -> Result<Head, AppendError> {
        let index = self.index();
        let Some(state) = index.run(run) else {
            return Err(AppendError::Read { run, source: self.unknown(&index, run) });
        };
        match &state.header.damage {
            Some(damage) => Err(AppendError::Read { run, source: ReadError::damaged(run, damage) }),
            None => Ok(state.header.head),
        }
    }
}

/// The failure of a commit, for every caller that waits for it.
enum Failure {
    Disk(DiskError),
    NoRoom(DiskError),
    Poisoned(String),
}

impl Failure {
    fn error(&self) -> AppendError {
        match self {
            Failure::Disk(error) => AppendError::Disk(error.clone()),
            Failure::NoRoom(error) => AppendError::NoRoom(error.clone()),
            Failure::Poisoned(first) => AppendError::Poisoned { first: first.clone() },
        }
    }
}

/// The content of the next commit, and the callers that wait for it.
#[derive(Default)]
struct Group {
    staged: Staged,
    heads: BTreeMap<RunId, Head>,
    last: Option<Predecessor>,
    waiting: Vec<Waiting>,
}

struct Waiting {
    reply: Reply<Head>,
    head: Head,
    claim: Arc<Claim>,
}

impl Group {
    fn wait(&mut self, result: Result<Head, AppendError>, reply: Reply<Head>, claim: Arc<Claim>) {
        match result {
            Ok(head) => self.waiting.push(Waiting { reply, head, claim }),
            Err(error) => {
                drop(claim);
                let _ = reply.send(Err(error));
            }
        }
    }
}
