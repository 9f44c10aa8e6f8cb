//! Entries and headers, as values and as the bytes that are kept.
//!
//! The bytes are two of magic, one of schema, and a bincode (`config::standard`) struct that is frozen
//! with its schema number: bincode reads old bytes with a changed struct as nonsense without an error, so
//! a change is a new struct and a new number. What evolves is the body, which is text to this crate.

use bincode::BorrowDecode;
use bincode::Encode;
use bincode::config;
use serde::Deserialize;
use serde::Serialize;

use crate::Digest;
use crate::RunId;
use crate::Timestamp;
use crate::chain;

/// The most bytes that an entry may take when encoded (the body has about 80 less). Large values become
/// files that sled never syncs; larger things are kept with [`Journal::put_blob`](crate::Journal::put_blob).
pub const MAX_ENTRY_BYTES: usize = 4096;

/// The most bytes that the kind of a run may have: a header fits into a slot of the witness.
pub const MAX_KIND_BYTES: usize = 64;

/// The schema that is written, and the latest that is read.
pub(crate) const SCHEMA: u8 = 1;
pub(crate) const ENTRY_MAGIC: [u8; 2] = *b"fE";
const HEADER_MAGIC: [u8; 2] = *b"fH";

/// The last entry of a run: its number (0 if there is none yet) and its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The number of the last entry. They count from 1.
    pub seq: u64,
    /// Its hash, which stands for the whole run up to it.
    pub hash: Digest,
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
    /// What was appended.
    pub body: String,
}

/// What is known of a run without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunHeader {
    /// The run.
    pub run: RunId,
    /// What kind of run, as [`Journal::begin`](crate::Journal::begin) was told.
    pub kind: String,
    /// When it was begun.
    pub created: Timestamp,
    /// Its last entry.
    pub head: Head,
}

/// Why bytes are not an entry or a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// Written by a later version of fulcrum.
    Newer { found: u8 },
    /// Not what was written.
    Damaged(String),
}

#[derive(Encode, BorrowDecode)]
struct EnvelopeV1<'a> {
    prev: [u8; 32],
    time: u64,
    hash: [u8; 32],
    body: &'a [u8],
}

#[derive(Encode, BorrowDecode)]
struct HeaderV1<'a> {
    kind: &'a [u8],
    created: u64,
    seq: u64,
    hash: [u8; 32],
    check: [u8; 32],
}

impl Entry {
    /// The entry after `head`.
    pub(crate) fn after(run: RunId, head: Head, time: Timestamp, body: String) -> Entry {
        let (seq, prev) = (head.seq + 1, head.hash);
        let hash = chain::link(run, seq, prev, time, body.as_bytes());
        Entry { run, seq, time, prev, hash, body }
    }

    pub(crate) fn head(&self) -> Head {
        Head { seq: self.seq, hash: self.hash }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let envelope = EnvelopeV1 {
            prev: *self.prev.as_bytes(),
            time: self.time.as_micros(),
            hash: *self.hash.as_bytes(),
            body: self.body.as_bytes(),
        };
        seal(ENTRY_MAGIC, &envelope)
    }

    /// The entry that was kept as `seq` of `run`. Checked: nothing follows it, and its hash is right.
    pub(crate) fn decode(run: RunId, seq: u64, bytes: &[u8]) -> Result<Entry, DecodeError> {
        let (found, used) = RawEntry::scan(bytes)?;
        if used != bytes.len() {
            let extra = bytes.len() - used;
            return Err(DecodeError::Damaged(format!("{extra} bytes follow the entry")));
        }
        let made = chain::link(run, seq, found.prev, found.time, found.body);
        if made != found.hash {
            let detail = format!("its hash is {made:.12}, recorded is {:.12}", found.hash);
            return Err(DecodeError::Damaged(detail));
        }
        let body = String::from_utf8(found.body.to_vec())
            .map_err(|_| DecodeError::Damaged("the body is not UTF-8".into()))?;
        Ok(Entry { run, seq, time: found.time, prev: found.prev, hash: found.hash, body })
    }
}

