//! The kubelet's manifests directory, changed so that a crash leaves each file whole or absent.
//!
//! The kubelet reads every file there that does not begin with a dot, whatever its name ends with; so
//! nothing is ever staged under a plain name, and no copy is left beside a manifest.

use fulcrum_state::{Digest, fsync};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestsDir {
    path: PathBuf,
}

/// A file as it was: what an exact undo needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileImage {
    /// Its content; a manifest is text.
    pub content: String,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl ManifestsDir {
    /// The directory at `path`, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a file of it is.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The names of the files that the kubelet reads, sorted.
    ///
    /// # Errors
    /// When the directory cannot be read; the error names it.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let named = |error| with_path("read the manifests directory", &self.path, &error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(named)? {
            let entry = entry.map_err(named)?;
            if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                names.push(entry.file_name());
            }
        }
        names.sort();
        Ok(names)
    }

    /// The file as it is; `None` if there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is not text.
    pub fn read(&self, name: &str) -> io::Result<Option<FileImage>> {
        let path = self.file(name);
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(with_path("look at", &path, &error)),
        };
        if !metadata.is_file() {
            let error = io::Error::other("it is not a plain file, and could not be put back as it is");
            return Err(with_path("read", &path, &error));
        }
        let content = match fs::read_to_string(&path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(with_path("read", &path, &error)),
        };
        let mode = metadata.mode() & 0o7777;
        Ok(Some(FileImage { content, mode, uid: metadata.uid(), gid: metadata.gid() }))
    }

    /// Makes the file be exactly `image`. Atomic and durable: after a crash there is the old file or
    /// the new one.
    ///
    /// # Errors
    /// When it cannot be written; the old file is then still there.
    pub fn write(&self, name: &str, image: &FileImage) -> io::Result<()> {
        let path = self.file(name);
        let owner = Some((image.uid, image.gid));
        fsync::write_atomic(&path, image.content.as_bytes(), Some(image.mode), owner)
            .map_err(|error| with_path("write", &path, &error))
    }

    /// Takes away what a [`ManifestsDir::write`] of this file that was killed has left beside it.
    ///
    /// # Errors
    /// When the directory cannot be read or changed.
    pub fn sweep(&self, name: &str) -> io::Result<()> {
        let path = self.file(name);
        fsync::sweep(&path).map_err(|error| with_path("sweep beside", &path, &error))
    }

    /// Makes the file be gone, durably. No error if it is gone already.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.file(name);
        fsync::remove_durable(&path).map_err(|error| with_path("remove", &path, &error))
    }
}

impl FileImage {
    /// The same file with other content.
    #[must_use]
    pub fn with_content(&self, content: String) -> Self {
        Self { content, ..self.clone() }
    }

    /// Digest of the content.
    pub fn digest(&self) -> Digest {
        Digest::of(self.content.as_bytes())
    }
}

fn with_path(verb: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("could not {verb} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let manifests = ManifestsDir::new(dir.path());
        let path = manifests.file("a.yaml");
        fs::write(&path, "kind: Pod\n").unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
        fs::write(manifests.file(".staged"), "x").unwrap();
        let image = manifests.read("a.yaml").unwrap().unwrap();
        manifests.remove("a.yaml").unwrap();
        manifests.remove("a.yaml").unwrap();
        assert_eq!(manifests.read("a.yaml").unwrap(), None);
        assert!(manifests.names().unwrap().is_empty());
        manifests.write("a.yaml", &image).unwrap();
        assert_eq!(manifests.read("a.yaml").unwrap(), Some(image.clone()));
        assert_eq!((image.mode, manifests.names().unwrap().len()), (0o640, 1));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left beside it");
        fs::write(manifests.file(".fulcrum-a.yaml-x1y2z3.tmp"), "half a mani").unwrap();
        manifests.sweep("b.yaml").unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "another file's is another's business");
        manifests.sweep("a.yaml").unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "what a kill has left is gone");
    }
}
