//! The store on the disk: sled 0.34.7, and what it needs to keep what it was given. Found by experiment:
//!
//! * `flush()` only calls `sync_file_range`: 13 of 13 simulated power cuts lost acknowledged data. What
//!   held in 175 cuts: after opening, sync every file of the database, its directory and the parent; after
//!   every `flush()`, `sync_data` on a handle of our own.
//! * Values of more than a quarter of a segment (128 KiB) go into files that are never synced. Entries are
//!   4 KiB at most, and a leaf splits above 16 of them.
//! * A flipped byte in the log makes it refuse to open or, before the first reopening, go back to an older
//!   state without a word and cut the log off there: the log is read before, and kept if that happened.
//! * Some damage makes it panic, in opening or in reading: every call goes through [`caught`].

use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use crate::Batch;
use crate::Digest;
use crate::RunId;
use crate::Store;
use crate::StoreError;
use crate::blob::BlobDir;
use crate::evidence;
use crate::fsync;
use crate::panics::caught;
use crate::witness::Witness;

/// Journals are small and read once, from one end to the other.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;
/// sled lets go of its lock a little after it was dropped (seen once in some 1,500 reopenings within one
/// process). Another process is not what is waited for: our own lock is held.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);
/// The key of an entry: the run, then the number, big-endian so that keys sort as numbers do.
const KEY_BYTES: usize = 24;

/// Entries that are removed in one batch.
const REMOVED_MAX: usize = 1024;

/// A [`Store`] in a directory: `db/` (sled), `blobs/`, `witness`.
#[derive(Debug)]
pub struct SledStore {
    dir: PathBuf,
    trees: Guarded,
    log: File,
    blobs: BlobDir,
    witness: Mutex<Witness>,
    witnessed: Vec<(RunId, Vec<u8>)>,
    /// The log before sled opened it, until it is known that nothing is missing.
    found: Mutex<Vec<u8>>,
}

/// The open database. sled writes and syncs when it is closed, and panics if that fails: so it is closed under
/// guard, also when the rest of the store could not be opened.
#[derive(Debug)]
struct Guarded {
    /// Always there, until dropped.
    trees: Option<Trees>,
}

#[derive(Debug)]
struct Trees {
    db: sled::Db,
    entries: sled::Tree,
    headers: sled::Tree,
    /// Runs that are being removed, the header first.
    condemned: sled::Tree,
}

impl SledStore {
    /// Opens the store in `dir`, a directory that is there, and makes what it recovered durable. The
    /// caller sees to it that no other process has it open.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] if sled cannot recover, [`StoreError::Io`] if the system refused something.
    pub fn open(dir: &Path) -> Result<SledStore, StoreError> {
        let (db, blobs) = (dir.join("db"), dir.join("blobs"));
        let witnessed = Witness::read(&dir.join("witness"))?;
        let witness = Witness::open(&dir.join("witness"))?;
        let found = evidence::log(dir)?;
        for made in [&db, &blobs] {
            std::fs::create_dir_all(made).map_err(|e| StoreError::io("make", made, e))?;
        }
        let opened = attempt(&db, || Trees::open(&db)).inspect_err(|error| {
            if matches!(error, StoreError::Damaged { .. }) {
                evidence::keep(dir, &found);
            }
        });
        let trees = Guarded { trees: Some(opened?) };
        crate::fault::point("open/recovered");
        let log = db.join("db");
        let log = File::open(&log).map_err(|e| StoreError::io("open", log, e))?;
        sync_all_of(&db)?;
        crate::fault::point("open/before-dir-sync");
        fsync::sync_dir(dir).map_err(|e| StoreError::io("sync", dir, e))?;
        let store = SledStore {
            dir: dir.into(),
            trees,
            log,
            blobs: BlobDir::new(blobs),
            witness: Mutex::new(witness),
            witnessed,
            found: Mutex::new(found),
        };
        store.finish_removals()?;
        Ok(store)
    }

    /// Asks sled for something.
    fn ask<T>(&self, work: impl FnOnce(&Trees) -> sled::Result<T>) -> Result<T, StoreError> {
        let db = self.dir.join("db");
        match &self.trees.trees {
            Some(trees) => attempt(&db, || work(trees)),
            None => Err(StoreError::Damaged { path: db, detail: "the database is closed".into() }),
        }
    }
}

