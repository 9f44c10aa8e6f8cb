//! Reading a journal: beside the process that writes it, or within it. It needs no lock and writes nothing.

use std::collections::HashMap;
use std::collections::HashSet;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::RwLockReadGuard;
use std::sync::RwLockWriteGuard;

use crate::Damage;
use crate::Digest;
use crate::DiskError;
use crate::Entries;
use crate::Head;
use crate::OpenError;
use crate::ReadError;
use crate::RunHeader;
use crate::RunId;
use crate::blob;
use crate::checkpoint;
use crate::dir;
use crate::disk::Disk;
use crate::disk::SystemDisk;
use crate::index::Extent;
use crate::index::Index;
use crate::index::Place;
use crate::index::Position;
use crate::log;
use crate::record::BlobContent;
use crate::record::Kind;
use crate::scan::Found;
use crate::scan::Scanner;

/// Reads a journal. Clones read the same one.
///
/// One that was opened by itself sees what another process has written; of what that process is writing at this
/// instant it sees nothing or a whole commit, which may not be on the disk yet.
#[derive(Clone)]
pub struct Reader {
    pub(crate) shared: Arc<Shared>,
}

/// What is known of the journal.
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    index: RwLock<Index>,
    states: Mutex<States>,
    /// True if the process that has this also writes the journal.
    writes: bool,
}

/// The states of runs, and which of them are new.
#[derive(Default)]
struct States {
    kept: HashMap<RunId, KeptState>,
    new: HashSet<RunId>,
}

/// The state of the state machine of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptState {
    pub(crate) head: Head,
    /// Where the entry of that head is.
    pub(crate) at: Position,
    pub(crate) state: Vec<u8>,
}

impl Reader {
    /// Opens the journal in `dir` for reading. Nothing in it is changed, and no lock is taken.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: it is not there, of another format, or the system refused to read it. Damage is no error here:
    /// what is read reports it.
    pub fn open(dir: impl AsRef<Path>) -> Result<Reader, OpenError> {
        let dir = dir.as_ref();
        dir::check_readable(dir)?;
        let disk: Arc<dyn Disk> = Arc::new(SystemDisk::new(dir.into()));
        let index = checkpoint::index_to_read(dir, &disk);
        Reader::from(disk, index).map_err(OpenError::Disk)
    }

    /// Reads the journal on a disk.
    ///
    /// # Errors
    ///
    /// [`DiskError`] if it cannot be read.
    pub fn on(disk: Arc<dyn Disk>) -> Result<Reader, DiskError> {
        Reader::from(disk, Index::default())
    }

    fn from(disk: Arc<dyn Disk>, mut index: Index) -> Result<Reader, DiskError> {
        log::read(disk.as_ref(), &mut index, true)?;
        Ok(Reader { shared: Arc::new(Shared::new(disk, index, false)) })
    }

    /// All runs, in the order in which they were begun. A run that is damaged says so in its header.
    ///
    /// # Errors
    ///
    /// [`ReadError::Disk`].
    pub fn runs(&self) -> Result<Vec<RunHeader>, ReadError> {
        self.shared.refresh()?;
        Ok(self.shared.index().headers())
    }

    /// The runs whose last entry did not say that they are over, in the order in which they were begun.
    ///
    /// # Errors
    ///
    /// [`ReadError::Disk`].
    pub fn open_runs(&self) -> Result<Vec<RunHeader>, ReadError> {
        self.shared.refresh()?;
        Ok(self.shared.index().open_headers())
    }

    /// What is known of a run without reading it. `None` if it is not there, or was pruned.
    ///
    /// # Errors
    ///
    /// [`ReadError::Disk`].
    pub fn header(&self, run: RunId) -> Result<Option<RunHeader>, ReadError> {
        self.shared.refresh()?;
        Ok(self.shared.index().run(run).map(|state| state.header.clone()))
    }

    /// The entries of a run in order, checked on the way: the whole ones, then, if there is damage, one
    /// error, then nothing.
    pub fn entries(&self, run: RunId) -> Entries {
        Entries::new(self.shared.clone(), run, None)
    }

