//! The seam to a database: where a journal is kept if not in a directory of this machine.
//!
//! The journal makes entries, links them, and checks what it reads. A store keeps rows.

use std::any::Any;
use std::error::Error;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use crate::AppendError;
use crate::Digest;
use crate::Entry;
use crate::Head;
use crate::ReadError;
use crate::RunHeader;
use crate::RunId;

/// An answer to come. It owns everything it needs. The work goes on if the caller drops this.
pub type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Keeps runs for programs on several machines.
///
/// A run has one writer at a time: the holder of its [`Lease`]. The token of a claim is greater than that of every
/// earlier claim on the run. The checks in `testing` (cargo feature `testing`) hold for every store.
///
/// Reading may block the thread for as long as the store takes to answer.
pub trait Store: Send + Sync + 'static {
    /// Where the store is, for people: without a password.
    fn place(&self) -> String;

    /// Keeps a new run with its first entries, and claims the run. All of it is durable when this answers.
    /// [`AppendError::Exists`] if the store has or had such a run.
    fn begin(&self, header: RunHeader, batch: Batch) -> Answer<Result<Arc<dyn Lease>, AppendError>>;

    /// Claims a run, and returns its header. [`AppendError::Claimed`] if this process has claimed it,
    /// [`AppendError::Held`] if another process has.
    fn claim(&self, run: RunId) -> Result<(RunHeader, Arc<dyn Lease>), AppendError>;

    /// Keeps more entries. All of them are durable when this answers. [`AppendError::Fenced`] if another claim has
    /// followed the lease's, [`AppendError::Moved`] if the run does not end with `expected`: then nothing is
    /// kept.
    fn append(
        &self,
        run: RunId,
        lease: Arc<dyn Lease>,
        expected: Head,
        batch: Batch,
    ) -> Answer<Result<(), AppendError>>;

    /// Removes runs with their blobs, and remembers their names. Unknown runs are left out.
    fn prune(&self, runs: Vec<RunId>, reason: String) -> Answer<Result<(), AppendError>>;

    /// All headers, or those of runs that are not over, in the order in which the runs were begun.
    fn headers(&self, only_open: bool) -> Result<Vec<RunHeader>, ReadError>;

    /// The header of a run. `None` if it is unknown, or was pruned.
    fn header(&self, run: RunId) -> Result<Option<RunHeader>, ReadError>;

    /// The head of a run that was pruned.
    fn pruned(&self, run: RunId) -> Result<Option<Head>, ReadError>;

    /// Some entries of a run in order, from the first one after `after` on, none of them beyond `until`. None if
    /// there are none.
    fn entries(&self, run: RunId, after: u64, until: u64) -> Result<Vec<Entry>, ReadError>;

    /// A blob, unchecked. `None` if no run has it.
    fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, ReadError>;
}

/// A claim on a run. Dropping it releases the run.
pub trait Lease: Any + Send + Sync {
    /// Greater than that of every earlier claim on the run: a fencing token.
    fn token(&self) -> u64;

    /// Answers when the claim may be over without having been released.
    fn lost(&self) -> Answer<()>;
}

/// What one append keeps: all of it or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The entries, each linked to the one before.
    pub entries: Vec<Entry>,
    /// The blobs that the first of the entries names.
    pub blobs: Vec<(Digest, Vec<u8>)>,
}

impl Batch {
    /// The head of the run after it. `None` if there are no entries.
    pub fn head(&self) -> Option<Head> {
        self.entries.last().map(Entry::head)
    }

    /// Whether the last of its entries says that the run is over.
    pub fn over(&self) -> bool {
        self.entries.last().is_some_and(|entry| entry.over)
    }
}

/// A store could not do something.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot {doing} {place}")]
pub struct StoreError {
    /// What was being done.
    pub doing: &'static str,
    /// Where.
    pub place: String,
    /// What was seen.
    #[source]
    pub source: Arc<dyn Error + Send + Sync>,
}

