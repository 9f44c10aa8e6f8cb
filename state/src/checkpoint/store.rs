//! The database: sled 0.34.7, opened and asked so that whatever it does, the journal goes on without it.
//!
//! It can fail, panic, or take the process with it while it recovers. A file `db.opening` stands beside it for as long
//! as it is being opened: a process that finds that file takes the database away first.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use super::values;
use super::values::Found;
use super::values::Update;
use crate::panics::caught;

/// The database holds little, and is read once.
const CACHE_BYTES: u64 = 1024 * 1024;
/// sled lets go of its lock a little after it was dropped (seen once in some 1,500 reopenings within one process).
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

/// An open database.
pub(super) struct Store {
    /// Always there, until dropped.
    db: Option<sled::Db>,
    dir: PathBuf,
}

/// Opens the database, and what is in it. What cannot be used is taken away, and an empty one made.
pub(super) fn open(dir: &Path) -> (Option<Store>, Option<Found>) {
    let (db, opening) = (dir.join("db"), dir.join("db.opening"));
    if opening.exists() {
        tracing::warn!(dir = %dir.display(), "a process died while it opened the checkpoint; it is made anew");
        return (anew(dir), None);
    }
    if !db.exists() {
        return (anew(dir), None);
    }
    match attempt(dir).and_then(|store| store.read().map(|found| (store, found))) {
        Ok((store, found)) => (Some(store), found),
        Err(error) => {
            tracing::warn!(dir = %dir.display(), error, "the checkpoint cannot be read; it is made anew");
            (anew(dir), None)
        }
    }
}

/// An empty database in place of the one that is there; `None` if there can be none.
pub(super) fn anew(dir: &Path) -> Option<Store> {
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
    /// What is in it; `None` if it is empty.
    fn read(&self) -> Result<Option<Found>, String> {
        let Some(db) = &self.db else { return Ok(None) };
        caught(|| values::read(db))?
    }

    /// Writes an update. If that fails, nothing more is written.
    pub(super) fn write(&mut self, update: Update, prefix: Option<&[u8]>) {
        let Some(db) = &self.db else { return };
        let result = caught(|| {
            let batch = values::batch(update, prefix)?;
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
