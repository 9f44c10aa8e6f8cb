//! The kubelet's manifests directory. After a crash each file is whole or absent.
//!
//! The kubelet reads every file there that does not begin with a dot, with any ending. So this module never
//! stages a file under a plain name.
//!
//! A manifest that was taken away leaves a *spare* behind: a copy whose name begins with a dot. It can become
//! the manifest by a rename, also when the file system is full. There is a spare only while there is no
//! manifest.

use crate::change;
use crate::component::Component;
use fulcrum_state::{Digest, fsync};
use serde::{Deserialize, Serialize};
use serde_json::Value;
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
    pub(crate) fn naming(self, names: &BTreeMap<Component, String>) -> Self {
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
    /// one. Its spare is used up: a spare that is exactly `image` needs no new block of the disk.
    ///
    /// # Errors
    /// When the file cannot be written. The old file is then still there.
    pub fn write(&self, name: &str, image: &FileImage) -> io::Result<()> {
        let (path, spare) = (self.file(name), self.spare(name));
        let before = self.read(name).ok().flatten();
        let is_spare = self.read_spare(name)?.as_ref() == Some(image);
        match is_spare {
            true => {
                fsync::rename_durable(&spare, &path).map_err(|error| with_path("restore", &path, &error))?;
            }
            false => write_image(&path, image)?,
        }
        self.record(name, before.as_ref(), Some(image));
        if is_spare { Ok(()) } else { self.sweep(name) }
    }

    /// Makes the file be gone, durably, and be its own spare. No error if it is gone already.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub(crate) fn set_aside(&self, name: &str) -> io::Result<()> {
        let path = self.file(name);
        let before = self.read(name).ok().flatten();
        match fsync::rename_durable(&path, &self.spare(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(with_path("set aside", &path, &error)),
            Ok(()) => {
                self.record(name, before.as_ref(), None);
                Ok(())
            }
        }
    }

    /// Makes `image` the spare of a file that is gone. Does nothing while the file is there.
    ///
    /// # Errors
    /// When the spare cannot be written. The earlier one is then still there.
    pub(crate) fn lay_by(&self, name: &str, image: &FileImage) -> io::Result<()> {
        match self.file(name).exists() || self.read_spare(name)?.as_ref() == Some(image) {
            true => Ok(()),
            false => write_image(&self.spare(name), image),
        }
    }

    /// Removes what a killed process has left beside this file: a part of a [`ManifestsDir::write`], and a
    /// spare beside the file that it became.
    ///
    /// # Errors
    /// When the directory cannot be read or changed.
    pub fn sweep(&self, name: &str) -> io::Result<()> {
        let (path, spare) = (self.file(name), self.spare(name));
        let swept = fsync::sweep(&path).and_then(|()| fsync::sweep(&spare));
        swept.map_err(|error| with_path("sweep beside", &path, &error))?;
        match path.exists() && spare.exists() {
            true => fsync::remove_durable(&spare).map_err(|error| with_path("remove", &spare, &error)),
            false => Ok(()),
        }
    }

    /// The spare of the file; `None` if there is none.
    ///
    /// # Errors
    /// As [`ManifestsDir::read`].
    pub(crate) fn read_spare(&self, name: &str) -> io::Result<Option<FileImage>> {
        self.read(&file_name(&self.spare(name)))
    }

    /// The path of the file's spare. The kubelet does not read it.
    pub fn spare(&self, name: &str) -> PathBuf {
        self.path.join(format!(".fulcrum-spare-{}", file_name(&self.file(name))))
    }

    /// Makes the file be gone, durably. No error if it is gone already.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.file(name);
        let before = self.read(name).ok().flatten();
        fsync::remove_durable(&path).map_err(|error| with_path("remove", &path, &error))?;
        self.record(name, before.as_ref(), None);
        Ok(())
    }

    /// Records that a step finds the file as it would have written it.
    pub(crate) fn record_found(&self, name: &str, image: &FileImage) {
        change::record(change::found(&self.file(name), image.state()));
    }

    /// Records that the file was one and is the other, with the step that is at work.
    pub(crate) fn record(&self, name: &str, before: Option<&FileImage>, after: Option<&FileImage>) {
        if before != after {
            let [before, after] = [before, after].map(|image| image.map(FileImage::state));
            change::record(change::file(&self.file(name), before, after));
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn write_image(path: &Path, image: &FileImage) -> io::Result<()> {
    let owner = Some((image.uid, image.gid));
    fsync::write_atomic(path, image.content.as_bytes(), Some(image.mode), owner)
        .map_err(|error| with_path("write", path, &error))
}

impl FileImage {
    /// This file with other content.
    #[must_use]
    pub fn with_content(&self, content: String) -> Self {
        Self { content, ..self.clone() }
    }

    /// What a change says of it.
    fn state(&self) -> Value {
        change::file_state(self.content.as_bytes(), self.mode, Some((self.uid, self.gid)))
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

    /// A file system of 16 blocks. `None` if this process may not mount one.
    fn small_disk() -> Option<Mounted> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", "size=64k", "none"]).arg(dir.path()).status();
        mounted.is_ok_and(|status| status.success()).then_some(Mounted(dir))
    }

    struct Mounted(tempfile::TempDir);

    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg(self.0.path()).status();
        }
    }

    #[test]
    fn a_manifest_comes_back_on_a_full_disk() {
        let Some(disk) = small_disk() else {
            return crate::harness::skipped("no file system can be mounted");
        };
        let manifests = ManifestsDir::new(disk.0.path());
        let image = |content: &str| FileImage { content: content.to_owned(), mode: 0o600, uid: 0, gid: 0 };
        let [first, second] = ["kind: Pod\n", "kind: Pod # renewed\n"].map(image);
        manifests.write("a.yaml", &first).unwrap();
        manifests.set_aside("a.yaml").unwrap();
        manifests.set_aside("a.yaml").unwrap();
        assert!(manifests.names().unwrap().is_empty(), "the kubelet reads it");
        manifests.lay_by("a.yaml", &second).unwrap();
        let full = fs::write(manifests.file("filler"), vec![0; 1 << 20]);
        assert_eq!(full.unwrap_err().kind(), io::ErrorKind::StorageFull);
        let refused = manifests.write("a.yaml", &first).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull, "{refused}");
        manifests.write("a.yaml", &second).unwrap();
        assert_eq!(manifests.read("a.yaml").unwrap(), Some(second));
        assert!(!manifests.spare("a.yaml").exists());
        manifests.lay_by("a.yaml", &first).unwrap();
        assert!(!manifests.spare("a.yaml").exists(), "there is no spare beside the manifest");
    }

    /// A spare that is not what is wanted, and what a kill leaves.
    #[test]
    fn no_spare_stays_beside_a_manifest() {
        let dir = tempfile::tempdir().unwrap();
        let names = [(Component::Scheduler, "40-scheduler.yaml".to_owned())].into();
        let manifests = ManifestsDir::new(dir.path()).naming(&names);
        let file = Component::Scheduler.manifest_file();
        let image = FileImage { content: "kind: Pod\n".to_owned(), mode: 0o640, uid: 0, gid: 0 };
        manifests.lay_by(file, &image.with_content("other".to_owned())).unwrap();
        manifests.write(file, &image).unwrap();
        let left = || fs::read_dir(dir.path()).unwrap().count();
        assert_eq!((manifests.read(file).unwrap(), left()), (Some(image), 1));
        fs::write(manifests.spare(file), "left by a kill").unwrap();
        manifests.sweep(file).unwrap();
        assert_eq!(left(), 1);
        manifests.remove(file).unwrap();
        manifests.sweep(file).unwrap();
        assert_eq!(left(), 0);
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
