//! The hash chain of a run. Pure: no I/O, no bytes on the disk.
//!
//! Each hash has its own domain, so that no entry can be taken for a header or the other way round. The
//! domains and the order of the fields are frozen: changing them makes every journal unreadable.

use crate::Digest;
use crate::Head;
use crate::RunId;
use crate::Timestamp;

const GENESIS: &str = "fulcrum journal v1: genesis of a run";
const LINK: &str = "fulcrum journal v1: entry";
const HEADER: &str = "fulcrum journal v1: header";

/// What the first entry of a run hangs on.
pub(crate) fn genesis(run: RunId, kind: &str, created: Timestamp) -> Digest {
    digest(GENESIS, &[run.as_bytes(), &created.as_micros().to_be_bytes(), kind.as_bytes()])
}

/// The hash of an entry.
pub(crate) fn link(run: RunId, seq: u64, prev: Digest, time: Timestamp, body: &[u8]) -> Digest {
    let (seq, time) = (seq.to_be_bytes(), time.as_micros().to_be_bytes());
    digest(LINK, &[run.as_bytes(), &seq, prev.as_bytes(), &time, body])
}

/// What makes a changed header known before the run is read.
pub(crate) fn header_check(run: RunId, kind: &[u8], created: Timestamp, head: Head) -> Digest {
    let (created, seq) = (created.as_micros().to_be_bytes(), head.seq.to_be_bytes());
    digest(HEADER, &[run.as_bytes(), &created, &seq, head.hash.as_bytes(), kind])
}

/// Only the last part may vary in length: then no two lists of parts are the same bytes.
fn digest(domain: &str, parts: &[&[u8]]) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key(domain);
    for part in parts {
        hasher.update(part);
    }
    Digest::from_bytes(*hasher.finalize().as_bytes())
}