    /// The entries of a run after one of them. It is an error if that one is not there, or is another.
    pub fn entries_after(&self, run: RunId, head: Head) -> Entries {
        Entries::new(self.shared.clone(), run, Some(head))
    }

    /// The state that [`RunWriter::checkpoint`](crate::RunWriter::checkpoint) kept last, and the head that it is of.
    /// It may be older than the run, or not there; a reader that was opened by itself has none.
    pub fn checkpoint(&self, run: RunId) -> Option<(Head, Vec<u8>)> {
        self.shared.state(run).map(|kept| (kept.head, kept.state))
    }

    /// A blob, checked against its digest.
    ///
    /// # Errors
    ///
    /// [`ReadError::MissingBlob`], [`ReadError::DamagedBlob`], or it could not be read.
    pub fn blob(&self, digest: &Digest) -> Result<Vec<u8>, ReadError> {
        self.shared.refresh()?;
        self.shared.blob(digest)
    }

    /// Reads the whole run with its blobs, and returns its last entry if everything that was acknowledged is
    /// there and is what was written.
    ///
    /// # Errors
    ///
    /// [`ReadError::Damaged`] with the number of the first entry that is missing or has changed, or the error of
    /// the first blob.
    pub fn verify(&self, run: RunId) -> Result<Head, ReadError> {
        let mut entries = self.entries(run);
        for entry in entries.by_ref() {
            for digest in entry?.blobs {
                self.shared.blob(&digest).map_err(|error| self.shared.or_pruned(run, error))?;
            }
        }
        entries.head().ok_or_else(|| self.shared.unknown(&self.shared.index(), run))
    }

    /// What is known to be damaged, in any run or none.
    ///
    /// # Errors
    ///
    /// [`ReadError::Disk`].
    pub fn damage(&self) -> Result<Vec<Damage>, ReadError> {
        self.shared.refresh()?;
        Ok(self.shared.index().damage().to_vec())
    }
}

impl Shared {
    pub(crate) fn new(disk: Arc<dyn Disk>, index: Index, writes: bool) -> Shared {
        Shared { disk, index: RwLock::new(index), states: Mutex::default(), writes }
    }

    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what another process has written since.
    pub(crate) fn refresh(&self) -> Result<(), ReadError> {
        let is_read = || log::is_read(self.disk.as_ref(), &self.index());
        if !self.writes && !is_read().map_err(ReadError::Disk)? {
            log::read(self.disk.as_ref(), &mut self.index_mut(), true).map_err(ReadError::Disk)?;
        }
        Ok(())
    }

    pub(crate) fn state(&self, run: RunId) -> Option<KeptState> {
        self.states().kept.get(&run).cloned()
    }

    /// Keeps a state, if it is of the head of the run.
    pub(crate) fn keep_state(&self, run: RunId, head: Head, state: Vec<u8>) {
        let at = self.index().run(run).filter(|found| found.header.head == head).map(|found| found.last);
        if let Some(at) = at {
            let mut states = self.states();
            states.kept.insert(run, KeptState { head, at, state });
            states.new.insert(run);
        }
    }

    /// Takes in a state that was kept before, if the run is not over.
    pub(crate) fn put_state(&self, run: RunId, kept: KeptState) {
        let is_open = self.index().run(run).is_some_and(|found| !found.header.over);
        let mut states = self.states();
        match is_open {
            true => _ = states.kept.insert(run, kept),
            // It is removed from where it was kept.
            false => _ = states.new.insert(run),
        }
    }

    pub(crate) fn has_new_states(&self) -> bool {
        !self.states().new.is_empty()
    }

    /// The states that changed; `None` for a run that is over.
    pub(crate) fn take_new_states(&self) -> Vec<(RunId, Option<KeptState>)> {
        let index = self.index();
        let mut states = self.states();
        let is_open = |run: &RunId| index.run(*run).is_some_and(|found| !found.header.over);
        let over: Vec<RunId> = states.kept.keys().filter(|run| !is_open(run)).copied().collect();
        for run in over {
            states.kept.remove(&run);
            states.new.insert(run);
        }
        let new = std::mem::take(&mut states.new);
        new.into_iter().map(|run| (run, states.kept.get(&run).cloned())).collect()
    }

