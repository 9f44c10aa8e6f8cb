//! A record of the log: one line of text. Pure; docs/formats/journal.md has every byte.
//!
//! ```text
//! E.0001c3 8a7b6c5d {"run":"0192...","seq":7,...}
//! ||  |       |      the content, JSON, then a line feed
//! ||  |       CRC-32 of everything but itself
//! ||  length of the record with its line feed
//! |'.' if the record is the last of its commit, else a space
//! kind, a capital if the record is the first of its commit
//! ```
//!
//! A record has no zero byte. So space that was never written differs from a record.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::Digest;
use crate::Entry;
use crate::Head;
use crate::Predecessor;
use crate::RunId;
use crate::Timestamp;

/// The bytes before the content.
pub(crate) const PREFIX_BYTES: usize = 18;

/// The kind of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The first of a segment.
    Segment,
    /// The first of a run.
    Run,
    /// A blob of a run, or the name of one that is a file.
    Blob,
    /// An entry.
    Entry,
    /// A prune of runs.
    Prune,
    /// A run that is known to have lost entries.
    Lost,
    /// The blanks of something that was pruned.
    Blank,
}

impl Kind {
    fn letter(self) -> u8 {
        match self {
            Kind::Segment => b's',
            Kind::Run => b'r',
            Kind::Blob => b'b',
            Kind::Entry => b'e',
            Kind::Prune => b'p',
            Kind::Lost => b'l',
            Kind::Blank => b'x',
        }
    }

    fn of(letter: u8) -> Option<Kind> {
        let kinds = [Kind::Segment, Kind::Run, Kind::Blob, Kind::Entry, Kind::Prune, Kind::Lost, Kind::Blank];
        kinds.into_iter().find(|kind| kind.letter() == letter.to_ascii_lowercase())
    }
}

/// The bytes before the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    pub(crate) kind: Kind,
    /// The first record of its commit.
    pub(crate) first: bool,
    /// The last record of its commit.
    pub(crate) last: bool,
    /// The length of the whole record.
    pub(crate) len: usize,
    crc: u32,
}

impl Prefix {
    /// The prefix at the start of `bytes`, if they look like one.
    pub(crate) fn read(bytes: &[u8]) -> Option<Prefix> {
        let bytes: &[u8; PREFIX_BYTES] = bytes.first_chunk()?;
        let last = match bytes[1] {
            b'.' => true,
            b' ' => false,
            _ => return None,
        };
        if bytes[8] != b' ' || bytes[17] != b' ' {
            return None;
        }
        let len = usize::try_from(hex(&bytes[2..8])?).ok().filter(|len| *len > PREFIX_BYTES)?;
        let (kind, first) = (Kind::of(bytes[0])?, bytes[0].is_ascii_uppercase());
        Some(Prefix { kind, first, last, len, crc: hex(&bytes[9..17])? })
    }

    /// True if `record`, which has this prefix, is what was written.
    pub(crate) fn matches(&self, record: &[u8]) -> bool {
        record.len() == self.len && record.last() == Some(&b'\n') && crc(record) == self.crc
    }
}

/// Lower case only: each value has one text.
fn hex(digits: &[u8]) -> Option<u32> {
    let mut value = 0u32;
    for digit in digits {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        value = value << 4 | u32::from(digit);
    }
    Some(value)
}

fn crc(record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&record[..9]);
    hasher.update(&record[PREFIX_BYTES..]);
    hasher.finalize()
}

/// Appends a record in the middle of a commit to `bytes`.
pub(crate) fn write(bytes: &mut Vec<u8>, kind: Kind, content: &[u8]) {
    let start = bytes.len();
    let len = PREFIX_BYTES + content.len() + 1;
    bytes.extend_from_slice(format!("{} {len:06x} {:08x} ", char::from(kind.letter()), 0).as_bytes());
    bytes.extend_from_slice(content);
    bytes.push(b'\n');
    seal(&mut bytes[start..]);
}

/// Makes a record the first of its commit.
pub(crate) fn mark_first(record: &mut [u8]) {
    record[0] = record[0].to_ascii_uppercase();
    seal(record);
}

