//! What was acknowledged, kept beside the database.
//!
//! When its log is damaged, sled can recover an older state without a word: then entries and headers agree
//! with each other, and only the witness still knows that acknowledged entries are missing.
//!
//! The file has a slot of 256 bytes for each run, with a copy of its header as it was committed. A slot is written in place *after* the commit is on the disk and is not
//! synced, so that it costs no sync: it may be older than the database or torn, and is newer only if the
//! database lost something. A slot lies within a sector, and the header in it has its own check; one that
//! does not match is ignored.

use std::collections::BTreeMap;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::RunId;
use crate::StoreError;
use crate::entry::RunHeader;

const SLOT_BYTES: usize = 256;
/// The run (16), the length of the header (2), the header.
const HEADER_AT: usize = 18;

/// A run and its header.
type Slot = Option<(RunId, Vec<u8>)>;

/// The file `<dir>/witness`.
#[derive(Debug)]
pub(crate) struct Witness {
    file: File,
    slots: BTreeMap<RunId, usize>,
    /// Slots with nothing in them that can be read.
    free: Vec<usize>,
}

impl Witness {
    /// The headers that are in the file at `path`; none if it is not there.
    pub(crate) fn read(path: &Path) -> Result<Vec<(RunId, Vec<u8>)>, StoreError> {
        let slots = read_slots(path)?;
        Ok(slots.into_iter().flatten().collect())
    }

    /// Opens the file for recording.
    pub(crate) fn open(path: &Path) -> Result<Witness, StoreError> {
        let found = read_slots(path)?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|e| StoreError::io("open", path, e))?;
        let free = (0..found.len()).filter(|index| found[*index].is_none()).collect();
        let taken = found.into_iter().enumerate();
        let slots = taken.filter_map(|(index, slot)| slot.map(|(run, _)| (run, index))).collect();
        Ok(Witness { file, slots, free })
    }

    /// Writes down a header that is on the disk. A failure only makes the witness older.
    pub(crate) fn record(&mut self, run: RunId, header: &[u8]) {
        let Some(slot) = write_slot(run, header) else { return };
        let index = self.slot_of(run);
        if let Err(error) = self.file.write_all_at(&slot, (index * SLOT_BYTES) as u64) {
            tracing::warn!(%error, %run, "cannot write the witness; damage to this run may go unnoticed");
        }
    }

    /// Forgets runs, on the disk: they are about to be removed, and shall not be taken for lost.
    pub(crate) fn forget(&mut self, runs: &[RunId]) -> io::Result<()> {
        for run in runs {
            if let Some(index) = self.slots.remove(run) {
                self.file.write_all_at(&[0; SLOT_BYTES], (index * SLOT_BYTES) as u64)?;
                self.free.push(index);
            }
        }
        self.file.sync_all()
    }

    /// The slot of the run, or a torn one, or a new one at the end.
    fn slot_of(&mut self, run: RunId) -> usize {
        let end = self.slots.len() + self.free.len();
        *self.slots.entry(run).or_insert_with(|| self.free.pop().unwrap_or(end))
    }
}

/// Every slot in order; `None` for one that is free or torn.
fn read_slots(path: &Path) -> Result<Vec<Slot>, StoreError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(bytes.chunks(SLOT_BYTES).map(read_slot).collect()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(StoreError::io("read", path, e)),
    }
}

fn read_slot(slot: &[u8]) -> Slot {
    let (run, rest) = slot.split_first_chunk::<16>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let header = rest.get(..usize::from(u16::from_le_bytes(*length)))?;
    let run = RunId::from_bytes(*run);
    RunHeader::decode(run, header).ok()?;
    Some((run, header.to_vec()))
}

fn write_slot(run: RunId, header: &[u8]) -> Option<[u8; SLOT_BYTES]> {
    let mut slot = [0; SLOT_BYTES];
    slot[..16].copy_from_slice(run.as_bytes());
    slot[16..HEADER_AT].copy_from_slice(&u16::try_from(header.len()).ok()?.to_le_bytes());
    slot.get_mut(HEADER_AT..HEADER_AT + header.len())?.copy_from_slice(header);
    Some(slot)
}