impl StoreError {
    /// The store at `place` could not do this.
    pub fn new(
        doing: &'static str,
        place: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> StoreError {
        StoreError { doing, place: place.into(), source: Arc::from(source.into()) }
    }
}

/// The error for a run that is not there.
pub(crate) fn unknown(store: &dyn Store, run: RunId) -> ReadError {
    match store.pruned(run) {
        Ok(Some(head)) => ReadError::Pruned { run, head },
        Ok(None) => ReadError::UnknownRun { run, path: PathBuf::from(store.place()) },
        Err(error) => error,
    }
}

/// A blob, checked against its digest.
pub(crate) fn blob(store: &dyn Store, digest: &Digest) -> Result<Vec<u8>, ReadError> {
    let path = || PathBuf::from(store.place());
    let Some(value) = store.blob(digest)? else {
        return Err(ReadError::MissingBlob { digest: *digest, path: path() });
    };
    match Digest::of(&value) {
        found if found == *digest => Ok(value),
        found => {
            let detail = format!("its content has digest {found}");
            Err(ReadError::DamagedBlob { digest: *digest, path: path(), detail })
        }
    }
}

/// The entries of a run in a store, read piece by piece and checked.
pub(crate) struct Rows {
    store: Arc<dyn Store>,
    run: RunId,
    after: Option<Head>,
    /// The last entry that was read, and the last one to read. `None` at the start.
    at: Option<(Head, Head)>,
    piece: std::vec::IntoIter<Entry>,
}

impl Rows {
    pub(crate) fn new(store: Arc<dyn Store>, run: RunId, after: Option<Head>) -> Rows {
        Rows { store, run, after, at: None, piece: Vec::new().into_iter() }
    }

    /// The last entry that was read.
    pub(crate) fn head(&self) -> Option<Head> {
        self.at.map(|(last, _)| last)
    }

    /// The next entry. `None` behind the last.
    pub(crate) fn advance(&mut self) -> Result<Option<Entry>, ReadError> {
        let (last, until) = match self.at {
            Some(at) => at,
            None => self.start()?,
        };
        self.at = Some((last, until));
        if last.seq >= until.seq {
            return match last == until {
                true => Ok(None),
                false => Err(self.damaged(last.seq, "it is not the one that the run ends with".into())),
            };
        }
        if self.piece.as_slice().is_empty() {
            self.piece = self.store.entries(self.run, last.seq, until.seq)?.into_iter();
        }
        let Some(entry) = self.piece.next() else { return Err(self.gone(last.seq + 1)) };
        match entry.unlike_next(last) {
            None => {
                self.at = Some((entry.head(), until));
                Ok(Some(entry))
            }
            Some(detail) => Err(self.damaged(last.seq + 1, detail)),
        }
    }

    fn start(&self) -> Result<(Head, Head), ReadError> {
        let header = self.store.header(self.run)?;
        let header = header.ok_or_else(|| unknown(self.store.as_ref(), self.run))?;
        let genesis = header.genesis();
        let last = match self.after {
            Some(after) if after != genesis => self.anchored(after)?,
            _ => genesis,
        };
        Ok((last, header.head))
    }

    /// Checks that the run has this entry.
    fn anchored(&self, after: Head) -> Result<Head, ReadError> {
        let found = self.store.entries(self.run, after.seq.saturating_sub(1), after.seq)?;
        match found.first() {
            Some(entry) if entry.head() == after && entry.link() == entry.hash => Ok(after),
            Some(entry) => {
                let detail = format!("entry {} is {:.12}, not {:.12}", entry.seq, entry.hash, after.hash);
                Err(self.damaged(after.seq, detail))
            }
            None => Err(self.gone(after.seq)),
        }
    }

    /// Why there is no entry of this number.
    fn gone(&self, seq: u64) -> ReadError {
        match self.store.header(self.run) {
            Ok(Some(_)) => self.damaged(seq, "it is missing".into()),
            Ok(None) => unknown(self.store.as_ref(), self.run),
            Err(error) => error,
        }
    }

    fn damaged(&self, seq: u64, detail: String) -> ReadError {
        ReadError::DamagedRow { run: self.run, seq, place: self.store.place(), detail }
    }
}
