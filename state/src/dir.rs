//! The state directory: it belongs to this user, has a known format, and its name is on the disk.

use std::fs::DirBuilder;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::Deserialize;
use serde::Serialize;

use crate::OpenError;
use crate::fsync;
use crate::log::FORMAT;
use crate::place::LOG;

/// The file systems that lose everything when the power goes: tmpfs and ramfs (statfs(2)).
const VOLATILE: [u32; 2] = [0x0102_1994, 0x8584_58f6];

/// The directory to which a journal of format 1 is carried over.
pub(crate) const CARRIED: &str = "carried";

#[derive(Serialize, Deserialize)]
struct Format {
    format: u64,
}

/// Makes the directory, for this user only. Makes its name, and those of all directories made above it,
/// survive a power cut.
pub(crate) fn make(dir: &Path) -> Result<(), OpenError> {
    let failed = |doing| move |source| OpenError::Io { doing, path: dir.into(), source };
    if std::fs::metadata(dir).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            make(parent)?;
        }
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(failed("make")(e)),
            _ => {}
        }
    }
    // Also when the directory existed: the process that made it may have been killed before the sync.
    match dir.canonicalize().map_err(failed("find"))?.parent() {
        Some(parent) => fsync::sync_dir(parent).map_err(failed("sync the parent of")),
        None => Ok(()),
    }
}

/// Checks a directory for writing. It must be ours, only we may write it, and it must hold a journal or
/// nothing. Returns the format, if there is a journal.
pub(crate) fn check(dir: &Path) -> Result<Option<u64>, OpenError> {
    let failed = |source| OpenError::Io { doing: "look at", path: dir.into(), source };
    let found = match std::fs::metadata(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found.map_err(failed)?,
    };
    check_owner(dir, &found)?;
    let format = format(dir)?;
    if format.is_none() {
        check_empty(dir)?;
    }
    Ok(format)
}

/// Checks a directory for reading only.
pub(crate) fn check_readable(dir: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Io { doing: "look at", path: dir.into(), source };
    std::fs::metadata(dir).map_err(failed)?;
    match format(dir)? {
        Some(FORMAT) if !is_unfinished(dir) => Ok(()),
        Some(found) => Err(OpenError::Older { path: dir.into(), found: found.min(FORMAT - 1) }),
        None => check_empty(dir),
    }
}

/// True if a carry-over was cut short after the format file was written.
fn is_unfinished(dir: &Path) -> bool {
    dir.join(CARRIED).join(LOG).exists()
}

fn check_owner(dir: &Path, found: &Metadata) -> Result<(), OpenError> {
    let is_unsafe = |detail: String| Err(OpenError::Unsafe { path: dir.into(), detail });
    let user = rustix::process::geteuid().as_raw();
    if !found.is_dir() {
        let source = io::ErrorKind::NotADirectory.into();
        return Err(OpenError::Io { doing: "use", path: dir.into(), source });
    }
    if found.uid() != user {
        return is_unsafe(format!(
            "it belongs to user {}, this process is user {user}; run as its owner, or change its owner (chown)",
            found.uid()
        ));
    }
    match found.mode() & 0o7777 {
        mode if mode & 0o022 != 0 => is_unsafe(format!(
            "its mode is {mode:04o}, others may write it; look at what is in it, then chmod go-w"
        )),
        _ => Ok(()),
    }
}

/// A directory without a format may hold what an interrupted first opening has left, and nothing else.
fn check_empty(dir: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Io { doing: "read", path: dir.into(), source };
    let mut has_journal = None;
    for file in std::fs::read_dir(dir).map_err(failed)? {
        let name = file.map_err(failed)?.file_name().to_string_lossy().into_owned();
        match name.as_str() {
            "lock" | "lost+found" => {}
            "db" | "log" | "blobs" | "index" | "v1" | "carried" | "witness" => has_journal = Some(name),
            "db.opening" | "db.damaged" => {}
            _ if name.starts_with(".fulcrum-") => {}
            _ => return Err(OpenError::Foreign { path: dir.into(), found: name }),
        }
    }
    match has_journal {
        None => Ok(()),
        Some(name) => {
            let detail = format!("the file is missing beside {name}/; it is written before anything else");
            Err(OpenError::Damaged { path: dir.join("format"), detail })
        }
    }
}

/// The content of the format file. `None` if there is none.
fn format(dir: &Path) -> Result<Option<u64>, OpenError> {
    let path = dir.join("format");
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(OpenError::Io { doing: "read", path, source }),
    };
    match serde_json::from_slice::<Format>(&text) {
        Ok(Format { format: format @ 1..=FORMAT }) => Ok(Some(format)),
        Ok(Format { format: 0 }) => Err(OpenError::Damaged { path, detail: "it says format 0".into() }),
        Ok(Format { format: found }) => Err(OpenError::Newer { path, found, supported: FORMAT }),
        Err(e) => {
            Err(OpenError::Damaged { path, detail: format!("it should be {{\"format\":{FORMAT}}}, but {e}") })
        }
    }
}

/// Records that the directory holds a journal of this format.
pub(crate) fn mark(dir: &Path) -> Result<(), OpenError> {
    let path = dir.join("format");
    let text = format!("{{\"format\":{FORMAT}}}\n");
    fsync::sweep(&path)
        .and_then(|()| fsync::write_atomic(&path, text.as_bytes(), None, None))
        .map_err(|source| OpenError::Io { doing: "write", path, source })
}

/// True if the directory's content is gone when the power goes.
pub(crate) fn is_volatile(dir: &Path) -> bool {
    let found = rustix::fs::statfs(dir);
    found.is_ok_and(|found| VOLATILE.iter().any(|kind| i128::from(found.f_type) == i128::from(*kind)))
}
