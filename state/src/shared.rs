//! The knowledge of a journal, in the process that writes it and in those that read it.

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

use crate::Digest;
use crate::DiskError;
use crate::Head;
use crate::ReadError;
use crate::RunId;
use crate::blob;
use crate::disk::Disk;
use crate::index::Index;
use crate::log;
use crate::place;
use crate::place::Extent;
use crate::place::Place;
use crate::place::Position;
use crate::record::BlobContent;
use crate::record::Kind;
use crate::scan::Found;
use crate::scan::Scanner;

/// The knowledge of the journal.
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
    /// The place of that head's entry.
    pub(crate) at: Position,
    pub(crate) state: Vec<u8>,
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

    /// Takes in what another process has written since the last look.
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

    /// Keeps a state, if it belongs to the head of the run.
    pub(crate) fn keep_state(&self, run: RunId, head: Head, state: Vec<u8>) {
        let at = self.index().run(run).filter(|found| found.header.head == head).map(|found| found.last);
        if let Some(at) = at {
            let mut states = self.states();
            states.kept.insert(run, KeptState { head, at, state });
            states.new.insert(run);
        }
    }

    /// Takes in a state that was kept earlier, if the run is not over.
    pub(crate) fn put_state(&self, run: RunId, kept: KeptState) {
        let is_open = self.index().run(run).is_some_and(|found| !found.header.over);
        let mut states = self.states();
        match is_open {
            true => _ = states.kept.insert(run, kept),
            // The thread removes it from the database.
            false => _ = states.new.insert(run),
        }
    }

    pub(crate) fn has_new_states(&self) -> bool {
        !self.states().new.is_empty()
    }

    /// The states that changed. `None` for a run that is over.
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

    /// Marks states as changed and not yet kept.
    pub(crate) fn still_new(&self, runs: impl Iterator<Item = RunId>) {
        self.states().new.extend(runs);
    }

    fn states(&self) -> MutexGuard<'_, States> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error, unless the run was pruned while it was read.
    pub(crate) fn or_pruned(&self, run: RunId, error: ReadError) -> ReadError {
        if let Err(error) = self.refresh() {
            return error;
        }
        let index = self.index();
        match index.run(run) {
            Some(_) => error,
            None => self.unknown(&index, run),
        }
    }

    /// The error for a run that is not in the index.
    pub(crate) fn unknown(&self, index: &Index, run: RunId) -> ReadError {
        match index.pruned(run) {
            Some(head) => ReadError::Pruned { run, head },
            None => ReadError::UnknownRun { run, path: self.disk.path("") },
        }
    }

    /// The whole path of a file whose name is relative to the directory.
    pub(crate) fn path_of(&self, path: &Path) -> PathBuf {
        match path.to_str() {
            Some(name) if path.is_relative() => self.disk.path(name),
            _ => path.into(),
        }
    }

    pub(crate) fn scanner(&self, extent: Extent) -> Result<Scanner, ReadError> {
        let name = place::segment_name(extent.segment);
        let file = self.disk.open(&name, false);
        let file = file.map_err(|e| ReadError::Disk(DiskError::new("open", self.disk.path(&name), e)))?;
        Ok(Scanner::new(file, extent.from.into(), extent.to.into()))
    }

    pub(crate) fn blob(&self, digest: &Digest) -> Result<Vec<u8>, ReadError> {
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
        let mut bad = None;
        for extent in extents {
            if let Some(value) = self.blob_in(extent, digest, &mut bad)? {
                return check(digest, value, &log::segment_path(self.disk.as_ref(), extent.segment));
            }
        }
        if let Some(Position { segment, offset }) = bad {
            let path = log::segment_path(self.disk.as_ref(), segment);
            let detail = format!("the log lacks its record, and the one at byte {offset} cannot be read");
            return Err(ReadError::DamagedBlob { digest: *digest, path, detail });
        }
        Err(ReadError::MissingBlob { digest: *digest, path: self.disk.path("") })
    }

    /// The blob of the record at this place. `None` also if it is not there any more, or is a file.
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

    /// Looks for the record of a blob in a part of the log. `bad` becomes the first place without a record.
    fn blob_in(
        &self,
        extent: Extent,
        digest: &Digest,
        bad: &mut Option<Position>,
    ) -> Result<Option<Vec<u8>>, ReadError> {
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
                Found::Record { .. } => {}
                Found::Bad { from, .. } => {
                    bad.get_or_insert(Position { segment: extent.segment, offset: place::short(from) });
                }
                Found::End { .. } => return Ok(None),
            }
        }
    }
}

fn check(digest: &Digest, value: Vec<u8>, path: &Path) -> Result<Vec<u8>, ReadError> {
    match Digest::of(&value) {
        found if found == *digest => Ok(value),
        found => {
            let detail = format!("its content has digest {found}");
            Err(ReadError::DamagedBlob { digest: *digest, path: path.into(), detail })
        }
    }
}
