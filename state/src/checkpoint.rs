//! Makes opening fast. The file `index` has an earlier index, and sled (`db/`) has the states of runs that
//! are not over.
//!
//! Nothing depends on either. They are written beside the commits, and never synced. If one cannot be read,
//! is of another version, or does not fit the log, it is removed and made anew. The index is a file of its
//! own because a process that only reads can read it, and because sled takes longer to open the more it
//! holds.

// The index as a file.
mod file;

// The database with the states.
mod store;

use std::io;
use std::io::Cursor;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use crate::RunId;
use crate::disk::Disk;
use crate::index::Index;
use crate::place;
use crate::record::Kind;
use crate::record::PREFIX_BYTES;
use crate::record::Prefix;
use crate::scan::Found;
use crate::scan::Scanner;
use crate::shared::KeptState;
use crate::shared::Shared;

/// The index is written after so many bytes of the log, or as many as the index has, if they are more. An opening
/// reads no more than that, and the index costs no more writes than the log.
const BYTES: usize = 1024 * 1024;
/// States are written this long after the last ones.
const WHILE: Duration = Duration::from_secs(1);

/// The earlier index.
pub(crate) enum Known {
    /// The index belongs to the log, up to a place.
    Fits(Index),
    /// The index belongs to another log, or to one that lost its end.
    Other(Index),
    /// No index can be read.
    Nothing,
}

/// The index that was written last.
pub(crate) fn load_index(dir: &Path, disk: &dyn Disk) -> Known {
    match file::load(dir) {
        Ok(None) => Known::Nothing,
        Ok(Some((index, prefix))) if fits(disk, &index, &prefix) => Known::Fits(index),
        Ok(Some((index, _))) => {
            tracing::warn!(dir = %dir.display(), "the index does not fit the log; it is made anew from the log");
            Known::Other(index)
        }
        Err(error) => {
            tracing::warn!(dir = %dir.display(), error, "the index cannot be read; it is made anew from the log");
            Known::Nothing
        }
    }
}

/// True if the log has the record that was the last one when the index was written.
fn fits(disk: &dyn Disk, index: &Index, prefix: &[u8]) -> bool {
    let (Some(last), Some(end)) = (index.last_record(), index.end) else { return false };
    let to = last.at.offset.saturating_add(last.len);
    if (end.segment, end.offset) != (last.at.segment, to) {
        return false;
    }
    let Ok(file) = disk.open(&place::segment_name(last.at.segment), false) else { return false };
    let mut scanner = Scanner::new(file, last.at.offset.into(), to.into());
    match scanner.next() {
        // The record may have been pruned since.
        Ok(Found::Record { prefix: found, .. }) => {
            found.kind == Kind::Blank || Prefix::read(prefix) == Some(found)
        }
        _ => false,
    }
}

/// The next thing to write.
struct Update {
    index: Option<Vec<u8>>,
    /// States that changed. `None` for a state that is not needed any more.
    states: Vec<(RunId, Option<KeptState>)>,
}

/// Writes index and states, in a thread of its own.
pub(crate) struct Checkpoints {
    updates: SyncSender<Update>,
    thread: JoinHandle<()>,
    /// Of the log since the index was written, and after how many the index is due.
    bytes: usize,
    due: usize,
    last: Instant,
}

impl Checkpoints {
    /// Opens the database, gives its states to `shared`, and starts the thread.
    pub(crate) fn start(dir: &Path, shared: &Shared) -> Option<Checkpoints> {
        // What another process has committed since is known from now on, too.
        let renewed = shared.index().is_changed().then(|| renew_index(dir, shared)).flatten();
        // To open the database takes longer than all the rest. There is no state to read without an open run, or
        // before the first long run.
        let has_states = shared.index().has_open() && store::is_there(dir);
        let mut store = has_states.then(|| store::open(dir)).map(|(store, states)| {
            states.into_iter().for_each(|(run, kept)| shared.put_state(run, kept));
            store
        });
        let (updates, queue) = mpsc::sync_channel::<Update>(1);
        let due = due_after(renewed);
        let dir = dir.to_owned();
        let work = move || {
            for Update { index, states } in queue {
                save_index(&dir, index);
                if !states.is_empty()
                    && let Some(store) = store.get_or_insert_with(|| store::open(&dir).0)
                {
                    store.write(states);
                }
            }
        };
        match std::thread::Builder::new().name("fulcrum-checkpoint".into()).spawn(work) {
            Ok(thread) => Some(Checkpoints { updates, thread, bytes: 0, due, last: Instant::now() }),
            Err(error) => {
                tracing::warn!(%error, "there will be no checkpoint; the next opening reads the log instead");
                None
            }
        }
    }

