//! The files from before a renewal, in a directory that only root can look into. They have keys in them: the
//! journal has their names and digests, and never what is in them.

use super::read::{Leads, kubeconfig, pem_file};
use super::renewable::Renewable;
use crate::change;
use fulcrum_engine::state::{RunId, fsync};
use fulcrum_evidence::sha256_hex;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The directory of a run's files, below that of the run's archive.
const DIR: &str = "certificates";
/// Only root reads a copy.
const MODE: u32 = 0o600;

/// A file from before a renewal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFile {
    /// Where it belongs.
    pub path: PathBuf,
    /// Its copy.
    pub copy: PathBuf,
    /// The SHA-256 of its content.
    pub sha256: String,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its last change.
    pub changed: Timestamp,
}

/// The files of one run. `archive` is the directory of all runs' archives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptDir {
    dir: PathBuf,
}

impl KeptDir {
    /// The files of this run.
    pub fn of(archive: &Path, run: RunId) -> Self {
        Self { dir: archive.join(run.to_string()).join(DIR) }
    }

    /// Whether there are any.
    pub fn exists(&self) -> bool {
        self.dir.exists()
    }

    /// Copies every file of this certificate. All copies are on the disk when this returns.
    ///
    /// # Errors
    /// When a file cannot be read, or a copy cannot be written; the error names it.
    pub fn keep(&self, name: Renewable, root: &Path) -> io::Result<Vec<KeptFile>> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        for dir in self.dir.ancestors().skip(1).take(3) {
            fsync::sync_dir(dir)?;
        }
        name.files(root).into_iter().map(|path| self.keep_one(path, root)).collect()
    }

    fn keep_one(&self, path: PathBuf, root: &Path) -> io::Result<KeptFile> {
        let (bytes, metadata) = read(&path).map_err(|error| with_path("read", &path, &error))?;
        let below = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('/', "_");
        let copy = self.dir.join(below);
        fsync::sweep(&copy)?;
        fsync::write_atomic(&copy, &bytes, Some(MODE), None)
            .map_err(|error| with_path("write", &copy, &error))?;
        let changed = metadata.modified().and_then(|at| Timestamp::try_from(at).map_err(io::Error::other))?;
        Ok(KeptFile {
            sha256: sha256_hex(&bytes),
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            changed,
            path,
            copy,
        })
    }

    /// Removes these copies, and the directory with the last one. No error if they are gone.
    ///
    /// # Errors
    /// What the system refused.
    pub fn forget_files(&self, files: &[KeptFile]) -> io::Result<()> {
        if !self.exists() {
            return Ok(());
        }
        for file in files {
            fsync::remove_durable(&file.copy)?;
        }
        match fs::read_dir(&self.dir)?.next() {
            None => self.forget(),
            Some(_) => Ok(()),
        }
    }

    /// The end of the certificate that ends first. `None` if there is none.
    pub fn first_end(&self) -> Option<Timestamp> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let end = |copy: PathBuf| match kubeconfig(&copy) {
            Ok(Leads::Inline(found)) => Some(found.certificate.not_after),
            _ => pem_file(&copy).ok().map(|found| found.certificate.not_after),
        };
        entries.filter_map(|entry| end(entry.path())).min()
    }

    /// Removes the copies, durably. No error if there are none.
    ///
    /// # Errors
    /// What the system refused.
    pub fn forget(&self) -> io::Result<()> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            fsync::remove_durable(&entry?.path())?;
        }
        fs::remove_dir(&self.dir)?;
        self.dir.parent().map_or(Ok(()), fsync::sync_dir)
    }

    /// Removes the copies of every other run: no rollback will ask for them. Returns how many runs had some.
    ///
    /// # Errors
    /// What the system refused.
    pub fn forget_others(&self, archive: &Path) -> io::Result<usize> {
        let mut forgotten = 0;
        for entry in fs::read_dir(archive)? {
            let other = Self { dir: entry?.path().join(DIR) };
            if other != *self && other.exists() {
                other.forget()?;
                forgotten += 1;
            }
        }
        Ok(forgotten)
    }
}

/// What a file is, compared with what was kept of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// It is what was kept.
    Same,
    /// It is another one, or is gone.
    Other,
}

impl KeptFile {
    /// Compares the file as it is with what was kept.
    pub fn compare(&self) -> Compared {
        match read(&self.path) {
            Ok((bytes, metadata))
                if sha256_hex(&bytes) == self.sha256
                    && (metadata.mode() & 0o7777, metadata.uid(), metadata.gid())
                        == (self.mode, self.uid, self.gid) =>
            {
                Compared::Same
            }
            _ => Compared::Other,
        }
    }

    /// Makes the file be what was kept: content, mode, owner, and when it was changed last. A process that was
    /// started before the renewal then holds what its file has, and the times say so.
    ///
    /// # Errors
    /// When the copy is not what was kept, or the file cannot be written. The file is whole in each case.
    pub fn restore(&self) -> io::Result<()> {
        if self.compare() == Compared::Other {
            let before = self.state_now();
            let (bytes, _) =
                read(&self.copy).map_err(|error| with_path("read the copy", &self.copy, &error))?;
            if sha256_hex(&bytes) != self.sha256 {
                let error = io::Error::other("its digest is not the one in the journal");
                return Err(with_path("use the copy", &self.copy, &error));
            }
            fsync::sweep(&self.path)?;
            fsync::write_atomic(&self.path, &bytes, Some(self.mode), Some((self.uid, self.gid)))
                .map_err(|error| with_path("restore", &self.path, &error))?;
            change::record(change::file(&self.path, before, Some(self.state())));
        }
        let file = File::options().write(true).open(&self.path)?;
        file.set_modified(self.changed.into())?;
        file.sync_all()
    }

    /// What a change says of the file as it was kept.
    pub fn state(&self) -> serde_json::Value {
        change::state_of_digest(&self.sha256, self.mode, (self.uid, self.gid))
    }

    /// What a change says of the file as it is. `None` if it cannot be read.
    pub fn state_now(&self) -> Option<serde_json::Value> {
        let (bytes, metadata) = read(&self.path).ok()?;
        let owner = Some((metadata.uid(), metadata.gid()));
        Some(change::file_state(&bytes, metadata.mode() & 0o7777, owner))
    }
}

fn read(path: &Path) -> io::Result<(Vec<u8>, fs::Metadata)> {
    Ok((fs::read(path)?, fs::metadata(path)?))
}

fn with_path(verb: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("could not {verb} {}: {error}", path.display()))
}