impl SledStore {
    fn sync_log(&self) -> Result<(), StoreError> {
        self.log.sync_data().map_err(|e| StoreError::io("sync", self.dir.join("db/db"), e))
    }

    /// Takes away the entries of the runs that are condemned, also by a process that was killed over it.
    fn finish_removals(&self) -> Result<(), StoreError> {
        for run in self.ask(Trees::condemned)? {
            self.ask(|trees| trees.headers.remove(run.as_bytes()))?;
            while self.ask(|trees| trees.remove_some(run))? > 0 {
                self.sync_log()?;
            }
            self.ask(|trees| trees.absolve(run))?;
            self.sync_log()?;
        }
        Ok(())
    }

    /// The number of the entry in the key that it is kept under.
    fn seq_in(&self, key: &[u8]) -> Result<u64, StoreError> {
        match key.split_last_chunk::<8>() {
            Some((_, seq)) if key.len() == KEY_BYTES => Ok(u64::from_be_bytes(*seq)),
            _ => {
                Err(StoreError::Damaged { path: self.dir.join("db"), detail: format!("a key is {key:02x?}") })
            }
        }
    }
}

impl Trees {
    fn open(path: &Path) -> sled::Result<Trees> {
        let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        let begun = Instant::now();
        let db = loop {
            match config.open() {
                Err(error) if is_locked(&error) && begun.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
                opened => break opened?,
            }
        };
        let entries = db.open_tree("entries")?;
        let headers = db.open_tree("headers")?;
        let condemned = db.open_tree("condemned")?;
        db.flush()?;
        Ok(Trees { db, entries, headers, condemned })
    }

    /// Not a transaction of sled's, which writes and waits twice: its log is recovered up to the first message that
    /// is not whole, so that an entry is there if the header that comes after it is.
    fn write(&self, batch: &Batch) -> sled::Result<()> {
        for (run, seq, bytes) in &batch.entries {
            self.entries.insert(key(*run, *seq), bytes.as_slice())?;
        }
        for (run, bytes) in &batch.headers {
            self.headers.insert(run.as_bytes(), bytes.as_slice())?;
        }
        self.db.flush().map(|_| ())
    }

    /// Writes down which runs go, before anything of them does: each goes to its end then, also after a crash.
    fn condemn(&self, runs: &[RunId]) -> sled::Result<()> {
        for run in runs {
            self.condemned.insert(run.as_bytes(), &[])?;
        }
        self.db.flush().map(|_| ())
    }

    fn condemned(&self) -> sled::Result<Vec<RunId>> {
        let keys = self.condemned.iter().keys().collect::<sled::Result<Vec<_>>>()?;
        Ok(keys.iter().filter_map(|key| key.as_ref().try_into().ok().map(RunId::from_bytes)).collect())
    }

    /// Removes entries of a run, as many as go well into one batch, and says how many.
    fn remove_some(&self, run: RunId) -> sled::Result<usize> {
        let keys = self.entries.scan_prefix(run.as_bytes()).keys().take(REMOVED_MAX);
        let mut batch = sled::Batch::default();
        let mut count = 0;
        for key in keys {
            batch.remove(key?);
            count += 1;
        }
        if count > 0 {
            self.entries.apply_batch(batch)?;
            self.db.flush()?;
        }
        Ok(count)
    }

    fn absolve(&self, run: RunId) -> sled::Result<()> {
        self.condemned.remove(run.as_bytes())?;
        self.db.flush().map(|_| ())
    }
}

