//! Reads a journal: beside the process that writes it, or within it. A reader needs no lock and writes
//! nothing.

use std::path::Path;
use std::sync::Arc;

use crate::Damage;
use crate::Digest;
use crate::DiskError;
use crate::Entries;
use crate::Head;
use crate::OpenError;
use crate::ReadError;
use crate::Record;
use crate::RunHeader;
use crate::RunId;
use crate::checkpoint;
use crate::dir;
use crate::disk::Disk;
use crate::disk::SystemDisk;
use crate::index::Index;
use crate::log;
use crate::records;
use crate::shared::Shared;

/// Reads a journal. Clones read one journal.
///
/// A reader that was opened by itself sees what another process has written. Of a commit that is being
/// written at this instant it sees nothing or the whole. That commit may not be on the disk yet.
#[derive(Clone)]
pub struct Reader {
    pub(crate) shared: Arc<Shared>,
}

impl Reader {
    /// Opens the journal in `dir` for reading. Changes nothing in it, and takes no lock.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: there is no journal, it has another format, or the system refused to read it. Damage is
    /// no error here: reading reports it.
    pub fn open(dir: impl AsRef<Path>) -> Result<Reader, OpenError> {
        let dir = dir.as_ref();
        dir::check_readable(dir)?;
        let disk: Arc<dyn Disk> = Arc::new(SystemDisk::new(dir.into()));
        let index = checkpoint::index_to_read(dir, &disk);
        Reader::from(disk, index).map_err(OpenError::Disk)
    }

    /// Reads the journal on a disk.
    ///
    /// # Errors
    ///
    /// [`DiskError`] if the journal cannot be read.
    pub fn on(disk: Arc<dyn Disk>) -> Result<Reader, DiskError> {
        Reader::from(disk, Index::default())
    }

    fn from(disk: Arc<dyn Disk>, mut index: Index) -> Result<Reader, DiskError> {
        log::read(disk.as_ref(), &mut index, true)?;
        Ok(Reader { shared: Arc::new(Shared::new(disk, index, false)) })
    }

    /// All runs, in the order in which they were begun. The header of a damaged run says so.
    ///
    /// # Errors
    ///
    /// [`ReadError::Disk`].
    pub fn runs(&self) -> Result<Vec<RunHeader>, ReadError> {
        self.shared.refresh()?;
        Ok(self.shared.index().headers())
    }

    /// The runs whose last entry did not say that they are over, in the order in which they were begun.
    ///
    /// # Errors
    ///
    /// [`ReadError::Disk`].
    pub fn open_runs(&self) -> Result<Vec<RunHeader>, ReadError> {
        self.shared.refresh()?;
        Ok(self.shared.index().open_headers())
    }

    /// The header of a run, without reading the run. `None` if it is unknown, or was pruned.
    ///
    /// # Errors
    ///
    /// [`ReadError::Disk`].
    pub fn header(&self, run: RunId) -> Result<Option<RunHeader>, ReadError> {
        self.shared.refresh()?;
        Ok(self.shared.index().run(run).map(|state| state.header.clone()))
    }

    /// The entries of a run in order, checked on the way: the whole ones, then, if there is damage, one
    /// error, then nothing.
    pub fn entries(&self, run: RunId) -> Entries {
        Entries::new(self.shared.clone(), run, None)
    }

    /// The entries of a run after `head`. If that entry is missing or differs, this is an error.
    pub fn entries_after(&self, run: RunId, head: Head) -> Entries {
        Entries::new(self.shared.clone(), run, Some(head))
    }

    /// The state that [`RunWriter::checkpoint`](crate::RunWriter::checkpoint) kept last, and its head. It may
    /// be older than the run, or missing. A reader that was opened by itself has none.
    pub fn checkpoint(&self, run: RunId) -> Option<(Head, Vec<u8>)> {
        self.shared.state(run).map(|kept| (kept.head, kept.state))
    }

    /// A blob, checked against its digest.
    ///
    /// # Errors
    ///
    /// [`ReadError::MissingBlob`], [`ReadError::DamagedBlob`], or an error of reading.
    pub fn blob(&self, digest: &Digest) -> Result<Vec<u8>, ReadError> {
        self.shared.refresh()?;
        self.shared.blob(digest)
    }

    /// Reads the whole run with its blobs. Returns its last entry if everything that was acknowledged is
    /// there and is what was written.
    ///
    /// # Errors
    ///
    /// [`ReadError::Damaged`] with the number of the first entry that is missing or has changed, or the error
    /// of the first blob.
    pub fn verify(&self, run: RunId) -> Result<Head, ReadError> {
        let mut entries = self.entries(run);
        for entry in entries.by_ref() {
            for digest in entry?.blobs {
                self.shared.blob(&digest).map_err(|error| self.shared.or_pruned(run, error))?;
            }
        }
        entries.head().ok_or_else(|| self.shared.unknown(&self.shared.index(), run))
    }

    /// Shows every whole record of the log, in the log's order and byte for byte, up to the last commit. Records
    /// that were pruned, or cannot be read, are left out: [`damage`](Reader::damage) tells of the latter.
    ///
    /// # Errors
    ///
    /// [`ReadError::Disk`].
    pub fn each_record(&self, show: impl FnMut(&Record<'_>)) -> Result<(), ReadError> {
        self.shared.refresh()?;
        let end = self.shared.index().end;
        records::each(self.shared.disk.as_ref(), end, show).map_err(ReadError::Disk)
    }

    /// The known damage, in any run or none.
    ///
    /// # Errors
    ///
    /// [`ReadError::Disk`].
    pub fn damage(&self) -> Result<Vec<Damage>, ReadError> {
        self.shared.refresh()?;
        Ok(self.shared.index().damage().to_vec())
    }
}
