//! The only I/O seam of the journal: a directory with files, named by their paths below it.
//!
//! The log knows nothing else of the system. So a disk that fails, fills up or loses its power can take its
//! place ([`MemoryDisk`](crate::MemoryDisk)).

use std::fs::DirBuilder;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use crate::fsync;

/// What stands for a piece that cannot be read: a byte that no record has.
pub(crate) const UNREADABLE: u8 = 0xff;
/// The pieces in which a part of a file is read that cannot be read as a whole.
const PIECE_BYTES: u64 = 512;

/// A directory with files.
pub trait Disk: Send + Sync + 'static {
    /// The names in a directory. Empty if it does not exist.
    ///
    /// # Errors
    ///
    /// What the system refused.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;
    /// Makes a directory that only this user may read. An existing directory is no error.
    ///
    /// # Errors
    ///
    /// What the system refused.
    fn make_dir(&self, dir: &str) -> io::Result<()>;
    /// Opens an existing file. With `write`, for writing, too.
    ///
    /// # Errors
    ///
    /// What the system refused.
    fn open(&self, name: &str, write: bool) -> io::Result<Box<dyn DiskFile>>;
    /// Makes an empty file. Replaces an existing one.
    ///
    /// # Errors
    ///
    /// What the system refused.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// Renames a file or a directory. Replaces the file that has the new name.
    ///
    /// # Errors
    ///
    /// What the system refused.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. A missing file is no error.
    ///
    /// # Errors
    ///
    /// What the system refused.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Returns when the names in a directory are on the disk.
    ///
    /// # Errors
    ///
    /// What the system refused.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;
    /// The file's path outside.
    fn path(&self, name: &str) -> PathBuf;
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Reads at an offset; fewer bytes only at the end of the file.
    ///
    /// # Errors
    ///
    /// What the system refused.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes at an offset.
    ///
    /// # Errors
    ///
    /// What the system refused.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Returns when the content is on the disk.
    ///
    /// # Errors
    ///
    /// What the system refused.
    fn sync(&self) -> io::Result<()>;
    /// The length in bytes.
    ///
    /// # Errors
    ///
    /// What the system refused.
    fn size(&self) -> io::Result<u64>;
}

/// Reads at an offset as [`DiskFile::read_at`]. A piece that cannot be read becomes [`UNREADABLE`], and what
/// the system said about it is returned, too.
pub(crate) fn read_around(
    file: &dyn DiskFile,
    bytes: &mut [u8],
    offset: u64,
) -> io::Result<(usize, Option<io::Error>)> {
    let mut refused = match file.read_at(bytes, offset) {
        Ok(read) => return Ok((read, None)),
        Err(error) => error,
    };
    let (mut at, end) = (offset, file.size()?.min(offset + bytes.len() as u64));
    let place = |at: u64| usize::try_from(at - offset).unwrap_or(usize::MAX);
    while at < end {
        let next = ((at / PIECE_BYTES + 1) * PIECE_BYTES).min(end);
        let piece = &mut bytes[place(at)..place(next)];
        if let Err(error) = file.read_at(piece, at) {
            piece.fill(UNREADABLE);
            refused = error;
        }
        at = next;
    }
    Ok((place(at.max(offset)), Some(refused)))
}

/// A directory of the system.
#[derive(Debug)]
pub(crate) struct SystemDisk {
    root: PathBuf,
}

impl SystemDisk {
    pub(crate) fn new(root: PathBuf) -> SystemDisk {
        SystemDisk { root }
    }
}

impl Disk for SystemDisk {
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let found = match std::fs::read_dir(self.root.join(dir)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            found => found?,
        };
        let name = |file: io::Result<std::fs::DirEntry>| Ok(file?.file_name().to_string_lossy().into_owned());
        found.map(name).collect()
    }

    fn make_dir(&self, dir: &str) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(self.root.join(dir)) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
            _ => Ok(()),
        }
    }

    fn open(&self, name: &str, write: bool) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().read(true).write(write).open(self.root.join(name))?))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        Ok(Box::new(options.open(self.root.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.root.join(from), self.root.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match std::fs::remove_file(self.root.join(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        fsync::sync_dir(&self.root.join(dir))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

impl DiskFile for File {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < bytes.len() {
            match FileExt::read_at(self, &mut bytes[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}
