//! A store that dies: it writes nothing after a chosen entry.

use fulcrum_state::{Batch, Digest, MemoryStore, RunId, Store, StoreError};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Where a run dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Death {
    /// The last entry that is written, from 1.
    pub(crate) entry: u64,
    /// Whether what follows from the entry is still done, until the next one should be written.
    pub(crate) late: bool,
}

/// Entries in memory, up to a death. What was written stays in the [`MemoryStore`] it was made on.
#[derive(Debug)]
pub(crate) struct MortalStore {
    kept: MemoryStore,
    death: Option<Death>,
    state: Mutex<State>,
    died: Arc<AtomicBool>,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Alive,
    Dying,
    Dead,
}

impl MortalStore {
    /// With the flag that says whether it died.
    pub(crate) fn new(kept: MemoryStore, death: Option<Death>) -> (Self, Arc<AtomicBool>) {
        let died = Arc::new(AtomicBool::new(false));
        (Self { kept, death, state: Mutex::new(State::Alive), died: Arc::clone(&died) }, died)
    }

    fn dead(&self, state: &mut State) -> StoreError {
        *state = State::Dead;
        self.died.store(true, Ordering::SeqCst);
        let source = io::Error::other("the test has it die here");
        StoreError::Io { doing: "write", path: self.place(), source: Arc::new(source) }
    }
}

impl Store for MortalStore {
    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state != State::Alive {
            return Err(self.dead(&mut state));
        }
        self.kept.commit(batch)?;
        let newest = batch.entries.iter().map(|(_, seq, _)| *seq).max().unwrap_or_default();
        match self.death {
            Some(death) if newest >= death.entry && death.late => *state = State::Dying,
            Some(death) if newest >= death.entry => return Err(self.dead(&mut state)),
            _ => {}
        }
        Ok(())
    }

    fn entries_from(&self, run: RunId, seq: u64, most: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        self.kept.entries_from(run, seq, most)
    }

    fn header(&self, run: RunId) -> Result<Option<Vec<u8>>, StoreError> {
        self.kept.header(run)
    }

    fn headers(&self) -> Result<Vec<(RunId, Vec<u8>)>, StoreError> {
        self.kept.headers()
    }

    fn witnessed(&self) -> Result<Vec<(RunId, Vec<u8>)>, StoreError> {
        self.kept.witnessed()
    }

    fn put_blob(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state != State::Alive {
            return Err(self.dead(&mut state));
        }
        self.kept.put_blob(digest, bytes)
    }

    fn remove(&self, runs: &[RunId]) -> Result<(), StoreError> {
        self.kept.remove(runs)
    }

    fn blobs(&self) -> Result<Vec<Digest>, StoreError> {
        self.kept.blobs()
    }

    fn remove_blobs(&self, digests: &[Digest]) -> Result<(), StoreError> {
        self.kept.remove_blobs(digests)
    }

    fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        self.kept.blob(digest)
    }

    fn place(&self) -> PathBuf {
        self.kept.place()
    }
}
