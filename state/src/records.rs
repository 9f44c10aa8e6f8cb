//! The whole log, record by record, byte for byte: for what is signed, and for an export.

use crate::Digest;
use crate::DiskError;
use crate::Entry;
use crate::Head;
use crate::Predecessor;
use crate::RunHeader;
use crate::RunId;
use crate::Timestamp;
use crate::disk::Disk;
use crate::log;
use crate::meta::Meta;
use crate::place::LOG;
use crate::place::Position;
use crate::place::segment_name;
use crate::record::BlobContent;
use crate::record::EntryContent;
use crate::record::Kind;
use crate::record::LostContent;
use crate::record::PruneContent;
use crate::record::PrunedRun;
use crate::record::RunContent;
use crate::scan::Found;
use crate::scan::Scanner;

/// A record that tells of a run, or of a prune.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The run. `None` for a prune.
    pub run: Option<RunId>,
    /// One JSON object, without a line feed (docs/formats/journal.md).
    pub content: &'a [u8],
}

/// The meaning of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A run begins. The head of the header is the one before the first entry.
    Run(RunHeader),
    /// A blob of a run.
    Blob {
        /// The run.
        run: RunId,
        /// Its BLAKE3.
        digest: Digest,
        /// Its content. `None` if it is a file.
        value: Option<Vec<u8>>,
    },
    /// An entry. Its hash is not checked.
    Entry(Entry),
    /// A prune.
    Prune {
        /// When.
        time: Timestamp,
        /// Why.
        reason: String,
        /// Which runs.
        runs: Vec<Pruned>,
    },
    /// Entries of a run, from this one on, are known to be lost.
    Lost {
        /// The run.
        run: RunId,
        /// The first lost entry.
        seq: u64,
    },
}

/// A run as it was when it was pruned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// The run.
    pub run: RunId,
    /// Its last entry.
    pub head: Head,
}

impl Told {
    /// The meaning of the content of a record. `None` if it is the content of none.
    pub fn read(content: &[u8]) -> Option<Told> {
        if let Ok(entry) = serde_json::from_slice::<EntryContent<'_>>(content) {
            return entry.entry().map(Told::Entry);
        }
        if let Ok(RunContent { run, kind, created, after }) = serde_json::from_slice(content) {
            return Some(Told::Run(header(run, kind, created, after)));
        }
        if let Ok(blob) = serde_json::from_slice::<BlobContent>(content) {
            return Some(Told::Blob { run: blob.run, digest: blob.digest, value: blob.value() });
        }
        if let Ok(PruneContent { time, reason, runs, .. }) = serde_json::from_slice(content) {
            let pruned = |PrunedRun { run, head }: PrunedRun| Pruned { run, head };
            return Some(Told::Prune { time, reason, runs: runs.into_iter().map(pruned).collect() });
        }
        let LostContent { run, seq, .. } = serde_json::from_slice(content).ok()?;
        Some(Told::Lost { run, seq })
    }
}

fn header(run: RunId, kind: String, created: Timestamp, after: Option<Predecessor>) -> RunHeader {
    let none = Head { seq: 0, hash: Digest::from_bytes([0; 32]) };
    let mut header = RunHeader { run, kind, created, after, head: none, over: false, damage: None };
    header.head = header.genesis();
    header
}

/// Shows every whole record up to a place.
pub(crate) fn each(
    disk: &dyn Disk,
    end: Option<Position>,
    mut show: impl FnMut(&Record<'_>),
) -> Result<(), DiskError> {
    let Some(end) = end else { return Ok(()) };
    for segment in log::segments(disk, LOG)?.into_iter().filter(|segment| *segment <= end.segment) {
        let name = segment_name(segment);
        let failed = |e| DiskError::new("read", disk.path(&name), e);
        let file = disk.open(&name, false).map_err(failed)?;
        let size = file.size().map_err(failed)?;
        let limit = if segment == end.segment { size.min(end.offset.into()) } else { size };
        let mut scanner = Scanner::new(file, 0, limit);
        loop {
            match scanner.next().map_err(failed)? {
                Found::Record { prefix, content, .. } => {
                    if let Some(run) = told_of(prefix.kind, content) {
                        let content = content.strip_suffix(b"\n").unwrap_or(content);
                        show(&Record { run, content });
                    }
                }
                Found::Bad { .. } => {}
                Found::End { .. } => break,
            }
        }
    }
    Ok(())
}

/// The run of a record, if there is one. `None` for a record that tells nothing.
fn told_of(kind: Kind, content: &[u8]) -> Option<Option<RunId>> {
    match Meta::read(kind, content)? {
        Meta::Run(RunContent { run, .. }) | Meta::Blob { run, .. } | Meta::Lost(LostContent { run, .. }) => {
            Some(Some(run))
        }
        Meta::Entry(entry) => Some(Some(entry.run)),
        Meta::Prune(_) => Some(None),
        Meta::Segment(_) | Meta::Blank => None,
    }
}