    /// Notes a commit of so many bytes, or a kept state.
    pub(crate) fn committed(&mut self, shared: &Shared, bytes: usize) {
        self.bytes += bytes;
        let is_due = self.bytes >= self.due;
        if !is_due && (self.last.elapsed() < WHILE || !shared.has_new_states()) {
            return;
        }
        let index = is_due.then(|| encoded(shared)).flatten();
        self.last = Instant::now();
        if is_due {
            (self.bytes, self.due) = (0, due_after(index.as_ref().map(Vec::len)));
        }
        let update = Update { index, states: shared.take_new_states() };
        // While one update is being written, the next waits for its turn.
        if let Err(mpsc::TrySendError::Full(update) | mpsc::TrySendError::Disconnected(update)) =
            self.updates.try_send(update)
        {
            shared.still_new(update.states.into_iter().map(|(run, _)| run));
        }
    }

    /// Writes the last update, if there was anything new, and waits for it.
    pub(crate) fn close(self, shared: &Shared) {
        let index = if shared.index().is_changed() { encoded(shared) } else { None };
        let _ = self.updates.send(Update { index, states: shared.take_new_states() });
        drop(self.updates);
        if self.thread.join().is_err() {
            tracing::warn!("the thread that writes the checkpoint had panicked");
        }
    }
}

fn due_after(index_bytes: Option<usize>) -> usize {
    index_bytes.unwrap_or(0).max(BYTES)
}

fn save_index(dir: &Path, index: Option<Vec<u8>>) {
    if let Some(index) = index {
        saved(dir, file::save(dir, |to| to.write_all(&index)));
    }
}

/// Writes the index without making its bytes first. Returns its length.
fn renew_index(dir: &Path, shared: &Shared) -> Option<usize> {
    let index = shared.index();
    let prefix = last_prefix(shared, &index)?;
    let written = saved(dir, file::save(dir, |to| file::write(&index, prefix, to)))?;
    usize::try_from(written).ok()
}

fn saved<T>(dir: &Path, result: io::Result<T>) -> Option<T> {
    result
        .inspect_err(|error| tracing::warn!(dir = %dir.display(), %error, "the index cannot be written"))
        .ok()
}

/// The bytes of the index.
fn encoded(shared: &Shared) -> Option<Vec<u8>> {
    let index = shared.index();
    let mut bytes = Cursor::new(Vec::new());
    file::write(&index, last_prefix(shared, &index)?, &mut bytes).ok()?;
    Some(bytes.into_inner())
}

/// The prefix of the last record. `None` if the index is not to be written.
fn last_prefix(shared: &Shared, index: &Index) -> Option<Vec<u8>> {
    if !index.leftovers().is_empty() {
        // The record of a prune that was cut short must be read again.
        return None;
    }
    let last = index.last_record()?;
    let file = shared.disk.open(&place::segment_name(last.at.segment), false).ok()?;
    let mut prefix = vec![0; PREFIX_BYTES];
    let read = file.read_at(&mut prefix, last.at.offset.into()).ok()?;
    (read == PREFIX_BYTES).then_some(prefix)
}

/// An index for a reader beside a writer. The reader takes the rest from the log.
pub(crate) fn index_to_read(dir: &Path, disk: &Arc<dyn Disk>) -> Index {
    match load_index(dir, disk.as_ref()) {
        Known::Fits(index) => index,
        Known::Other(_) | Known::Nothing => Index::default(),
    }
}
