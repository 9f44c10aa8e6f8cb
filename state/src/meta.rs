//! The data of a record that tells its place, without its body. Pure.

use serde::Deserialize;

use crate::Digest;
use crate::Entry;
use crate::RunId;
use crate::record::Kind;
use crate::record::LostContent;
use crate::record::PruneContent;
use crate::record::RunContent;
use crate::record::SegmentContent;

/// The part of a record that the index keeps.
#[derive(Clone, Debug)]
pub(crate) enum Meta {
    Segment(SegmentContent),
    Run(RunContent),
    Blob { run: RunId, digest: Digest },
    Entry(EntryMeta),
    Prune(PruneContent),
    Lost(LostContent),
    Blank,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct EntryMeta {
    pub(crate) run: RunId,
    pub(crate) seq: u64,
    pub(crate) prev: Digest,
    pub(crate) hash: Digest,
    #[serde(default)]
    pub(crate) over: bool,
}

#[derive(Deserialize)]
struct BlobMeta {
    run: RunId,
    digest: Digest,
}

impl EntryMeta {
    pub(crate) fn of(entry: &Entry) -> EntryMeta {
        let Entry { run, seq, prev, hash, over, .. } = *entry;
        EntryMeta { run, seq, prev, hash, over }
    }

    /// The data of an entry in the form that this version writes. The body is not looked at.
    fn scan(content: &[u8]) -> Option<EntryMeta> {
        let rest = content.strip_prefix(b"{\"run\":\"")?;
        let (run, rest) = rest.split_first_chunk::<36>()?;
        let rest = rest.strip_prefix(b"\",\"seq\":")?;
        let (seq, rest) = number(rest)?;
        let (_, rest) = number(rest.strip_prefix(b",\"time\":")?)?;
        let (prev, rest) = rest.strip_prefix(b",\"prev\":\"")?.split_first_chunk::<64>()?;
        let (hash, rest) = rest.strip_prefix(b"\",\"hash\":\"")?.split_first_chunk::<64>()?;
        let over = rest.starts_with(b"\",\"over\":true");
        let run = std::str::from_utf8(run).ok()?.parse().ok()?;
        Some(EntryMeta { run, seq, prev: Digest::from_hex(prev)?, hash: Digest::from_hex(hash)?, over })
    }
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let len = bytes.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = bytes.split_at(len);
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

impl Meta {
    /// The data of a record. `None` if it is not as a record of its kind must be.
    pub(crate) fn read(kind: Kind, content: &[u8]) -> Option<Meta> {
        if kind == Kind::Entry
            && let Some(entry) = EntryMeta::scan(content)
        {
            return Some(Meta::Entry(entry));
        }
        let text = std::str::from_utf8(content).ok()?;
        let meta = match kind {
            Kind::Segment => serde_json::from_str(text).map(Meta::Segment),
            Kind::Run => serde_json::from_str(text).map(Meta::Run),
            Kind::Blob => serde_json::from_str(text)
                .map(|BlobMeta { run, digest }: BlobMeta| Meta::Blob { run, digest }),
            Kind::Entry => serde_json::from_str(text).map(Meta::Entry),
            Kind::Prune => serde_json::from_str(text).map(Meta::Prune),
            Kind::Lost => serde_json::from_str(text).map(Meta::Lost),
            Kind::Blank => return Some(Meta::Blank),
        };
        meta.ok()
    }
}

/// What a damaged record may still tell of its place.
pub(crate) struct Hint {
    pub(crate) run: Option<RunId>,
    pub(crate) seq: Option<u64>,
    pub(crate) prev: Option<Digest>,
}

impl Hint {
    pub(crate) fn of(bytes: &[u8]) -> Hint {
        let text = String::from_utf8_lossy(bytes);
        let after = |key: &str, len: usize| -> Option<&str> {
            let start = text.find(key)? + key.len();
            text.get(start..start + len)
        };
        let digits = |rest: &str| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
        let seq = text.find("\"seq\":").and_then(|at| digits(&text[at + 6..]));
        let run = after("\"run\":\"", 36).and_then(|run| run.parse().ok());
        let prev = after("\"prev\":\"", 64).and_then(|prev| prev.parse().ok());
        Hint { run, seq, prev }
    }
}
