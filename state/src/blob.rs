//! Large blobs: files that are named by their run and the digest of their content.

use std::path::PathBuf;

use crate::Digest;
use crate::DiskError;
use crate::RunId;
use crate::disk::Disk;
use crate::log;

/// The directory of the files.
pub(crate) const BLOBS: &str = "blobs";

fn name(run: RunId, digest: &Digest) -> String {
    format!("{BLOBS}/{run}-{digest}")
}

/// Writes a blob, and returns when it and its name are on the disk.
pub(crate) fn put(disk: &dyn Disk, run: RunId, digest: &Digest, value: &[u8]) -> Result<(), DiskError> {
    log::make_filled(disk, &name(run, digest), 0, value).map(drop)
}

/// A blob that is a file, and its path: the file of any run that has it, a damaged one only if all are.
pub(crate) fn find(disk: &dyn Disk, digest: &Digest) -> Result<Option<(PathBuf, Vec<u8>)>, DiskError> {
    let ending = format!("-{digest}");
    let mut found = Ok(None);
    for name in names(disk)?.into_iter().filter(|name| name.ends_with(&ending)) {
        let name = format!("{BLOBS}/{name}");
        let read = disk.open(&name, false).and_then(|file| {
            let mut value = vec![0; usize::try_from(file.size()?).unwrap_or(usize::MAX)];
            let read = file.read_at(&mut value, 0)?;
            value.truncate(read);
            Ok(value)
        });
        let path = disk.path(&name);
        match read {
            Ok(value) if Digest::of(&value) == *digest => return Ok(Some((path, value))),
            Ok(value) => found = Ok(Some((path, value))),
            Err(error) => found = found.and(Err(DiskError::new("read", path, error))),
        }
    }
    found
}

/// Removes the files of these runs, and those that were never finished. `gone` says which runs.
pub(crate) fn remove(disk: &dyn Disk, gone: impl Fn(RunId) -> bool) -> Result<(), DiskError> {
    let mut removed = false;
    for name in names(disk)? {
        let run = name.get(..36).and_then(|run| run.parse().ok());
        if name.ends_with(".tmp") || run.is_some_and(&gone) {
            let name = format!("{BLOBS}/{name}");
            disk.remove(&name).map_err(|e| DiskError::new("remove", disk.path(&name), e))?;
            removed = true;
        }
    }
    if removed {
        disk.sync_dir(BLOBS).map_err(|e| DiskError::new("sync", disk.path(BLOBS), e))?;
    }
    Ok(())
}

fn names(disk: &dyn Disk) -> Result<Vec<String>, DiskError> {
    disk.list(BLOBS).map_err(|e| DiskError::new("list", disk.path(BLOBS), e))
}
