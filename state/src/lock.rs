//! One process at a time: a `flock` on `<dir>/lock`. The kernel lets go of it when the process ends, however
//! it ends. The file tells people about the process. The lock does not depend on its content.

use std::fmt;
use std::fs::File;
use std::fs::OpenOptions;
use std::fs::TryLockError;
use std::io;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use rustix::fs::OFlags;
use serde::Deserialize;
use serde::Serialize;

use crate::OpenError;
use crate::RunId;
use crate::Timestamp;

/// How long to try for the lock. [`lock_holder`] takes it for an instant to see whether it is free. That must
/// not make another process fail.
const PATIENCE: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(10);

/// The process that has the journal open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockHolder {
    /// The process. 0 if it has not written its pid yet.
    pub pid: u32,
    /// The process's purpose, as [`Journal::open`](crate::Journal::open) was told.
    pub purpose: String,
    /// When it took the lock.
    pub since: Timestamp,
    /// The first run that it appended to.
    pub run: Option<RunId>,
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            0 => write!(f, "a process that has not written down who it is")?,
            pid => write!(f, "process {pid} ({})", self.purpose)?,
        }
        match self.run {
            Some(run) => write!(f, ", run {run}"),
            None => Ok(()),
        }
    }
}

/// The process that has the journal in `dir` open at present. Changes nothing. A missing directory has no
/// holder.
///
/// # Errors
///
/// The system refused to open or to try the lock.
pub fn lock_holder(dir: &Path) -> Result<Option<LockHolder>, OpenError> {
    let path = dir.join("lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(source) => return Err(OpenError::Io { doing: "open", path, source }),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(read(&file).unwrap_or_else(unknown))),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { doing: "try the lock", path, source }),
    }
}

/// The lock, held until it is dropped.
#[derive(Debug)]
pub(crate) struct ProcessLock {
    file: File,
    holder: Mutex<LockHolder>,
}

impl ProcessLock {
    pub(crate) fn take(dir: &Path, purpose: &str) -> Result<ProcessLock, OpenError> {
        let path = dir.join("lock");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            // A link is not followed: its target is not ours to write.
            .custom_flags((OFlags::NOFOLLOW | OFlags::CLOEXEC).bits().cast_signed())
            .open(&path)
            .map_err(|source| OpenError::Io { doing: "open", path: path.clone(), source })?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => {
                    return Err(OpenError::Locked { path: dir.into(), holder: read(&file) });
                }
                Err(TryLockError::Error(source)) => {
                    return Err(OpenError::Io { doing: "lock", path, source });
                }
            }
        }
        let holder = LockHolder {
            pid: std::process::id(),
            purpose: purpose.into(),
            since: Timestamp::now(),
            run: None,
        };
        let lock = ProcessLock { file, holder: Mutex::new(holder) };
        lock.write(&lock.holder.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(lock)
    }

    /// Records the run that the process works on, the first time.
    pub(crate) fn works_on(&self, run: RunId) {
        let mut holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        if holder.run.is_none() {
            holder.run = Some(run);
            self.write(&holder);
        }
    }

    /// Written in place, as a rename would leave the lock on a file without a name. The content is for
    /// people. So a failure is no reason to stop.
    fn write(&self, holder: &LockHolder) {
        let result = serde_json::to_vec(holder).map_err(io::Error::from).and_then(|mut text| {
            text.push(b'\n');
            self.file.write_all_at(&text, 0)?;
            self.file.set_len(text.len() as u64)
        });
        if let Err(error) = result {
            tracing::warn!(%error, "cannot write into the lock file who holds the lock");
        }
    }
}

/// A torn read counts as an unknown holder.
fn read(mut file: &File) -> Option<LockHolder> {
    let mut text = Vec::new();
    file.read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

fn unknown() -> LockHolder {
    LockHolder { pid: 0, purpose: String::new(), since: Timestamp::from_micros(0), run: None }
}