/// An envelope whose hash has not been checked.
pub(crate) struct RawEntry<'a> {
    pub(crate) prev: Digest,
    pub(crate) time: Timestamp,
    pub(crate) hash: Digest,
    pub(crate) body: &'a [u8],
}

impl RawEntry<'_> {
    /// The envelope at the start of `bytes`, and its length.
    pub(crate) fn scan(bytes: &[u8]) -> Result<(RawEntry<'_>, usize), DecodeError> {
        let (envelope, used): (EnvelopeV1<'_>, usize) = unseal(ENTRY_MAGIC, bytes)?;
        let raw = RawEntry {
            prev: Digest::from_bytes(envelope.prev),
            time: Timestamp::from_micros(envelope.time),
            hash: Digest::from_bytes(envelope.hash),
            body: envelope.body,
        };
        Ok((raw, used))
    }
}

impl RunHeader {
    /// The head of the run before its first entry.
    pub(crate) fn genesis(&self) -> Head {
        Head { seq: 0, hash: chain::genesis(self.run, &self.kind, self.created) }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let check = chain::header_check(self.run, self.kind.as_bytes(), self.created, self.head);
        let header = HeaderV1 {
            kind: self.kind.as_bytes(),
            created: self.created.as_micros(),
            seq: self.head.seq,
            hash: *self.head.hash.as_bytes(),
            check: *check.as_bytes(),
        };
        seal(HEADER_MAGIC, &header)
    }

    /// The header that was kept for `run`, checked against its own digest.
    pub(crate) fn decode(run: RunId, bytes: &[u8]) -> Result<RunHeader, DecodeError> {
        let (header, used): (HeaderV1<'_>, usize) = unseal(HEADER_MAGIC, bytes)?;
        if used != bytes.len() {
            let extra = bytes.len() - used;
            return Err(DecodeError::Damaged(format!("{extra} bytes follow the header")));
        }
        let created = Timestamp::from_micros(header.created);
        let head = Head { seq: header.seq, hash: Digest::from_bytes(header.hash) };
        let check = chain::header_check(run, header.kind, created, head);
        if *check.as_bytes() != header.check {
            return Err(DecodeError::Damaged("the header does not match its own hash".into()));
        }
        let kind = String::from_utf8(header.kind.to_vec())
            .map_err(|_| DecodeError::Damaged("the kind of the run is not UTF-8".into()))?;
        Ok(RunHeader { run, kind, created, head })
    }
}

fn seal(magic: [u8; 2], value: &impl Encode) -> Vec<u8> {
    let mut bytes = vec![magic[0], magic[1], SCHEMA];
    let written = bincode::encode_into_std_write(value, &mut bytes, config::standard());
    written.expect("nothing fails in writing bytes and numbers to a Vec");
    bytes
}

fn unseal<'a, T: BorrowDecode<'a, ()>>(magic: [u8; 2], bytes: &'a [u8]) -> Result<(T, usize), DecodeError> {
    let Some((start, rest)) = bytes.split_first_chunk::<3>() else {
        return Err(DecodeError::Damaged(format!("it has only {} bytes", bytes.len())));
    };
    if start[..2] != magic {
        return Err(DecodeError::Damaged(format!(
            "it starts with {:02x?}, not with {magic:02x?}",
            &start[..2]
        )));
    }
    match start[2] {
        SCHEMA => {}
        0 => return Err(DecodeError::Damaged("its schema number is 0".into())),
        found => return Err(DecodeError::Newer { found }),
    }
    let (value, used) = bincode::borrow_decode_from_slice(rest, config::standard())
        .map_err(|e| DecodeError::Damaged(format!("it cannot be decoded: {e}")))?;
    Ok((value, used + start.len()))
}

#[cfg(test)]
mod tests;
