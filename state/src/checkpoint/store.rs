//! The database: sled 0.34.7. Whatever it does, the journal goes on without it.
//!
//! sled can fail, panic, or take the process with it while it recovers. A file `db.opening` stands beside the
//! database for as long as it is being opened. A process that finds that file removes the database first.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use bincode::Decode;
use bincode::Encode;
use bincode::config;

use crate::Digest;
use crate::Head;
use crate::RunId;
use crate::panics::caught;
use crate::place::Position;
use crate::shared::KeptState;

/// Every value begins with this version. A value of another version is not read.
const VERSION: u8 = 1;

/// The database holds little, and is read once.
const CACHE_BYTES: u64 = 1024 * 1024;
/// sled lets go of its lock a little after it was dropped. (This was seen once in some 1,500 reopenings
/// within one process.)
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

type States = Vec<(RunId, KeptState)>;

#[derive(Encode, Decode)]
struct StateV1 {
    seq: u64,
    hash: [u8; 32],
    at: (u32, u32),
    state: Vec<u8>,
}

/// An open database.
pub(super) struct Store {
    /// Always there, until it is dropped.
    db: Option<sled::Db>,
    dir: PathBuf,
}

/// Whether there is a database, or the beginning of one.
pub(super) fn is_there(dir: &Path) -> bool {
    dir.join("db").exists() || dir.join("db.opening").exists()
}

/// Opens the database, and reads its states. Replaces an unusable database by an empty one.
pub(super) fn open(dir: &Path) -> (Option<Store>, States) {
    let (db, opening) = (dir.join("db"), dir.join("db.opening"));
    if opening.exists() {
        tracing::warn!(dir = %dir.display(), "a process died while it opened the checkpoint; it is made anew");
        return (anew(dir), States::new());
    }
    if !db.exists() {
        return (anew(dir), States::new());
    }
    match attempt(dir).and_then(|store| store.read().map(|states| (store, states))) {
        Ok((store, states)) => (Some(store), states),
        Err(error) => {
            tracing::warn!(dir = %dir.display(), error, "the checkpoint cannot be read; it is made anew");
            (anew(dir), States::new())
        }
    }
}

/// Replaces the database by an empty one. `None` if that is not possible.
fn anew(dir: &Path) -> Option<Store> {
    let db = dir.join("db");
    let found = match db.is_dir() {
        true => std::fs::remove_dir_all(&db),
        false => std::fs::remove_file(&db),
    };
    let removed = match found {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e.to_string()),
        _ => Ok(()),
    };
    match removed.and_then(|()| attempt(dir)) {
        Ok(store) => Some(store),
        Err(error) => {
            tracing::warn!(dir = %dir.display(), error, "there is no checkpoint; the next opening reads the log instead");
            None
        }
    }
}

fn attempt(dir: &Path) -> Result<Store, String> {
    let (path, opening) = (dir.join("db"), dir.join("db.opening"));
    let said = |e: io::Error| e.to_string();
    std::fs::write(&opening, "").map_err(said)?;
    match DirBuilder::new().mode(0o700).create(&path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(said(e)),
        _ => {}
    }
    let config = sled::Config::new().path(&path).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    let begun = Instant::now();
    crate::fault::point("open/checkpoint");
    let opened = caught(|| {
        loop {
            match config.open() {
                Err(error) if is_locked(&error) && begun.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
                opened => break opened,
            }
        }
    });
    let removed = std::fs::remove_file(&opening).map_err(said);
    let db = opened?.map_err(|error| error.to_string())?;
    removed?;
    Ok(Store { db: Some(db), dir: dir.into() })
}

/// sled reports its own lock as an I/O error.
fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}

impl Store {
    /// The states in the database.
    fn read(&self) -> Result<States, String> {
        let Some(db) = &self.db else { return Ok(States::new()) };
        let pairs = || -> Result<States, String> {
            let pair = |pair: sled::Result<(sled::IVec, sled::IVec)>| {
                let (key, value) = pair.map_err(|error| error.to_string())?;
                let run = key.as_ref().try_into().map_err(|_| "the key of a state is no run")?;
                Ok((RunId::from_bytes(run), StateV1::decode(&value)?))
            };
            db.iter().map(pair).collect()
        };
        caught(pairs)?
    }

    /// Writes states. After a failure, it writes nothing more.
    pub(super) fn write(&mut self, states: Vec<(RunId, Option<KeptState>)>) {
        let Some(db) = &self.db else { return };
        let result = caught(|| {
            let mut batch = sled::Batch::default();
            for (run, state) in states {
                match state {
                    Some(kept) => batch.insert(run.as_bytes(), StateV1::of(kept).encoded()?),
                    None => batch.remove(run.as_bytes()),
                }
            }
            db.apply_batch(batch).and_then(|()| db.flush().map(drop)).map_err(|error| error.to_string())
        });
        if let Err(error) = result.and_then(|result| result) {
            tracing::warn!(dir = %self.dir.display(), error, "the checkpoint cannot be written");
            self.close();
        }
    }

    /// sled writes when it is closed, and panics if that fails.
    fn close(&mut self) {
        let db = self.db.take();
        if let Err(error) = caught(move || drop(db)) {
            tracing::warn!(dir = %self.dir.display(), error, "the checkpoint could not be closed");
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

impl StateV1 {
    fn of(kept: KeptState) -> StateV1 {
        let KeptState { head, at, state } = kept;
        StateV1 { seq: head.seq, hash: *head.hash.as_bytes(), at: (at.segment, at.offset), state }
    }

    fn encoded(&self) -> Result<Vec<u8>, String> {
        let mut bytes = vec![VERSION];
        bincode::encode_into_std_write(self, &mut bytes, config::standard()).map_err(|e| e.to_string())?;
        Ok(bytes)
    }

    fn decode(bytes: &[u8]) -> Result<KeptState, String> {
        let rest = match bytes.split_first() {
            Some((&VERSION, rest)) => rest,
            found => return Err(format!("a state is of version {:?}", found.map(|(version, _)| version))),
        };
        let (found, _): (StateV1, usize) =
            bincode::decode_from_slice(rest, config::standard()).map_err(|e| e.to_string())?;
        let head = Head { seq: found.seq, hash: Digest::from_bytes(found.hash) };
        let at = Position { segment: found.at.0, offset: found.at.1 };
        Ok(KeptState { head, at, state: found.state })
    }
}
