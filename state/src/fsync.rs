//! Files that are whole or absent, after a kill and after a power cut. A program may use it for its own
//! files: it knows nothing of journals.
//!
//! The temporary file lies in the directory of the target, as a rename does not cross file systems. Its name
//! starts with a dot, and programs that watch a directory pass over such names. A kill can leave one behind,
//! named `.fulcrum-<name>-*.tmp`. Nothing ever reads it, and [`sweep`] removes it.

use std::fs::File;
use std::fs::Permissions;
use std::io;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::fchown;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Writes `bytes` to `path`, replaces an existing file, and returns when the new one is on the disk.
///
/// `mode` is the mode of the new file, by default 0600. `owner` is its user and group, by default those of
/// the process. Both are set before the file has its name.
///
/// # Errors
///
/// What the system refused. Then the old file is still there. If only the sync of the directory failed, the
/// new file is there. There is never a part of it.
pub fn write_atomic(
    path: &Path,
    bytes: &[u8],
    mode: Option<u32>,
    owner: Option<(u32, u32)>,
) -> io::Result<()> {
    let mut staged = Staged::create(path)?;
    staged.write_all(bytes)?;
    if let Some((user, group)) = owner {
        fchown(staged.file.as_file(), Some(user), Some(group))?;
    }
    if let Some(mode) = mode {
        staged.file.as_file().set_permissions(Permissions::from_mode(mode))?;
    }
    staged.commit()
}

/// A file in the making, for what is too large to be in memory at once. It has its name, and is on the disk, once
/// [`Staged::commit`] returns. Dropped before that, it leaves nothing. Its mode is 0600.
#[derive(Debug)]
pub struct Staged {
    file: NamedTempFile,
    path: PathBuf,
}

impl Staged {
    /// Begins a file that will be at `path`.
    ///
    /// # Errors
    ///
    /// What the system refused.
    pub fn create(path: &Path) -> io::Result<Self> {
        let dir = parent(path)?;
        let file =
            tempfile::Builder::new().prefix(&temporary_prefix(path)).suffix(SUFFIX).tempfile_in(dir)?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Gives the file its name, replaces an existing one, and returns when it is on the disk.
    ///
    /// # Errors
    ///
    /// As [`write_atomic`].
    pub fn commit(self) -> io::Result<()> {
        let Self { file, path } = self;
        file.as_file().sync_all()?;
        crate::fault::point("file/before-rename");
        file.persist(&path).map_err(|e| e.error)?;
        crate::fault::point("file/before-dir-sync");
        sync_dir(parent(&path)?)
    }
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Gives the file at `from` the name `to` in the same directory, and returns when that is on the disk. Replaces an
/// existing file. Needs no room.
///
/// # Errors
///
/// What the system refused. If only the sync of the directory failed, the file has its new name.
pub fn rename_durable(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)?;
    crate::fault::point("file/before-dir-sync");
    sync_dir(parent(to)?)
}

/// Removes the file at `path` and returns when that is on the disk. A missing file is no error.
///
/// # Errors
///
/// What the system refused.
pub fn remove_durable(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        // Also when the file was missing: the process that removed it may have been killed before the sync.
        _ => sync_dir(parent(path)?),
    }
}

/// Removes what a killed [`write_atomic`] to `path` has left beside it. No other process may be writing to
/// `path` meanwhile.
///
/// # Errors
///
/// What the system refused.
pub fn sweep(path: &Path) -> io::Result<()> {
    let prefix = temporary_prefix(path);
    for entry in std::fs::read_dir(parent(path)?)? {
        let entry = entry?;
        let name = entry.file_name();
        let left = name.to_string_lossy();
        if left.starts_with(&prefix) && left.ends_with(SUFFIX) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Makes the names in the directory `path` survive a power cut.
///
/// # Errors
///
/// What the system refused.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

const SUFFIX: &str = ".tmp";

fn temporary_prefix(path: &Path) -> String {
    format!(".fulcrum-{}-", path.file_name().unwrap_or_default().to_string_lossy())
}

fn parent(path: &Path) -> io::Result<&Path> {
    match path.parent() {
        Some(dir) if dir.as_os_str().is_empty() => Ok(Path::new(".")),
        Some(dir) => Ok(dir),
        None => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} names no file", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_with_the_mode_and_owner_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.yaml");
        write_atomic(&path, b"one", None, None).unwrap();
        let first = path.metadata().unwrap();
        assert_eq!(first.mode() & 0o7777, 0o600);

        write_atomic(&path, b"two", Some(0o644), Some((first.uid(), first.gid()))).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o644);
        assert_eq!(names(dir.path()), ["settings.yaml"]);
    }

    #[test]
    fn a_staged_file_has_its_name_only_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large");
        let mut dropped = Staged::create(&path).unwrap();
        dropped.write_all(b"half").unwrap();
        assert!(!path.exists());
        drop(dropped);
        assert!(names(dir.path()).is_empty());
        let mut staged = Staged::create(&path).unwrap();
        staged.write_all(b"one").unwrap();
        staged.write_all(b"two").unwrap();
        staged.commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"onetwo");
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
        assert_eq!(names(dir.path()), ["large"]);
    }

    #[test]
    fn a_refused_write_leaves_the_old_file_and_no_rest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        assert!(write_atomic(&path, b"one", None, None).is_err(), "a directory cannot be replaced by a file");
        assert_eq!(names(dir.path()), ["taken"]);
    }

    #[test]
    fn to_remove_what_is_not_there_is_fine() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write_atomic(&path, b"one", None, None).unwrap();
        remove_durable(&path).unwrap();
        remove_durable(&path).unwrap();
        assert!(names(dir.path()).is_empty());
        assert!(remove_durable(&dir.path().join("no/such")).is_err());
    }
}