    /// They changed, and that is not kept yet.
    pub(crate) fn still_new(&self, runs: impl Iterator<Item = RunId>) {
        self.states().new.extend(runs);
    }

    fn states(&self) -> MutexGuard<'_, States> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error, unless the run was pruned while it was read.
    fn or_pruned(&self, run: RunId, error: ReadError) -> ReadError {
        if let Err(error) = self.refresh() {
            return error;
        }
        let index = self.index();
        match index.run(run) {
            Some(_) => error,
            None => self.unknown(&index, run),
        }
    }

    /// Why a run is not in the index.
    pub(crate) fn unknown(&self, index: &Index, run: RunId) -> ReadError {
        match index.pruned(run) {
            Some(head) => ReadError::Pruned { run, head },
            None => ReadError::UnknownRun { run, path: self.disk.path("") },
        }
    }

    /// The whole path of a file that is named below the directory.
    pub(crate) fn path_of(&self, path: &Path) -> PathBuf {
        match path.to_str() {
            Some(name) if path.is_relative() => self.disk.path(name),
            _ => path.into(),
        }
    }

    pub(crate) fn scanner(&self, extent: Extent) -> Result<Scanner, ReadError> {
        let name = log::segment_name(extent.segment);
        let file = self.disk.open(&name, false);
        let file = file.map_err(|e| ReadError::Disk(DiskError::new("open", self.disk.path(&name), e)))?;
        Ok(Scanner::new(file, extent.from.into(), extent.to.into()))
    }

    fn blob(&self, digest: &Digest) -> Result<Vec<u8>, ReadError> {
        let place = self.index().blob(digest);
        if let Some(value) = place.and_then(|place| self.blob_at(place)) {
            return check(
                digest,
                value,
                &log::segment_path(self.disk.as_ref(), place.map_or(0, |p| p.at.segment)),
            );
        }
        let found = blob::find(self.disk.as_ref(), digest).map_err(ReadError::Disk)?;
        if let Some((path, value)) = found {
            return check(digest, value, &path);
        }
        let extents = self.index().extents_for_blobs();
        for extent in extents {
            if let Some(value) = self.blob_in(extent, digest)? {
                return check(digest, value, &log::segment_path(self.disk.as_ref(), extent.segment));
            }
        }
        Err(ReadError::MissingBlob { digest: *digest, path: self.disk.path("") })
    }

    /// The blob whose record is there; `None` also if it is not there any more, or is a file.
    fn blob_at(&self, place: Place) -> Option<Vec<u8>> {
        let Position { segment, offset } = place.at;
        let extent = Extent { segment, from: offset, to: offset + place.len };
        match self.scanner(extent).ok()?.next().ok()? {
            Found::Record { prefix, content, .. } if prefix.kind == Kind::Blob => {
                serde_json::from_slice::<BlobContent>(content).ok()?.value()
            }
            _ => None,
        }
    }

    /// Looks for the record of a blob in a part of the log.
    fn blob_in(&self, extent: Extent, digest: &Digest) -> Result<Option<Vec<u8>>, ReadError> {
        let path = log::segment_path(self.disk.as_ref(), extent.segment);
        let mut scanner = self.scanner(extent)?;
        loop {
            let found =
                scanner.next().map_err(|e| ReadError::Disk(DiskError::new("read", path.clone(), e)))?;
            match found {
                Found::Record { prefix, content, .. } if prefix.kind == Kind::Blob => {
                    let Ok(blob) = serde_json::from_slice::<BlobContent>(content) else { continue };
                    if blob.digest == *digest
                        && let Some(value) = blob.value()
                    {
                        return Ok(Some(value));
                    }
                }
                Found::Record { .. } | Found::Bad { .. } => {}
                Found::End { .. } => return Ok(None),
            }
        }
    }
}

fn check(digest: &Digest, value: Vec<u8>, path: &Path) -> Result<Vec<u8>, ReadError> {
    match Digest::of(&value) {
        found if found == *digest => Ok(value),
        found => Err(ReadError::DamagedBlob { digest: *digest, path: path.into(), found }),
    }
}
