//! The log as it was before sled opened it. sled cuts a damaged log off where it stops to understand it;
//! what was there is then only here.

use std::io;
use std::path::Path;

use crate::StoreError;
use crate::fsync;

/// A log that is larger is not read before it is opened: opening would take the memory of all of it. If sled
/// then cuts it off, the witness still says where the run broke off, and what is before that is whole; what
/// lay behind the damage is gone. A thousand pivots fit.
const KEPT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The log, empty if there is none yet, or if it is too large to be kept in memory.
pub(crate) fn log(dir: &Path) -> Result<Vec<u8>, StoreError> {
    let path = dir.join("db/db");
    match std::fs::metadata(&path) {
        Ok(found) if found.len() > KEPT_BYTES_MAX => Ok(Vec::new()),
        _ => read(&path),
    }
}

/// Keeps a log as `<dir>/db.damaged`, unless an earlier one is there: the first is the one with everything
/// in it. A failure is no reason not to open: then less is known of the damage later.
pub(crate) fn keep(dir: &Path, log: &[u8]) {
    let path = dir.join("db.damaged");
    if log.is_empty() || path.exists() {
        return;
    }
    let kept = fsync::write_atomic(&path, log, None, None);
    tracing::error!(path = %path.display(), ?kept, "the journal is damaged; its log is kept as it was found");
}

/// Everything that may hold entries: the log that was kept, if there is one, and the log.
pub(crate) fn all(dir: &Path) -> Result<Vec<u8>, StoreError> {
    let mut bytes = read(&dir.join("db.damaged"))?;
    bytes.extend(read(&dir.join("db/db"))?);
    Ok(bytes)
}

fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    match std::fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(|e| StoreError::io("read", path, e)),
    }
}
