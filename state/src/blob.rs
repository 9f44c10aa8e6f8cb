//! Large values as files, named by the digest of their content. They are outside of sled, which would put
//! them into files that it never syncs, and they stay readable when it does not.

use std::io;
use std::path::Path;
use std::path::PathBuf;

use crate::Digest;
use crate::StoreError;
use crate::fsync;

/// The directory `blobs/`.
#[derive(Debug)]
pub(crate) struct BlobDir {
    path: PathBuf,
}

impl BlobDir {
    /// The blobs in `path`, a directory that is there.
    pub(crate) fn new(path: PathBuf) -> BlobDir {
        BlobDir { path }
    }

    pub(crate) fn path_of(&self, digest: &Digest) -> PathBuf {
        self.path.join(digest.to_string())
    }

    /// Writes the blob, or only makes its name durable if it is there: the process that wrote it may have
    /// been killed between the rename and the sync.
    pub(crate) fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path_of(digest);
        if std::fs::read(&path).is_ok_and(|kept| kept == bytes) {
            return sync(&self.path);
        }
        fsync::write_atomic(&path, bytes, Some(0o600), None).map_err(|e| StoreError::io("write", path, e))
    }

    /// The blobs that are there; other files are not looked at.
    pub(crate) fn list(&self) -> Result<Vec<Digest>, StoreError> {
        let failed = |e| StoreError::io("read", &self.path, e);
        let mut found = Vec::new();
        for file in std::fs::read_dir(&self.path).map_err(failed)? {
            found.extend(
                file.map_err(failed)?.file_name().to_str().and_then(|name| name.parse::<Digest>().ok()),
            );
        }
        Ok(found)
    }

    pub(crate) fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.path_of(digest);
        fsync::remove_durable(&path).map_err(|e| StoreError::io("remove", path, e))
    }

    pub(crate) fn get(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path_of(digest);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(StoreError::io("read", path, e)),
        }
    }
}

fn sync(dir: &Path) -> Result<(), StoreError> {
    fsync::sync_dir(dir).map_err(|e| StoreError::io("sync", dir, e))
}
