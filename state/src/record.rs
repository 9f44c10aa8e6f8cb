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
use crate::place::short;

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

/// The opposite of [`hex`], with as many digits as there is room.
fn put_hex(digits: &mut [u8], mut value: u32) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[value as usize % 16];
        value /= 16;
    }
}

fn crc(record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&record[..9]);
    hasher.update(&record[PREFIX_BYTES..]);
    hasher.finalize()
}

/// Appends a record in the middle of a commit to `bytes`. Nothing that is written here can fail to be JSON.
pub(crate) fn write(bytes: &mut Vec<u8>, kind: Kind, content: &impl Serialize) {
    write_with(bytes, kind, |bytes| {
        serde_json::to_writer(bytes, content).expect("maps with text keys, numbers and text are JSON");
    });
}

/// Appends the record of an entry whose body is JSON, as [`write`] does with its [`EntryContent`]. Nearly every
/// record is one of these, and this takes a fraction of the time.
pub(crate) fn write_entry(bytes: &mut Vec<u8>, entry: &Entry) {
    write_with(bytes, Kind::Entry, |bytes| {
        let Entry { run, seq, time, prev, hash, over, blobs, body } = entry;
        let mut put = |text: &str| bytes.extend_from_slice(text.as_bytes());
        put("{\"run\":\"");
        put(run.text(&mut [0; 36]));
        put(&format!("\",\"seq\":{seq},\"time\":{},\"prev\":\"", time.as_micros()));
        put(&prev.hex());
        put("\",\"hash\":\"");
        put(&hash.hex());
        put(if *over { "\",\"over\":true" } else { "\"" });
        for (at, blob) in blobs.iter().enumerate() {
            put(if at == 0 { ",\"blobs\":[\"" } else { "\",\"" });
            put(&blob.hex());
        }
        put(if blobs.is_empty() { ",\"body\":" } else { "\"],\"body\":" });
        put(body);
        put("}");
    });
}

fn write_with(bytes: &mut Vec<u8>, kind: Kind, content: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.extend_from_slice(&[b' '; PREFIX_BYTES]);
    content(bytes);
    bytes.push(b'\n');
    let record = &mut bytes[start..];
    record[0] = kind.letter();
    let len = short(record.len() as u64);
    put_hex(&mut record[2..8], len);
    seal(record);
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
    let crc = crc(record);
    put_hex(&mut record[9..17], crc);
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

#[cfg(test)]
mod tests;
