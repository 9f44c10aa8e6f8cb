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
use crate::Store;
use crate::StoreError;
use crate::checkpoint;
use crate::dir;
use crate::disk::Disk;
use crate::disk::SystemDisk;
use crate::index::Index;
use crate::log;
use crate::records;
use crate::shared::Shared;
use crate::store;

/// Reads a journal. Clones read one journal.
///
/// A reader that was opened by itself sees what another process has written. Of a commit that is being
/// written at this instant it sees nothing or the whole. That commit may not be on the disk yet.
#[derive(Clone)]
pub struct Reader {
    source: Source,
}

#[derive(Clone)]
enum Source {
    Log(Arc<Shared>),
    Store(Arc<dyn Store>),
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
        Ok(Reader::of_log(Arc::new(Shared::new(disk, index, false))))
    }

    pub(crate) fn of_log(shared: Arc<Shared>) -> Reader {
        Reader { source: Source::Log(shared) }
    }

    pub(crate) fn of_store(store: Arc<dyn Store>) -> Reader {
        Reader { source: Source::Store(store) }
    }

    /// All runs, in the order in which they were begun. The header of a damaged run says so.
    ///
    /// # Errors
    ///
    /// [`ReadError::Disk`].
    pub fn runs(&self) -> Result<Vec<RunHeader>, ReadError> {
        match &self.source {
            Source::Log(shared) => {
                shared.refresh()?;
                Ok(shared.index().headers())
            }
            Source::Store(store) => store.headers(false),
        }
    }

    /// The runs whose last entry did not say that they are over, in the order in which they were begun.
    ///
    /// # Errors
    ///
    /// [`ReadError::Disk`].
    pub fn open_runs(&self) -> Result<Vec<RunHeader>, ReadError> {
        match &self.source {
            Source::Log(shared) => {
                shared.refresh()?;
                Ok(shared.index().open_headers())
            }
            Source::Store(store) => store.headers(true),
        }
    }

    /// The header of a run, without reading the run. `None` if it is unknown, or was pruned.
    ///
    /// # Errors
    ///
    /// [`ReadError::Disk`].
    pub fn header(&self, run: RunId) -> Result<Option<RunHeader>, ReadError> {
        match &self.source {
            Source::Log(shared) => {
                shared.refresh()?;
                Ok(shared.index().run(run).map(|state| state.header.clone()))
            }
            Source::Store(store) => store.header(run),
        }
    }

    /// The entries of a run in order, checked on the way: the whole ones, then, if there is damage, one
    /// error, then nothing.
    pub fn entries(&self, run: RunId) -> Entries {
        self.entries_from(run, None)
    }

    /// The entries of a run after `head`. If that entry is missing or differs, this is an error.
    pub fn entries_after(&self, run: RunId, head: Head) -> Entries {
        self.entries_from(run, Some(head))
    }

    fn entries_from(&self, run: RunId, after: Option<Head>) -> Entries {
        match &self.source {
            Source::Log(shared) => Entries::of_log(shared.clone(), run, after),
            Source::Store(store) => Entries::of_store(store.clone(), run, after),
        }
    }

    /// The state that [`RunWriter::checkpoint`](crate::RunWriter::checkpoint) kept last, and its head. It may
    /// be older than the run, or missing. A reader that was opened by itself has none, nor has a store.
    pub fn checkpoint(&self, run: RunId) -> Option<(Head, Vec<u8>)> {
        match &self.source {
            Source::Log(shared) => shared.state(run).map(|kept| (kept.head, kept.state)),
            Source::Store(_) => None,
        }
    }

    /// A blob, checked against its digest.
    ///
    /// # Errors
    ///
    /// [`ReadError::MissingBlob`], [`ReadError::DamagedBlob`], or an error of reading.
    pub fn blob(&self, digest: &Digest) -> Result<Vec<u8>, ReadError> {
        match &self.source {
            Source::Log(shared) => {
                shared.refresh()?;
                shared.blob(digest)
            }
            Source::Store(store) => store::blob(store.as_ref(), digest),
        }
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
                match &self.source {
                    Source::Log(shared) => {
                        shared.blob(&digest).map_err(|error| shared.or_pruned(run, error))?
                    }
                    Source::Store(store) => store::blob(store.as_ref(), &digest)?,
                };
            }
        }
        entries.head().ok_or_else(|| match &self.source {
            Source::Log(shared) => shared.unknown(&shared.index(), run),
            Source::Store(store) => store::unknown(store.as_ref(), run),
        })
    }

    /// Shows every whole record of the log, in the log's order and byte for byte, up to the last commit. Records
    /// that were pruned, or cannot be read, are left out: [`damage`](Reader::damage) tells of the latter.
    ///
    /// # Errors
    ///
    /// [`ReadError::Disk`]. [`ReadError::Store`] for a store: it has entries and no log.
    pub fn each_record(&self, show: impl FnMut(&Record<'_>)) -> Result<(), ReadError> {
        let shared = match &self.source {
            Source::Log(shared) => shared,
            Source::Store(store) => {
                let why = "a store has no log; read its runs entry by entry";
                let doing = "read the records of";
                return Err(ReadError::Store(StoreError::new(doing, store.place(), why)));
            }
        };
        shared.refresh()?;
        let end = shared.index().end;
        records::each(shared.disk.as_ref(), end, show).map_err(ReadError::Disk)
    }

    /// The known damage, in any run or none. Of a store none is known before it is read.
    ///
    /// # Errors
    ///
    /// [`ReadError::Disk`].
    pub fn damage(&self) -> Result<Vec<Damage>, ReadError> {
        match &self.source {
            Source::Log(shared) => {
                shared.refresh()?;
                Ok(shared.index().damage().to_vec())
            }
            Source::Store(_) => Ok(Vec::new()),
        }
    }
}
