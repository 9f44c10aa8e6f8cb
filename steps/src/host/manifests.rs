//! The kubelet's manifests directory. After a crash each file is whole or absent.
//!
//! The kubelet reads every file there that does not begin with a dot, with any ending. So this module never
//! stages a file under a plain name, and leaves no copy beside a manifest.

use crate::component::Component;
use fulcrum_state::{Digest, fsync};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestsDir {
    path: PathBuf,
    /// The components whose file has another name than kubeadm gives it.
    names: BTreeMap<Component, String>,
}

/// The largest file that the kubelet reads.
const READ_BYTES_MAX: u64 = 10 << 20;

/// A file as it was. An exact undo needs it.
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
        Self { path: path.into(), names: BTreeMap::new() }
    }

    /// As [`ManifestsDir::new`], for components whose manifests have other names than kubeadm gives them.
    /// Each is found, and restored, under its own name.
    #[must_use]
    pub fn naming(self, names: &BTreeMap<Component, String>) -> Self {
        Self { names: names.clone(), ..self }
    }

    /// The path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it. Callers ask for a component's manifest by [`Component::manifest_file`], even
    /// if it has another name here.
    pub fn file(&self, name: &str) -> PathBuf {
        let component = Component::ALL.into_iter().find(|component| component.manifest_file() == name);
        let own = component.and_then(|component| self.names.get(&component));
        self.path.join(own.map_or(name, String::as_str))
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

    /// What the kubelet reads in this file, which may be a link to one. `None` where it reads nothing: no
    /// file, a directory, a pipe, more than 10 MiB.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn read_as_the_kubelet(&self, name: &OsStr) -> io::Result<Option<Vec<u8>>> {
        let path = self.path.join(name);
        let absent = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Ok(None),
            _ => Err(with_path("read", &path, &error)),
        };
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() && metadata.len() <= READ_BYTES_MAX => {}
            Ok(_) => return Ok(None),
            Err(error) => return absent(error),
        }
        fs::read(&path).map(Some).or_else(absent)
    }

    /// Makes the file be exactly `image`. Atomic and durable: after a crash there is the old file or the new
    /// one.
    ///
    /// # Errors
    /// When the file cannot be written. The old file is then still there.
    pub fn write(&self, name: &str, image: &FileImage) -> io::Result<()> {
        let path = self.file(name);
        let owner = Some((image.uid, image.gid));
        fsync::write_atomic(&path, image.content.as_bytes(), Some(image.mode), owner)
            .map_err(|error| with_path("write", &path, &error))
    }

    /// Removes what a killed [`ManifestsDir::write`] of this file has left beside it.
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
    /// This file with other content.
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
    #[test]
    fn a_manifest_is_kept_under_its_own_name() {
        let dir = tempfile::tempdir().unwrap();
        let names = [(Component::Scheduler, "40-scheduler.yaml".to_owned())].into();
        let manifests = ManifestsDir::new(dir.path()).naming(&names);
        let file = Component::Scheduler.manifest_file();
        fs::write(dir.path().join("40-scheduler.yaml"), "kind: Pod\n").unwrap();
        let image = manifests.read(file).unwrap().unwrap();
        manifests.remove(file).unwrap();
        assert!(manifests.names().unwrap().is_empty());
        manifests.write(file, &image).unwrap();
        assert_eq!(manifests.names().unwrap(), ["40-scheduler.yaml"]);
        assert_eq!(manifests.file("kube-apiserver.yaml"), dir.path().join("kube-apiserver.yaml"));
    }

    #[test]
    fn the_kubelet_follows_links_and_reads_no_directory() {
        let dir = tempfile::tempdir().unwrap();
        let manifests = ManifestsDir::new(dir.path().join("m"));
        fs::create_dir_all(manifests.path().join("old")).unwrap();
        fs::write(dir.path().join("elsewhere"), "x").unwrap();
        for (link, to) in [("link", "../elsewhere"), ("dangling", "nowhere")] {
            std::os::unix::fs::symlink(to, manifests.path().join(link)).unwrap();
        }
        let read = |name: &str| manifests.read_as_the_kubelet(OsStr::new(name)).unwrap();
        assert_eq!(read("link").as_deref(), Some(&b"x"[..]));
        assert_eq!((read("dangling"), read("old"), read("absent")), (None, None, None));
    }
}