/// Makes a record the last of its commit.
pub(crate) fn mark_last(record: &mut [u8]) {
    record[1] = b'.';
    seal(record);
}

/// Overwrites a record with blanks. Its length and its place in its commit stay.
pub(crate) fn blank(record: &mut [u8]) {
    let first = record[0].is_ascii_uppercase();
    record[0] = if first { Kind::Blank.letter().to_ascii_uppercase() } else { Kind::Blank.letter() };
    let end = record.len() - 1;
    record[PREFIX_BYTES..end].fill(b' ');
    seal(record);
}

fn seal(record: &mut [u8]) {
    let text = format!("{:08x}", crc(record));
    record[9..17].copy_from_slice(text.as_bytes());
}

/// The first record of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentContent {
    /// The format of the log.
    pub(crate) format: u64,
    /// Its own number.
    pub(crate) segment: u32,
    /// The end of the records of the segment before it.
    pub(crate) after: u64,
    /// True if only records that belong to no run were kept. Then the segment ends earlier than the next one
    /// says.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) emptied: bool,
}

/// The first record of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunContent {
    pub(crate) run: RunId,
    pub(crate) kind: String,
    pub(crate) created: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<Predecessor>,
}

/// An entry.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EntryContent<'a> {
    pub(crate) run: RunId,
    pub(crate) seq: u64,
    pub(crate) time: Timestamp,
    pub(crate) prev: Digest,
    pub(crate) hash: Digest,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) over: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) blobs: Vec<Digest>,
    /// The body, if it is JSON.
    #[serde(default, borrow, deserialize_with = "also_null", skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<&'a RawValue>,
    /// The body, if it is any text. It is from a journal of format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
}

/// A blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlobContent {
    pub(crate) run: RunId,
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
    /// The content, if it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// The content, if it is not text. With neither, the blob is a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) base64: Option<String>,
}

/// A prune of runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PruneContent {
    pub(crate) time: Timestamp,
    pub(crate) reason: String,
    /// The run that was begun last, if it is one of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last: Option<RunId>,
    pub(crate) runs: Vec<PrunedRun>,
}

/// A run as it was when it was pruned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PrunedRun {
    pub(crate) run: RunId,
    #[serde(flatten)]
    pub(crate) head: Head,
}

/// A run that is known to have lost entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LostContent {
    pub(crate) run: RunId,
    /// The first missing entry.
    pub(crate) seq: u64,
    pub(crate) detail: String,
}

/// A body that is `null` is present.
fn also_null<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_false(value: &bool) -> bool {
    !value
}

impl EntryContent<'_> {
    /// The entry. Its hash is not checked.
    pub(crate) fn entry(self) -> Option<Entry> {
        let body = match (self.body, self.text) {
            (Some(body), None) => body.get().to_owned(),
            (None, Some(text)) => text,
            _ => return None,
        };
        let EntryContent { run, seq, time, prev, hash, over, blobs, .. } = self;
        Some(Entry { run, seq, time, prev, hash, over, blobs, body })
    }
}

impl BlobContent {
    /// A blob that is kept in the log.
    pub(crate) fn inline(run: RunId, digest: Digest, value: &[u8]) -> BlobContent {
        // JSON writes a control character in six bytes; base64 never takes more than four for three.
        let text = std::str::from_utf8(value).ok().filter(|text| {
            let escaped = text.bytes().filter(|byte| *byte < b' ' && *byte != b'\n').count();
            escaped * 8 <= text.len()
        });
        let base64 = text.is_none().then(|| BASE64.encode(value));
        let text = text.map(str::to_owned);
        BlobContent { run, digest, bytes: value.len() as u64, text, base64 }
    }

    /// A blob that is a file.
    pub(crate) fn file(run: RunId, digest: Digest, bytes: u64) -> BlobContent {
        BlobContent { run, digest, bytes, text: None, base64: None }
    }

