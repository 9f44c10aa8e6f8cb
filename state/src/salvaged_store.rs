//! What can be read of a database that sled does not open: the runs that the witness names, and their
//! entries as they are found in the log. It is only read; nothing can be committed.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use crate::Batch;
use crate::Digest;
use crate::RunHeader;
use crate::RunId;
use crate::Store;
use crate::StoreError;
use crate::blob::BlobDir;
use crate::evidence;
use crate::salvage::Copies;
use crate::witness::Witness;

/// A [`Store`] of what is left.
#[derive(Debug)]
pub(crate) struct SalvagedStore {
    dir: PathBuf,
    entries: BTreeMap<(RunId, u64), Vec<u8>>,
    headers: BTreeMap<RunId, Vec<u8>>,
    blobs: BlobDir,
}

impl SalvagedStore {
    /// Looks through what is in `dir`, and changes nothing there.
    pub(crate) fn open(dir: &Path) -> Result<SalvagedStore, StoreError> {
        let witnessed = Witness::read(&dir.join("witness"))?;
        let log = evidence::all(dir)?;
        let copies = Copies::find(&log);
        let mut entries = BTreeMap::new();
        for (run, bytes) in &witnessed {
            if let Ok(header) = RunHeader::decode(*run, bytes) {
                let found = copies.of_run(&header).into_iter();
                entries.extend(found.map(|(seq, copy)| ((*run, seq), copy.to_vec())));
            }
        }
        let headers = witnessed.into_iter().collect();
        Ok(SalvagedStore { dir: dir.into(), entries, headers, blobs: BlobDir::new(dir.join("blobs")) })
    }
}

impl Store for SalvagedStore {
    fn commit(&self, _: &Batch) -> Result<(), StoreError> {
        let detail = "what is read was salvaged from its log, nothing can be written".into();
        Err(StoreError::Damaged { path: self.dir.join("db"), detail })
    }

    fn entries_from(&self, run: RunId, seq: u64, most: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let found = self.entries.range((run, seq)..=(run, u64::MAX)).take(most);
        Ok(found.map(|((_, seq), bytes)| (*seq, bytes.clone())).collect())
    }

    fn header(&self, run: RunId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.headers.get(&run).cloned())
    }

    fn headers(&self) -> Result<Vec<(RunId, Vec<u8>)>, StoreError> {
        Ok(self.headers.iter().map(|(run, bytes)| (*run, bytes.clone())).collect())
    }

    /// The headers are the witness.
    fn witnessed(&self) -> Result<Vec<(RunId, Vec<u8>)>, StoreError> {
        Ok(Vec::new())
    }

    fn put_blob(&self, _: &Digest, _: &[u8]) -> Result<(), StoreError> {
        self.commit(&Batch::default())
    }

    fn remove(&self, _: &[RunId]) -> Result<(), StoreError> {
        self.commit(&Batch::default())
    }

    fn blobs(&self) -> Result<Vec<Digest>, StoreError> {
        self.blobs.list()
    }

    fn remove_blobs(&self, _: &[Digest]) -> Result<(), StoreError> {
        self.commit(&Batch::default())
    }

    fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        self.blobs.get(digest)
    }

    fn place(&self) -> PathBuf {
        self.dir.clone()
    }
}