impl Store for SledStore {
    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        crate::fault::point("commit/before-write");
        self.ask(|trees| trees.write(batch))?;
        crate::fault::point("commit/before-sync");
        self.sync_log()?;
        crate::fault::point("commit/before-witness");
        let mut witness = self.witness.lock().unwrap_or_else(PoisonError::into_inner);
        for (run, header) in &batch.headers {
            witness.record(*run, header);
        }
        Ok(())
    }

    fn entries_from(&self, run: RunId, seq: u64, most: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let mut found = Vec::new();
        let read = self.ask(|trees| {
            for pair in trees.entries.range(key(run, seq)..=key(run, u64::MAX)).take(most) {
                let (key, bytes) = pair?;
                found.push((key, bytes.to_vec()));
            }
            Ok(())
        });
        match read {
            Err(error) if found.is_empty() => return Err(error),
            _ => {}
        }
        found.into_iter().map(|(key, bytes)| Ok((self.seq_in(&key)?, bytes))).collect()
    }

    fn remove(&self, runs: &[RunId]) -> Result<(), StoreError> {
        let mut witness = self.witness.lock().unwrap_or_else(PoisonError::into_inner);
        witness.forget(runs).map_err(|e| StoreError::io("write", self.dir.join("witness"), e))?;
        self.ask(|trees| trees.condemn(runs))?;
        self.sync_log()?;
        self.finish_removals()
    }

    fn blobs(&self) -> Result<Vec<Digest>, StoreError> {
        self.blobs.list()
    }

    fn remove_blobs(&self, digests: &[Digest]) -> Result<(), StoreError> {
        digests.iter().try_for_each(|digest| self.blobs.remove(digest))
    }

    fn header(&self, run: RunId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.ask(|trees| trees.headers.get(run.as_bytes()))?.map(|bytes| bytes.to_vec()))
    }

    fn headers(&self) -> Result<Vec<(RunId, Vec<u8>)>, StoreError> {
        let pairs = self.ask(|trees| trees.headers.iter().collect::<sled::Result<Vec<_>>>())?;
        pairs
            .into_iter()
            .map(|(key, bytes)| match <[u8; 16]>::try_from(key.as_ref()) {
                Ok(run) => Ok((RunId::from_bytes(run), bytes.to_vec())),
                Err(_) => {
                    let detail = format!("the key of a header is {key:02x?}");
                    Err(StoreError::Damaged { path: self.dir.join("db"), detail })
                }
            })
            .collect()
    }

    fn witnessed(&self) -> Result<Vec<(RunId, Vec<u8>)>, StoreError> {
        Ok(self.witnessed.clone())
    }

    fn raw(&self) -> Result<Vec<u8>, StoreError> {
        let mut bytes = self.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        bytes.extend(evidence::all(&self.dir)?);
        Ok(bytes)
    }

    fn recovered(&self, lost: bool) {
        let found = std::mem::take(&mut *self.found.lock().unwrap_or_else(PoisonError::into_inner));
        if lost {
            evidence::keep(&self.dir, &found);
        }
    }

    fn put_blob(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        self.blobs.put(digest, bytes)
    }

    fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        self.blobs.get(digest)
    }

    fn place(&self) -> PathBuf {
        self.dir.clone()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let trees = self.trees.take();
        if let Err(detail) = caught(move || drop(trees)) {
            tracing::warn!(%detail, "sled panicked while it was closed; what was acknowledged had been synced before");
        }
    }
}

/// Calls sled; its panics are damage.
fn attempt<T>(db: &Path, work: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    let damaged = |detail| StoreError::Damaged { path: db.into(), detail };
    match caught(work) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(error))) if !is_content(&error) => {
            Err(StoreError::io("use", db, plain(error)))
        }
        Ok(Err(error)) => Err(damaged(format!("sled says: {error}"))),
        Err(panic) => Err(damaged(format!("sled panicked: {panic}"))),
    }
}

/// sled wraps what the system said into the text of its `Debug` form, `Os { code: 28, ... }`.
fn plain(error: io::Error) -> io::Error {
    let text = error.to_string();
    let code = text.strip_prefix("Os { code: ").and_then(|rest| rest.split_once(','));
    code.and_then(|(code, _)| code.parse().ok()).map_or(error, io::Error::from_raw_os_error)
}

/// sled reports its own lock, and content that it cannot make sense of, as I/O errors.
fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}

fn is_content(error: &io::Error) -> bool {
    use io::ErrorKind::InvalidData;
    use io::ErrorKind::Other;
    use io::ErrorKind::UnexpectedEof;
    matches!(error.kind(), InvalidData | UnexpectedEof)
        || (error.kind() == Other && !error.to_string().contains("could not acquire lock"))
}

fn key(run: RunId, seq: u64) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..16].copy_from_slice(run.as_bytes());
    key[16..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// Syncs every file of the database, and its directory: sled syncs neither.
fn sync_all_of(db: &Path) -> Result<(), StoreError> {
    let failed = |e| StoreError::io("sync", db, e);
    for file in std::fs::read_dir(db).map_err(failed)? {
        let file = file.map_err(failed)?;
        if file.file_type().map_err(failed)?.is_file() {
            let path = file.path();
            File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(|e| StoreError::io("sync", path, e))?;
        }
    }
    fsync::sync_dir(db).map_err(failed)
}
