//! Carries a journal of format 1 over to this one. Format 1 had sled, a witness beside it, and blobs by their
//! digest.
//!
//! The new journal is built in `carried/` and is on the disk before the format file says 2. From then on only
//! renames are left. If this process is killed, the next opening ends them. The old journal stays in `v1/`,
//! whole, until runs are pruned. Entries keep their hashes.

// The bytes of format 1.
mod v1;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::Digest;
use crate::DiskError;
use crate::MAX_INLINE_BLOB_BYTES;
use crate::OpenError;
use crate::Options;
use crate::Predecessor;
use crate::RunId;
use crate::active::Active;
use crate::blob;
use crate::blob::BLOBS;
use crate::commit::Staged;
use crate::dir;
use crate::dir::CARRIED;
use crate::disk::Disk;
use crate::disk::SystemDisk;
use crate::fsync;
use crate::index::Index;
use crate::log::Tail;
use crate::place::LOG;
use crate::record::BlobContent;
use crate::record::LostContent;
use crate::record::RunContent;
use crate::shared::Shared;

/// The directory of the old journal.
const OLD: &str = "v1";

/// Carries a journal of format 1 over. The caller holds the lock.
pub(crate) fn carry_over(dir: &Path, options: Options) -> Result<(), OpenError> {
    let carried = dir.join(CARRIED);
    remove_all(&carried)?;
    let old = v1::Journal::open(dir)?;
    std::fs::create_dir(&carried).map_err(failed("make", &carried))?;
    let disk: Arc<dyn Disk> = Arc::new(SystemDisk::new(carried));
    let count = build(&old, disk, dir, options).map_err(OpenError::Disk)?;
    drop(old);
    fsync::sync_dir(dir).map_err(failed("sync", dir))?;
    crate::fault::point("carry/built");
    dir::mark(dir)?;
    tracing::info!(dir = %dir.display(), runs = count, "the journal was carried over to format 2");
    finish(dir)
}

/// Ends the renames that [`carry_over`] began.
pub(crate) fn finish(dir: &Path) -> Result<(), OpenError> {
    let (carried, old) = (dir.join(CARRIED), dir.join(OLD));
    if !carried.exists() {
        return Ok(());
    }
    if carried.join(LOG).exists() {
        match std::fs::create_dir(&old) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(failed("make", &old)(e)),
            _ => {}
        }
        fsync::write_atomic(&old.join("format"), b"{\"format\":1}\n", None, None)
            .map_err(failed("write", &old))?;
        rename(&dir.join("db"), &old.join("db"))?;
        rename(&dir.join("witness"), &old.join("witness"))?;
        rename(&dir.join("db.damaged"), &old.join("db.damaged"))?;
        if carried.join(BLOBS).exists() {
            rename(&dir.join(BLOBS), &old.join(BLOBS))?;
            rename(&carried.join(BLOBS), &dir.join(BLOBS))?;
        }
        crate::fault::point("carry/old-aside");
        // The log is the mark that this is not done: its name moves last.
        for moved in [&old, &carried, dir] {
            fsync::sync_dir(moved).map_err(failed("sync", moved))?;
        }
        rename(&carried.join(LOG), &dir.join(LOG))?;
        fsync::sync_dir(dir).map_err(failed("sync", dir))?;
    }
    remove_all(&carried)
}

/// Removes the old journal.
pub(crate) fn forget(dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(dir.join(OLD)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => fsync::sync_dir(dir),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), OpenError> {
    match std::fs::rename(from, to) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("rename", from)(e)),
        _ => Ok(()),
    }
}

fn remove_all(path: &Path) -> Result<(), OpenError> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(e)),
        _ => Ok(()),
    }
}

fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> OpenError {
    move |source| OpenError::Io { doing, path: path.into(), source }
}

/// Writes every run into a new log. Returns how many there are.
fn build(old: &v1::Journal, disk: Arc<dyn Disk>, dir: &Path, options: Options) -> Result<usize, DiskError> {
    for made in [LOG, BLOBS] {
        disk.make_dir(made).map_err(|e| DiskError::new("make", disk.path(made), e))?;
    }
    disk.sync_dir("").map_err(|e| DiskError::new("sync", disk.path(""), e))?;
    let tail = Tail { commit: 0, damaged: false, previous: 0 };
    let mut active = Active::open(disk.clone(), options, None, tail)?;
    let shared = Shared::new(disk, Index::default(), true);
    let mut staged = Staged::default();
    let mut count = 0;
    let most = active.commit_max();
    let mut write = |part: Staged, staged: &mut Staged| -> Result<(), DiskError> {
        if staged.bytes.len() + part.bytes.len() > most {
            let full = std::mem::take(staged);
            active.write_staged(full, &shared).map_err(|error| error.error())?;
        }
        staged.join(part);
        Ok(())
    };
    for run in old.runs().map_err(|error| error.at(dir))? {
        count += 1;
        for part in parts(&run, dir, shared.disk.as_ref())? {
            write(part, &mut staged)?;
        }
    }
    if !staged.is_empty() {
        active.write_staged(staged, &shared).map_err(|error| error.error())?;
    }
    Ok(count)
}

/// The records of a run, each by itself.
fn parts(run: &v1::Run, dir: &Path, disk: &dyn Disk) -> Result<Vec<Staged>, DiskError> {
    let one = |write: &dyn Fn(&mut Staged)| {
        let mut staged = Staged::default();
        write(&mut staged);
        staged
    };
    let mut parts = Vec::new();
    if let Some((kind, created)) = &run.header {
        let after: Option<Predecessor> = None;
        let content = RunContent { run: run.run, kind: kind.clone(), created: *created, after };
        parts.push(one(&|staged| _ = staged.run(content.clone())));
    }
    let named: BTreeSet<Digest> = run.entries.iter().flat_map(|entry| digests(&entry.body)).collect();
    for digest in named {
        if let Some(content) = carried_blob(run.run, digest, dir, disk)? {
            parts.push(one(&|staged| staged.blob(content.clone())));
        }
    }
    for entry in &run.entries {
        let is_line = !entry.body.contains(['\n', '\r']);
        let value: Option<&RawValue> = serde_json::from_str(&entry.body).ok();
        match value.is_some_and(|value| is_line && value.get() == entry.body) {
            true => parts.push(one(&|staged| staged.entry(entry))),
            false => parts.push(one(&|staged| staged.text_entry(entry))),
        }
    }
    if let Some((seq, detail)) = &run.lost {
        let lost = LostContent { run: run.run, seq: *seq, detail: detail.clone() };
        parts.push(one(&|staged| staged.lost(lost.clone())));
    }
    Ok(parts)
}

/// A blob of the old journal, if it is there. A large one becomes a file of the new journal.
fn carried_blob(
    run: RunId,
    digest: Digest,
    dir: &Path,
    disk: &dyn Disk,
) -> Result<Option<BlobContent>, DiskError> {
    let path = dir.join(BLOBS).join(digest.to_string());
    let value = match std::fs::read(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|e| DiskError::new("read", path, e))?,
    };
    if value.len() <= MAX_INLINE_BLOB_BYTES {
        return Ok(Some(BlobContent::inline(run, digest, &value)));
    }
    blob::put(disk, run, &digest, &value)?;
    Ok(Some(BlobContent::file(run, digest, value.len() as u64)))
}

/// The digests that a body names. In format 1, any 64 hexadecimal digits in a row may be one.
fn digests(body: &str) -> impl Iterator<Item = Digest> + '_ {
    body.split(|c: char| !c.is_ascii_hexdigit())
        .filter(|word| word.len() == 64)
        .filter_map(|word| word.parse().ok())
}
