//! The format of the state directory: a number in `<dir>/format`, read before anything else is touched.

use std::io;
use std::path::Path;

use serde::Deserialize;
use serde::Serialize;

use crate::OpenError;
use crate::fsync;

const SUPPORTED: u64 = 1;

#[derive(Serialize, Deserialize)]
struct Format {
    format: u64,
}

/// Whether this version can read the directory; one without a format file is new.
pub(crate) fn check(dir: &Path) -> Result<(), OpenError> {
    let path = dir.join("format");
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound && dir.join("db").exists() => {
            let detail = "the file is missing beside a database; it was written before the database was";
            return Err(OpenError::Damaged { path, detail: detail.into() });
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(OpenError::Io { doing: "read", path, source }),
    };
    match serde_json::from_slice::<Format>(&text) {
        Ok(Format { format: 1..=SUPPORTED }) => Ok(()),
        Ok(Format { format: 0 }) => Err(OpenError::Damaged { path, detail: "it says format 0".into() }),
        Ok(Format { format: found }) => Err(OpenError::Newer { path, found, supported: SUPPORTED }),
        Err(e) => Err(OpenError::Damaged { path, detail: format!("it should be {{\"format\":1}}, but {e}") }),
    }
}

/// Writes the format file if there is none.
pub(crate) fn mark(dir: &Path) -> Result<(), OpenError> {
    let path = dir.join("format");
    if path.exists() {
        return Ok(());
    }
    let text = format!("{{\"format\":{SUPPORTED}}}\n");
    fsync::write_atomic(&path, text.as_bytes(), None, None).map_err(|source| OpenError::Io {
        doing: "write",
        path,
        source,
    })
}
