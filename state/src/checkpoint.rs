//! What makes opening fast: the index and the states of runs as they were a while ago, in sled.
//!
//! Nothing depends on it. It is written beside the commits, and never synced. If it cannot be opened, is of another
//! version, or does not fit the log, it is taken away and made anew from the log.

// The database.
mod store;

// The index as the bytes that are kept.
mod values;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use crate::disk::Disk;
use crate::index::Extent;
use crate::index::Index;
use crate::index::Place;
use crate::log;
use crate::reader::Shared;
use crate::record::PREFIX_BYTES;
use crate::record::Prefix;
use crate::scan::Found;
use crate::scan::Scanner;

use store::Store;
use values::Update;

/// A checkpoint is written after so many commits, or after a while.
const COMMITS: u64 = 512;
const WHILE: Duration = Duration::from_secs(1);

/// What was found in the database.
pub(crate) struct Loaded {
    store: Option<Store>,
    /// The index as it was, if it fits the log.
    pub(crate) index: Option<Index>,
    /// The index as it was, if it does not.
    pub(crate) other: Option<Index>,
    pub(crate) states: Vec<(crate::RunId, crate::reader::KeptState)>,
}

/// Opens the checkpoint in a state directory. It never fails: without one, everything is read from the log.
pub(crate) fn load(dir: &Path, disk: &dyn Disk) -> Loaded {
    let (mut store, found) = store::open(dir);
    let mut loaded = Loaded { store: None, index: None, other: None, states: Vec::new() };
    if let Some(found) = found {
        if fits(disk, &found.index, &found.last_prefix) {
            loaded.index = Some(found.index);
            loaded.states = found.states;
        } else {
            tracing::warn!(dir = %dir.display(), "the checkpoint does not fit the log; it is made anew");
            loaded.other = Some(found.index);
            drop(store);
            store = store::anew(dir);
        }
    }
    loaded.store = store;
    loaded
}

/// True if the log has the record that was the last one when the checkpoint was made.
fn fits(disk: &dyn Disk, index: &Index, prefix: &[u8]) -> bool {
    let (Some(last), Some(end)) = (index.last_record(), index.end) else { return false };
    let to = last.at.offset.saturating_add(last.len);
    if (end.segment, end.offset) != (last.at.segment, to) {
        return false;
    }
    let Ok(file) = disk.open(&log::segment_name(last.at.segment), false) else { return false };
    let mut scanner = Scanner::new(file, last.at.offset.into(), to.into());
    match scanner.next() {
        Ok(Found::Record { prefix: found, .. }) => {
            // It may have been pruned since.
            found.kind == crate::record::Kind::Blank || Prefix::read(prefix) == Some(found)
        }
        _ => false,
    }
}

/// Writes the checkpoint, in a thread of its own.
pub(crate) struct Checkpoints {
    updates: SyncSender<Update>,
    thread: JoinHandle<()>,
    commits: u64,
    last: Instant,
}

impl Checkpoints {
    /// Goes on with what was loaded. `None` if there is no database.
    pub(crate) fn start(loaded: Loaded, disk: Arc<dyn Disk>) -> Option<Checkpoints> {
        let store = loaded.store?;
        let (updates, queue) = mpsc::sync_channel::<Update>(1);
        let work = move || {
            let mut store = store;
            for update in queue {
                let prefix = update.last.and_then(|last| prefix_of(disk.as_ref(), last));
                store.write(update, prefix.as_deref());
            }
        };
        match std::thread::Builder::new().name("fulcrum-checkpoint".into()).spawn(work) {
            Ok(thread) => Some(Checkpoints { updates, thread, commits: 0, last: Instant::now() }),
            Err(error) => {
                tracing::warn!(%error, "there will be no checkpoint; the next opening reads the log instead");
                None
            }
        }
    }

    /// A commit was made, or a state kept.
    pub(crate) fn committed(&mut self, shared: &Shared) {
        self.commits += 1;
        if self.commits >= COMMITS || self.last.elapsed() >= WHILE {
            // While one is being written, the next waits for another commit.
            (self.commits, self.last) = (0, Instant::now());
            let update = Update::of(shared);
            if let Err(mpsc::TrySendError::Full(update)) = self.updates.try_send(update) {
                shared.index_mut().still_changed(update.changed);
            }
        }
    }

    /// Writes the last one, and waits for it.
    pub(crate) fn close(self, shared: &Shared) {
        let _ = self.updates.send(Update::of(shared));
        drop(self.updates);
        if self.thread.join().is_err() {
            tracing::warn!("the thread that writes the checkpoint had panicked");
        }
    }
}

fn prefix_of(disk: &dyn Disk, last: Place) -> Option<Vec<u8>> {
    let (segment, from) = (last.at.segment, last.at.offset);
    let extent = Extent { segment, from, to: from + last.len };
    let file = disk.open(&log::segment_name(extent.segment), false).ok()?;
    let mut prefix = vec![0; PREFIX_BYTES];
    (file.read_at(&mut prefix, from.into()).ok()? == PREFIX_BYTES).then_some(prefix)
}
