//! Entries and headers as values. `record` writes them.

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

/// The most bytes of a blob in the log. A larger blob is a file.
pub const MAX_INLINE_BLOB_BYTES: usize = 64 * 1024;

/// The last entry of a run: its number (0 if there is none yet) and its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Head {
    /// The number of the last entry. Entries count from 1.
    pub seq: u64,
    /// The last entry's hash, which stands for the whole run up to it.
    pub hash: Digest,
}

/// The run that was begun before another in one journal, as it was at that time.
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
    /// The hash of this entry, over all other fields.
    pub hash: Digest,
    /// True if the entry's commit, which it ends, said that the run is over.
    pub over: bool,
    /// The blobs that were written in one commit with the entry.
    pub blobs: Vec<Digest>,
    /// The value that was appended.
    pub body: String,
}

/// The data on a run that need no reading of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunHeader {
    /// The run.
    pub run: RunId,
    /// The kind of the run, from [`Journal::begin`](crate::Journal::begin). Empty if the record with it is
    /// damaged.
    pub kind: String,
    /// When the run was begun.
    pub created: Timestamp,
    /// The run that was begun before this one.
    pub after: Option<Predecessor>,
    /// The last entry that can be read.
    pub head: Head,
    /// True if the last entry said that the run is over.
    pub over: bool,
    /// The known damage of the run.
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

    /// The hash that the entry must have, by its other fields.
    pub fn link(&self) -> Digest {
        chain::link(self)
    }

    /// Why this entry cannot follow `last`.
    pub(crate) fn unlike_next(&self, last: Head) -> Option<String> {
        let want = last.seq + 1;
        if self.seq != want {
            return Some(format!("it is missing, entry {} is there", self.seq));
        }
        if self.prev != last.hash {
            return Some(format!("it follows {:.12}, the entry before is {:.12}", self.prev, last.hash));
        }
        let made = chain::link(self);
        (made != self.hash).then(|| format!("its hash is {made:.12}, recorded is {:.12}", self.hash))
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
