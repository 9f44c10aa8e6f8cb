//! The hash chain of a run. Pure: no I/O, no bytes on the disk.
//!
//! Each hash has its own domain. So no entry can be taken for the genesis of a run or the other way round.
//! The domains and the order of the fields are frozen: changing them makes every journal unreadable. Fields
//! that format 1 did not have are hashed in domains of version 2. Without them, the hash is that of format 1.

use std::sync::LazyLock;

use blake3::Hasher;

use crate::Digest;
use crate::Entry;
use crate::Predecessor;
use crate::RunId;
use crate::Timestamp;

const GENESIS: &str = "fulcrum journal v1: genesis of a run";
const GENESIS_AFTER: &str = "fulcrum journal v2: genesis of a run after another";
const LINK: &str = "fulcrum journal v1: entry";
/// To hash the domain takes as long as to hash a short entry.
static LINK_HASHER: LazyLock<Hasher> = LazyLock::new(|| Hasher::new_derive_key(LINK));
const LINK_WITH: &str = "fulcrum journal v2: entry with blobs or the end of its run";

/// The hash that precedes the first entry of a run.
pub(crate) fn genesis(run: RunId, kind: &str, created: Timestamp, after: Option<Predecessor>) -> Digest {
    let created = created.as_micros().to_be_bytes();
    match after {
        None => digest(Hasher::new_derive_key(GENESIS), &[run.as_bytes(), &created, kind.as_bytes()]),
        Some(Predecessor { run: before, head }) => {
            let seq = head.seq.to_be_bytes();
            let hash = head.hash.as_bytes();
            let hasher = Hasher::new_derive_key(GENESIS_AFTER);
            digest(hasher, &[run.as_bytes(), &created, before.as_bytes(), &seq, hash, kind.as_bytes()])
        }
    }
}

/// The hash that an entry should have, whatever hash it names.
pub(crate) fn link(entry: &Entry) -> Digest {
    let (seq, time) = (entry.seq.to_be_bytes(), entry.time.as_micros().to_be_bytes());
    let (run, prev, body) = (entry.run.as_bytes(), entry.prev.as_bytes(), entry.body.as_bytes());
    if !entry.over && entry.blobs.is_empty() {
        return digest(LINK_HASHER.clone(), &[run, &seq, prev, &time, body]);
    }
    let count = (entry.blobs.len() as u64).to_be_bytes();
    let blobs: Vec<u8> = entry.blobs.iter().flat_map(|blob| *blob.as_bytes()).collect();
    let hasher = Hasher::new_derive_key(LINK_WITH);
    digest(hasher, &[run, &seq, prev, &time, &[u8::from(entry.over)], &count, &blobs, body])
}

/// The hasher has its domain. No two different lists of parts in one domain give the same bytes: each part but
/// the last has a length that is fixed, or that an earlier part says.
fn digest(mut hasher: Hasher, parts: &[&[u8]]) -> Digest {
    for part in parts {
        hasher.update(part);
    }
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    /// Frozen: a change makes every journal unreadable.
    #[test]
    fn the_hashes_are_those_of_format_1_unless_there_is_more_to_hash() {
        let run = RunId::from_bytes([7; 16]);
        let entry = Entry {
            run,
            seq: 3,
            time: Timestamp::from_micros(5),
            prev: hex("prev"),
            hash: hex(""),
            over: false,
            blobs: vec![],
            body: "{}".into(),
        };
        let over = Entry { over: true, ..entry.clone() };
        let blob = Entry { blobs: vec![hex("blob")], ..entry.clone() };
        let head = crate::Head { seq: 9, hash: hex("head") };
        let after = Some(Predecessor { run, head });
        let created = Timestamp::from_micros(1);
        let found = [
            link(&entry),
            link(&over),
            link(&blob),
            genesis(run, "pivot", created, None),
            genesis(run, "pivot", created, after),
        ];
        let found: Vec<String> = found.iter().map(|hash| hash.to_string()[..16].to_owned()).collect();
        assert_eq!(
            found,
            [
                "5ec613bf28cecc71",
                "e061be90536c9b27",
                "8f24c67322dd0b38",
                "556f381963d9b13c",
                "6ffc2f5972af6f10"
            ]
        );
    }
}
