//! A disk in memory, for tests and for journals that keep nothing. It can fail a call, run out of room, lose
//! single places, and lose its power. After a power loss, some unsynced pieces of 512 bytes are there and some
//! are not. What a failed sync should have written is still read until then, and no later sync writes it: so
//! Linux does with pages that it could not write.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::disk::Disk;
use crate::disk::DiskFile;

const PIECE_BYTES: usize = 512;
const EIO: i32 = 5;

/// A [`Disk`] that loses everything when the process ends. Clones are one disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

type Shared = Arc<Mutex<Content>>;

#[derive(Clone, Debug, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// The ranges that were written since the last sync.
    unsynced: Vec<Range<usize>>,
    /// A range that cannot be read until it is written.
    unreadable: Range<usize>,
}

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<String, Shared>,
    durable_names: BTreeMap<String, Shared>,
    calls: u64,
    failing: Option<Failing>,
    room: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Failing {
    from: u64,
    to: u64,
    code: i32,
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    /// How many calls have changed something.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Makes `count` calls that change something fail with this error number of the system. The `n`th call
    /// from now fails first; the next call is number 1.
    pub fn fail(&self, n: u64, count: u64, code: i32) {
        let mut state = self.state();
        let from = state.calls + n;
        state.failing = Some(Failing { from, to: from.saturating_add(count), code });
    }

    /// Sets how many bytes all files together may have. `None` stands for any number.
    pub fn set_room(&self, bytes: Option<u64>) {
        self.state().room = bytes;
    }

    /// How many bytes all files together have.
    pub fn used(&self) -> u64 {
        used(&self.state())
    }

    /// A disk of its own with what a power cut at this instant leaves: everything that was synced, and some
    /// of the other pieces, chosen by `seed`.
    pub fn power_cut(&self, seed: u64) -> MemoryDisk {
        let state = self.state();
        let mut random = seed;
        let mut chosen = || {
            // The generator "SplitMix64".
            random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = random;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ (mixed >> 31)) & 1 == 1
        };
        let mut names = BTreeMap::new();
        // A name that was not synced is there or not. A synced name stays, even if it was removed since.
        for (name, file) in &state.durable_names {
            names.insert(name.clone(), torn(file, &mut chosen));
        }
        for (name, file) in &state.names {
            if chosen() {
                names.insert(name.clone(), torn(file, &mut chosen));
            }
        }
        let state = State { durable_names: names.clone(), names, ..State::default() };
        MemoryDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// A disk of its own with the present content. A kill at this instant leaves it.
    pub fn image(&self) -> MemoryDisk {
        let state = self.state();
        let copy = |file: &Shared| Arc::new(Mutex::new(content(file).clone()));
        let names: BTreeMap<_, _> =
            state.names.iter().map(|(name, file)| (name.clone(), copy(file))).collect();
        let state = State { durable_names: names.clone(), names, ..State::default() };
        MemoryDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// The files and their content.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        state.names.iter().map(|(name, file)| (name.clone(), content(file).now.clone())).collect()
    }

    /// Changes the content of a file, including its durable part.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(file) = self.state().names.get(name) {
            let mut file = content(file);
            change(&mut file.now);
            file.durable = file.now.clone();
        }
    }

    /// Makes a part of a file unreadable until it is written: a read that touches it fails with EIO.
    pub fn lose(&self, name: &str, range: Range<usize>) {
        if let Some(file) = self.state().names.get(name) {
            content(file).unreadable = range;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic in a test leaves the maps whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call that changes something.
    fn change_call(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        state.calls += 1;
        match state.failing {
            Some(failing) if (failing.from..failing.to).contains(&state.calls) => {
                Err(io::Error::from_raw_os_error(failing.code))
            }
            _ => Ok(state),
        }
    }
}

fn content(file: &Shared) -> MutexGuard<'_, Content> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

fn used(state: &State) -> u64 {
    state.names.values().map(|file| content(file).now.len() as u64).sum()
}

fn torn(file: &Shared, chosen: &mut impl FnMut() -> bool) -> Shared {
    let file = content(file);
    let mut left = file.durable.clone();
    if file.now.len() > left.len() && chosen() {
        left.resize(file.now.len(), 0);
    }
    let whole = left.len();
    for (at, piece) in left.chunks_mut(PIECE_BYTES).enumerate() {
        let start = at * PIECE_BYTES;
        let end = (start + piece.len()).min(file.now.len()).min(whole);
        if start < end && piece[..end - start] != file.now[start..end] && chosen() {
            piece[..end - start].copy_from_slice(&file.now[start..end]);
        }
    }
    let unreadable = file.unreadable.clone();
    Arc::new(Mutex::new(Content { now: left.clone(), durable: left, unsynced: Vec::new(), unreadable }))
}

impl Disk for MemoryDisk {
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let prefix = format!("{dir}/");
        let state = self.state();
        let names = state.names.keys().filter_map(|name| name.strip_prefix(&prefix));
        Ok(names.filter(|name| !name.contains('/')).map(str::to_owned).collect())
    }

    fn make_dir(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn open(&self, name: &str, _: bool) -> io::Result<Box<dyn DiskFile>> {
        let state = self.state();
        let content = state.names.get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(MemoryFile { disk: self.clone(), content }))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.change_call()?;
        let content = Shared::default();
        state.names.insert(name.to_owned(), content.clone());
        drop(state);
        Ok(Box::new(MemoryFile { disk: self.clone(), content }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.change_call()?;
        let file = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change_call()?.names.remove(name);
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.change_call()?;
        let prefix = format!("{dir}/");
        let names = state.names.clone();
        state.durable_names.retain(|name, _| !name.starts_with(&prefix));
        state.durable_names.extend(names.into_iter().filter(|(name, _)| name.starts_with(&prefix)));
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("memory").join(name)
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    content: Shared,
}

impl DiskFile for MemoryFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = content(&self.content);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.now.len());
        let len = bytes.len().min(content.now.len() - start);
        if start < content.unreadable.end && content.unreadable.start < start + len {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        bytes[..len].copy_from_slice(&content.now[start..start + len]);
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let state = self.disk.change_call()?;
        let end = usize::try_from(offset).unwrap_or(usize::MAX).saturating_add(bytes.len());
        let more = end.saturating_sub(content(&self.content).now.len()) as u64;
        if more > 0 && state.room.is_some_and(|room| used(&state) + more > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut content = content(&self.content);
        if content.now.len() < end {
            content.now.resize(end, 0);
        }
        let start = end - bytes.len();
        content.now[start..end].copy_from_slice(bytes);
        content.unsynced.push(start..end);
        if start < content.unreadable.end && content.unreadable.start < end {
            content.unreadable = 0..0;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let call = self.disk.change_call();
        let mut content = content(&self.content);
        let unsynced = std::mem::take(&mut content.unsynced);
        let _state = call?;
        let Content { now, durable, .. } = &mut *content;
        durable.resize(now.len(), 0);
        for range in unsynced {
            durable[range.clone()].copy_from_slice(&now[range]);
        }
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(content(&self.content).now.len() as u64)
    }
}
