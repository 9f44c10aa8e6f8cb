//! Entries and headers as values. How they are written is in `record`.

use serde::Deserialize;
use serde::Serialize;

use crate::Damage;
use crate::Digest;
use crate::RunId;
use crate::Timestamp;
use crate::chain;

/// The most bytes that the body of an entry may have. Larger values are blobs.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// The most bytes that the kind of a run may have.
pub const MAX_KIND_BYTES: usize = 64;

/// The most bytes that a blob may have to be kept in the log. A larger one is a file.
pub const MAX_INLINE_BLOB_BYTES: usize = 64 * 1024;

/// The last entry of a run: its number (0 if there is none yet) and its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Head {
    /// The number of the last entry. They count from 1.
    pub seq: u64,
    /// Its hash, which stands for the whole run up to it.
    pub hash: Digest,
}

/// The run that was begun before another in the same journal, as it was then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predecessor {
    /// The run.
    pub run: RunId,
    /// Its last entry at that time.
    #[serde(flatten)]
    pub head: Head,
}

/// One entry of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The run.
    pub run: RunId,
    /// The number of the entry, from 1.
    pub seq: u64,
    /// When it was appended.
    pub time: Timestamp,
    /// The hash of the entry before.
    pub prev: Digest,
    /// The hash of this one, over everything else here.
    pub hash: Digest,
    /// True if the commit that it ends said that the run is over.
    pub over: bool,
    /// The blobs that were written in one commit with it.
    pub blobs: Vec<Digest>,
    /// What was appended.
    pub body: String,
}

/// What is known of a run without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunHeader {
    /// The run.
    pub run: RunId,
    /// What kind of run, as [`Journal::begin`](crate::Journal::begin) was told; empty if the record that
    /// says so is damaged.
    pub kind: String,
    /// When it was begun.
    pub created: Timestamp,
    /// The run that was begun before it.
    pub after: Option<Predecessor>,
    /// Its last entry that can be read.
    pub head: Head,
    /// True if its last entry said that it is over.
    pub over: bool,
    /// What is known to be damaged in it.
    pub damage: Option<Damage>,
}

impl Entry {
    /// The entry after `head`.
    pub(crate) fn after(
        run: RunId,
        head: Head,
        time: Timestamp,
        body: String,
        blobs: Vec<Digest>,
        over: bool,
    ) -> Entry {
        let (seq, prev) = (head.seq + 1, head.hash);
        let mut entry = Entry { run, seq, time, prev, hash: prev, over, blobs, body };
        entry.hash = chain::link(&entry);
        entry
    }

    /// The number and the hash.
    pub fn head(&self) -> Head {
        Head { seq: self.seq, hash: self.hash }
    }
}

impl RunHeader {
    /// The head of the run before its first entry.
    pub fn genesis(&self) -> Head {
        let hash = chain::genesis(self.run, &self.kind, self.created, self.after);
        Head { seq: 0, hash }
    }
}
