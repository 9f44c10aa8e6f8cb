//! A store in memory, for tests: it can fail a commit, and its content can be copied and changed, as a
//! crash or a bad disk would.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::Batch;
use crate::Digest;
use crate::RunId;
use crate::Store;
use crate::StoreError;

/// A [`Store`] that keeps nothing when the process ends. Clones are the same store.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Debug, Default)]
struct State {
    entries: BTreeMap<(RunId, u64), Vec<u8>>,
    headers: BTreeMap<RunId, Vec<u8>>,
    witness: BTreeMap<RunId, Vec<u8>>,
    blobs: BTreeMap<Digest, Vec<u8>>,
    commits: u64,
    failing: Option<u64>,
    unreadable: Option<(RunId, u64)>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// Makes the `n`th commit from now fail, 1 being the next. Nothing of it is kept.
    pub fn fail_commit(&self, n: u64) {
        let mut state = self.state();
        state.failing = Some(state.commits + n);
    }

    /// A store of its own with what is kept now: what a crash at this instant would leave.
    pub fn image(&self) -> MemoryStore {
        MemoryStore { state: Arc::new(Mutex::new(self.state().clone())) }
    }

    /// Changes the bytes of an entry; `None` takes it away. The witness stays as it is.
    pub fn damage_entry(&self, run: RunId, seq: u64, change: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) {
        let mut state = self.state();
        let bytes = state.entries.remove(&(run, seq)).unwrap_or_default();
        if let Some(bytes) = change(bytes) {
            state.entries.insert((run, seq), bytes);
        }
    }

    /// Makes reading the entries of this run fail from `seq` on, as a bad page does. Their bytes are still
    /// in [`Store::raw`].
    pub fn fail_reads_from(&self, run: RunId, seq: u64) {
        self.state().unreadable = Some((run, seq));
    }

    /// Changes the bytes of a header; `None` takes it away. The witness stays as it is.
    pub fn damage_header(&self, run: RunId, change: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) {
        let mut state = self.state();
        let bytes = state.headers.remove(&run).unwrap_or_default();
        if let Some(bytes) = change(bytes) {
            state.headers.insert(run, bytes);
        }
    }

    /// Changes the bytes of a blob; `None` takes it away.
    pub fn damage_blob(&self, digest: &Digest, change: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) {
        let mut state = self.state();
        let bytes = state.blobs.remove(digest).unwrap_or_default();
        if let Some(bytes) = change(bytes) {
            state.blobs.insert(*digest, bytes);
        }
    }

    /// This store with the witness of another: a database that went back to an older state.
    pub fn with_witness_of(&self, other: &MemoryStore) -> MemoryStore {
        let older = self.image();
        older.state().witness = other.state().witness.clone();
        older
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic in one of the closures above leaves the maps whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut state = self.state();
        state.commits += 1;
        if state.failing == Some(state.commits) {
            let text = format!("commit {} was told to fail", state.commits);
            return Err(StoreError::io("sync", "memory", io::Error::other(text)));
        }
        for (run, seq, bytes) in &batch.entries {
            state.entries.insert((*run, *seq), bytes.clone());
        }
        for (run, bytes) in &batch.headers {
            state.headers.insert(*run, bytes.clone());
            state.witness.insert(*run, bytes.clone());
        }
        Ok(())
    }

    fn entries_from(&self, run: RunId, seq: u64, most: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let state = self.state();
        let bad = state.unreadable.filter(|(bad, _)| *bad == run).map(|(_, from)| from);
        if bad.is_some_and(|bad| bad <= seq) {
            return Err(StoreError::Damaged { path: self.place(), detail: "it was told to fail".into() });
        }
        let found = state.entries.range((run, seq)..=(run, u64::MAX)).take(most);
        let readable = found.take_while(|((_, seq), _)| bad.is_none_or(|bad| *seq < bad));
        Ok(readable.map(|((_, seq), bytes)| (*seq, bytes.clone())).collect())
    }

    fn header(&self, run: RunId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.state().headers.get(&run).cloned())
    }

    fn headers(&self) -> Result<Vec<(RunId, Vec<u8>)>, StoreError> {
        Ok(self.state().headers.iter().map(|(run, bytes)| (*run, bytes.clone())).collect())
    }

    fn witnessed(&self) -> Result<Vec<(RunId, Vec<u8>)>, StoreError> {
        Ok(self.state().witness.iter().map(|(run, bytes)| (*run, bytes.clone())).collect())
    }

    fn raw(&self) -> Result<Vec<u8>, StoreError> {
        Ok(self.state().entries.values().flatten().copied().collect())
    }

    fn put_blob(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        self.state().blobs.insert(*digest, bytes.to_vec());
        Ok(())
    }

    fn remove(&self, runs: &[RunId]) -> Result<(), StoreError> {
        let mut state = self.state();
        state.entries.retain(|(run, _), _| !runs.contains(run));
        state.headers.retain(|run, _| !runs.contains(run));
        state.witness.retain(|run, _| !runs.contains(run));
        Ok(())
    }

    fn blobs(&self) -> Result<Vec<Digest>, StoreError> {
        Ok(self.state().blobs.keys().copied().collect())
    }

    fn remove_blobs(&self, digests: &[Digest]) -> Result<(), StoreError> {
        self.state().blobs.retain(|digest, _| !digests.contains(digest));
        Ok(())
    }

    fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.state().blobs.get(digest).cloned())
    }

    fn place(&self) -> PathBuf {
        PathBuf::from("memory")
    }
}