    /// The content. `None` if it is a file, or is no base64.
    pub(crate) fn value(self) -> Option<Vec<u8>> {
        match (self.text, self.base64) {
            (Some(text), _) => Some(text.into_bytes()),
            (None, Some(base64)) => BASE64.decode(base64).ok(),
            (None, None) => None,
        }
    }
}

/// A record as JSON. Nothing that is written here can fail to be JSON.
pub(crate) fn json(content: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(content).expect("maps with text keys, numbers and text are JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kind: Kind, content: &impl Serialize) -> String {
        let mut bytes = Vec::new();
        write(&mut bytes, kind, &json(content));
        String::from_utf8(bytes).unwrap()
    }

    /// Frozen: every version reads what was written like this (docs/formats/journal.md).
    #[test]
    fn every_record_is_the_line_that_it_always_was() {
        let run = RunId::from_bytes([0x11; 16]);
        let digest = |fill| Digest::from_bytes([fill; 32]);
        let head = Head { seq: 2, hash: digest(0xaa) };
        let after = Some(Predecessor { run, head });
        let (created, time) = (Timestamp::from_micros(5), Timestamp::from_micros(6));
        let body = RawValue::from_string("{\"n\": 1}".into()).unwrap();
        let (prev, hash) = (digest(0xbb), digest(0xcc));
        let entry =
            |over, blobs, body, text| EntryContent { run, seq: 3, time, prev, hash, over, blobs, body, text };
        let runs = vec![PrunedRun { run, head }];
        let lines = [
            line(Kind::Segment, &SegmentContent { format: 2, segment: 2, after: 900, emptied: false }),
            line(Kind::Run, &RunContent { run, kind: "pivot".into(), created, after }),
            line(Kind::Blob, &BlobContent::inline(run, digest(1), b"a\nb")),
            line(Kind::Blob, &BlobContent::inline(run, digest(1), &[0, 255])),
            line(Kind::Blob, &BlobContent::file(run, digest(1), 70_000)),
            line(Kind::Entry, &entry(false, vec![], Some(&body), None)),
            line(Kind::Entry, &entry(true, vec![digest(1)], None, Some("any".into()))),
            line(Kind::Prune, &PruneContent { time, reason: "asked".into(), last: Some(run), runs }),
            line(Kind::Lost, &LostContent { run, seq: 4, detail: "gone".into() }),
        ];
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/records");
        if std::env::var_os("FULCRUM_WRITE_GOLDEN").is_some() {
            std::fs::write(golden, lines.concat()).unwrap();
        }
        assert_eq!(lines.concat(), std::fs::read_to_string(golden).unwrap());
    }

    #[test]
    fn a_record_with_one_other_byte_is_none() {
        let content = LostContent { run: RunId::from_bytes([7; 16]), seq: 4, detail: "gone".into() };
        let mut record = line(Kind::Lost, &content).into_bytes();
        mark_first(&mut record);
        mark_last(&mut record);
        let prefix = Prefix::read(&record).unwrap();
        assert!(prefix.first && prefix.last && prefix.kind == Kind::Lost && prefix.matches(&record));
        for at in 0..record.len() {
            for bit in 0..8 {
                let mut other = record.clone();
                other[at] ^= 1 << bit;
                let whole = Prefix::read(&other).is_some_and(|prefix| {
                    other.get(..prefix.len).is_some_and(|record| prefix.matches(record))
                });
                assert!(!whole, "byte {at}, bit {bit}");
            }
        }
        blank(&mut record);
        let blank = Prefix::read(&record).unwrap();
        assert!(blank.first && blank.last && blank.kind == Kind::Blank && blank.matches(&record));
        assert!(record[PREFIX_BYTES..].trim_ascii().is_empty());
    }

    #[test]
    fn a_blob_is_kept_as_text_if_it_is_some() {
        for value in
            [b"".to_vec(), b"text\n".to_vec(), vec![0; 900], (0..=255).collect(), "\u{1}".repeat(99).into()]
        {
            let blob = BlobContent::inline(RunId::new(), Digest::of(&value), &value);
            assert!(json(&blob).len() < value.len() * 2 + 300 && !json(&blob).contains(&0));
            assert_eq!(blob.value().unwrap(), value);
        }
    }
}
