//! Headers, and what the store lost: its content against its witness, compared once when it is opened.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::Head;
use crate::ReadError;
use crate::RunHeader;
use crate::RunId;
use crate::Store;
use crate::StoreError;
use crate::entry::DecodeError;
use crate::entry::Entry;
use crate::entry::SCHEMA;
use crate::salvage::Copies;
use crate::salvage::Next;

/// Entries that are read of the store at once: one at a time costs a walk through the tree each.
const PAGE_ENTRIES: usize = 256;

/// Entries as the store has them, in order.
pub(crate) type Page = VecDeque<(u64, Vec<u8>)>;

/// Reads a store, and knows what is missing in it.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) store: Arc<dyn Store>,
    lost: Arc<BTreeMap<RunId, Lost>>,
}

/// A run that is not what was acknowledged, by the witness.
#[derive(Debug)]
pub(crate) struct Lost {
    /// The header as it was acknowledged.
    header: RunHeader,
    /// The first entry that is missing or another one.
    pub(crate) seq: u64,
    /// How it is known.
    pub(crate) detail: String,
}

impl Lost {
    /// Takes the number of the entry that is damaged, if that comes before the first that is missing.
    fn locate(&mut self, log: &Copies<'_>) {
        if let Some((seq, what)) = log.first_damage(&self.header)
            && seq <= self.seq
            && !log.is_empty()
        {
            self.seq = seq;
            self.detail = format!("{what}; {}", self.detail);
        }
    }
}

impl Reader {
    /// Compares the store with its witness. What cannot be read is not judged here: whoever reads it will
    /// get the error.
    pub(crate) fn new(store: Arc<dyn Store>) -> Result<Reader, StoreError> {
        let mut reader = Reader::unwitnessed(store);
        // A torn witness knows nothing.
        let witnessed = reader.store.witnessed()?.into_iter();
        let headers = witnessed.filter_map(|(run, bytes)| RunHeader::decode(run, &bytes).ok());
        let mut lost: BTreeMap<RunId, Lost> =
            headers.filter_map(|header| reader.compare(header)).map(|lost| (lost.header.run, lost)).collect();
        if !lost.is_empty() {
            let raw = reader.store.raw()?;
            let copies = Copies::find(&raw);
            for (run, lost) in &mut lost {
                lost.locate(&copies);
                tracing::error!(%run, seq = lost.seq, detail = %lost.detail, "the journal lost entries");
            }
        }
        reader.store.recovered(!lost.is_empty());
        reader.lost = Arc::new(lost);
        Ok(reader)
    }

    /// A reader of a store that has no witness but itself.
    pub(crate) fn unwitnessed(store: Arc<dyn Store>) -> Reader {
        Reader { store, lost: Arc::default() }
    }

    fn compare(&self, acknowledged: RunHeader) -> Option<Lost> {
        let (run, head) = (acknowledged.run, acknowledged.head);
        let kept = self.stored_header(run).ok()?.map_or(0, |header| header.head.seq);
        if kept < head.seq {
            let detail = format!("{} entries were acknowledged, the database has {kept}", head.seq);
            return Some(Lost { header: acknowledged, seq: kept + 1, detail });
        }
        let (seq, bytes) = self.store.entry_from(run, head.seq).ok()??;
        let entry = Entry::decode(run, seq, &bytes).ok()?;
        if seq == head.seq && entry.hash != head.hash {
            let detail = format!("acknowledged was {:.12}, the database has {:.12}", head.hash, entry.hash);
            return Some(Lost { header: acknowledged, seq, detail });
        }
        None
    }

    pub(crate) fn lost(&self, run: RunId) -> Option<&Lost> {
        self.lost.get(&run)
    }

    /// The header of a run: what was acknowledged, even if it is lost.
    pub(crate) fn header(&self, run: RunId) -> Result<Option<RunHeader>, ReadError> {
        let kept = self.stored_header(run)?;
        Ok(match (kept, self.lost(run)) {
            (Some(kept), Some(lost)) if kept.head.seq < lost.header.head.seq => Some(lost.header.clone()),
            (None, Some(lost)) => Some(lost.header.clone()),
            (kept, _) => kept,
        })
    }

    /// The header of a run that nothing is known to be missing of.
    pub(crate) fn header_to_continue(&self, run: RunId) -> Result<Option<RunHeader>, ReadError> {
        match self.lost(run) {
            Some(lost) => Err(self.damaged(run, lost.seq, lost.detail.clone())),
            None => self.stored_header(run),
        }
    }

    /// The headers of all runs, oldest first, with those that are lost.
    pub(crate) fn headers(&self) -> Result<Vec<RunHeader>, ReadError> {
        let mut headers: BTreeMap<RunId, RunHeader> =
            self.lost.iter().map(|(run, lost)| (*run, lost.header.clone())).collect();
        for (run, bytes) in self.store.headers().map_err(ReadError::Store)? {
            let header = self.decoded(run, 0, RunHeader::decode(run, &bytes))?;
            if headers.get(&run).is_none_or(|lost| lost.head.seq <= header.head.seq) {
                headers.insert(run, header);
            }
        }
        Ok(headers.into_values().collect())
    }

    pub(crate) fn damaged(&self, run: RunId, seq: u64, detail: String) -> ReadError {
        ReadError::Damaged { run, seq, path: self.store.place(), detail }
    }

    pub(crate) fn decoded<T>(
        &self,
        run: RunId,
        seq: u64,
        result: Result<T, DecodeError>,
    ) -> Result<T, ReadError> {
        result.map_err(|error| match error {
            DecodeError::Newer { found } => {
                ReadError::Newer { run, seq, path: self.store.place(), found, supported: SCHEMA }
            }
            DecodeError::Damaged(detail) => self.damaged(run, seq, detail),
        })
    }

    fn stored_header(&self, run: RunId) -> Result<Option<RunHeader>, ReadError> {
        match self.store.header(run).map_err(ReadError::Store)? {
            Some(bytes) => self.decoded(run, 0, RunHeader::decode(run, &bytes)).map(Some),
            None => Ok(None),
        }
    }
}

impl Reader {
    /// The entry after `last`, checked against it, against the header and against the witness. What lies beyond
    /// the header is not part of the run: a commit that a crash cut short. The header is read again when the run
    /// seems to end: it may have grown. `page` is what was read of the store beyond `last`; it is filled when it
    /// is empty.
    pub(crate) fn entry_after(
        &self,
        run: RunId,
        header: &mut RunHeader,
        last: Head,
        page: &mut Page,
    ) -> Result<Option<Entry>, ReadError> {
        let want = last.seq + 1;
        let damaged = |detail| Err(self.damaged(run, want, detail));
        if let Some(lost) = self.lost(run).filter(|lost| lost.seq == want) {
            return damaged(lost.detail.clone());
        }
        if want > header.head.seq
            && let Some(newer) = self.header(run)?
        {
            *header = newer;
        }
        if want > header.head.seq {
            return Ok(None);
        }
        if page.is_empty() {
            let most = PAGE_ENTRIES.min(usize::try_from(header.head.seq - last.seq).unwrap_or(PAGE_ENTRIES));
            *page = self.store.entries_from(run, want, most).map_err(ReadError::Store)?.into();
        }
        let Some((seq, bytes)) = page.pop_front() else {
            return damaged(format!("it is missing, the run has {}", header.head.seq));
        };
        if seq != want {
            return damaged(format!("it is missing, entry {seq} is there"));
        }
        let entry = self.decoded(run, seq, Entry::decode(run, seq, &bytes))?;
        if entry.prev != last.hash {
            return damaged(format!("it follows {:.12}, the entry before is {:.12}", entry.prev, last.hash));
        }
        if seq == header.head.seq && entry.hash != header.head.hash {
            return damaged(format!("the header says {:.12}, it is {:.12}", header.head.hash, entry.hash));
        }
        Ok(Some(entry))
    }

    /// The entries after `last` as they are found in the log, and what ends them before the head: the store
    /// fails for a whole page, and the damage may be in another entry of it.
    pub(crate) fn salvaged(
        &self,
        header: &RunHeader,
        mut last: Head,
        detail: &str,
    ) -> Result<(VecDeque<Entry>, Option<ReadError>), ReadError> {
        tracing::error!(run = %header.run, after = last.seq, detail, "the database cannot be read, its log is");
        let raw = self.store.raw().map_err(ReadError::Store)?;
        let copies = Copies::find(&raw);
        let mut whole = VecDeque::new();
        while last.seq < header.head.seq {
            let what = match copies.next(header.run, last) {
                Next::Whole(entry, _) => {
                    last = entry.head();
                    whole.push_back(entry);
                    continue;
                }
                Next::Changed(..) => "it has changed in the log",
                Next::Missing => "it is not in the log",
            };
            let error = self.damaged(header.run, last.seq + 1, format!("{what}; {detail}"));
            return Ok((whole, Some(error)));
        }
        Ok((whole, None))
    }
}
