//! Turns a caller's commit into the bytes of the log. Pure.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::AppendError;
use crate::Batch;
use crate::Digest;
use crate::Entry;
use crate::Head;
use crate::MAX_BODY_BYTES;
use crate::MAX_INLINE_BLOB_BYTES;
use crate::Predecessor;
use crate::RunHeader;
use crate::RunId;
use crate::Timestamp;
use crate::meta::EntryMeta;
use crate::meta::Meta;
use crate::place::short;
use crate::record;
use crate::record::BlobContent;
use crate::record::EntryContent;
use crate::record::Kind;
use crate::record::LostContent;
use crate::record::PruneContent;
use crate::record::RunContent;

/// The values of one append. After a crash all of them are there, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// The entries: one JSON value each, on one line, kept byte for byte.
    pub bodies: Vec<String>,
    /// Large values that the entries name by their [`Digest`].
    pub blobs: Vec<Vec<u8>>,
    /// True if the last entry ends the run. Even then the run may be continued.
    pub over: bool,
    /// True if the commit may take the room that is kept for ending a run: a part of its way back. Its
    /// end may, too. Work that goes forward leaves that room.
    pub ends: bool,
}

impl Commit {
    /// A commit of these entries, without blobs.
    pub fn of(bodies: impl IntoIterator<Item = impl Into<String>>) -> Commit {
        Commit { bodies: bodies.into_iter().map(Into::into).collect(), ..Commit::default() }
    }

    /// This commit with one more blob.
    #[must_use]
    pub fn with_blob(mut self, blob: impl Into<Vec<u8>>) -> Commit {
        self.blobs.push(blob.into());
        self
    }

    /// This commit as the last one of its run.
    #[must_use]
    pub fn over(mut self) -> Commit {
        self.over = true;
        self
    }

    /// This commit, which may take the room that is kept for ending a run.
    #[must_use]
    pub fn ends(mut self) -> Commit {
        self.ends = true;
        self
    }
}

/// What an entry without blobs takes in the log, beside its body.
const ENTRY_BYTES: usize = 300;

/// A commit that was checked.
pub(crate) struct Prepared {
    bodies: Vec<String>,
    /// The blobs for the log.
    blobs: Vec<(Digest, Vec<u8>)>,
    /// The blobs that become files. The length is known once a blob is a file.
    pub(crate) files: Vec<(Digest, Vec<u8>)>,
    over: bool,
    /// Whether it may take the room that is kept for ending a run.
    pub(crate) ends: bool,
    /// The time of all its entries.
    pub(crate) time: Timestamp,
}

impl Prepared {
    /// Checks everything that can be checked without the log. `last` is the number of the entry before.
    pub(crate) fn new(run: RunId, last: u64, commit: Commit) -> Result<Prepared, AppendError> {
        if commit.bodies.is_empty() && !commit.blobs.is_empty() {
            return Err(AppendError::BlobsAlone { run });
        }
        let checked = |(seq, body)| checked(run, seq, body);
        let bodies = (last + 1..).zip(commit.bodies).map(checked).collect::<Result<_, _>>()?;
        let named = commit.blobs.into_iter().map(|blob| (Digest::of(&blob), blob));
        let (blobs, files) = named.partition(|(_, blob)| blob.len() <= MAX_INLINE_BLOB_BYTES);
        Ok(Prepared {
            bodies,
            blobs,
            files,
            over: commit.over,
            ends: commit.ends || commit.over,
            time: Timestamp::now(),
        })
    }
}

impl Prepared {
    /// Whether the last of its entries says that the run is over.
    pub(crate) fn ends_the_run(&self) -> bool {
        self.over && !self.bodies.is_empty()
    }

    /// The commit as rows of a store, after `head`. The blobs have one place there.
    pub(crate) fn into_batch(self, run: RunId, mut head: Head) -> Batch {
        let Prepared { bodies, mut blobs, files, over, time, .. } = self;
        blobs.extend(files);
        let mut named: Vec<Digest> = blobs.iter().map(|(digest, _)| *digest).collect();
        let last = bodies.len().saturating_sub(1);
        let entries = bodies.into_iter().enumerate().map(|(at, body)| {
            let entry = Entry::after(run, head, time, body, std::mem::take(&mut named), over && at == last);
            head = entry.head();
            entry
        });
        Batch { entries: entries.collect(), blobs }
    }
}

fn checked(run: RunId, seq: u64, body: String) -> Result<String, AppendError> {
    let bytes = body.len();
    if bytes > MAX_BODY_BYTES {
        return Err(AppendError::TooLarge { run, seq, bytes });
    }
    let not_json = |detail: String| AppendError::NotJson { run, seq, detail };
    if let Some(at) = memchr::memchr2(b'\n', b'\r', body.as_bytes()) {
        return Err(not_json(format!("byte {at} is the end of a line")));
    }
    let value: &RawValue = serde_json::from_str(&body).map_err(|error| not_json(error.to_string()))?;
    match value.get().len() {
        found if found == bytes => Ok(body),
        _ => Err(not_json("there are blanks around it".into())),
    }
}

/// Records, with the part of each for the index and its place in the bytes.
#[derive(Default)]
pub(crate) struct Staged {
    pub(crate) bytes: Vec<u8>,
    pub(crate) metas: Vec<(Meta, u32, u32)>,
}

impl Staged {
    /// A new run and its first entries. Returns the head after them.
    pub(crate) fn begin(
        run: RunId,
        kind: String,
        after: Option<Predecessor>,
        commit: Prepared,
    ) -> Result<(Staged, Head), AppendError> {
        let mut staged = Staged::default();
        let head = staged.run(RunContent { run, kind, created: commit.time, after });
        let head = staged.commit(run, head, commit);
        Ok((staged, head))
    }

    /// More entries of a run. Returns the head after them.
    pub(crate) fn append(run: RunId, head: Head, commit: Prepared) -> Result<(Staged, Head), AppendError> {
        let mut staged = Staged::default();
        let head = staged.commit(run, head, commit);
        Ok((staged, head))
    }

    /// The record of a prune.
    pub(crate) fn prune(content: PruneContent) -> Staged {
        let mut staged = Staged::default();
        let written = staged.write(Kind::Prune, &content);
        staged.push(written, Meta::Prune(content));
        staged
    }

    /// The record of a known loss.
    pub(crate) fn lost(&mut self, content: LostContent) {
        let written = self.write(Kind::Lost, &content);
        self.push(written, Meta::Lost(content));
    }

    /// The first record of a run. Returns the head before its first entry.
    pub(crate) fn run(&mut self, content: RunContent) -> Head {
        let head = Head { seq: 0, hash: Digest::of(&[]) };
        let RunContent { run, kind, created, after } = content.clone();
        let header = RunHeader { run, kind, created, after, head, over: false, damage: None };
        let written = self.write(Kind::Run, &content);
        self.push(written, Meta::Run(content));
        header.genesis()
    }

    /// A blob, in the log or as the name of a file.
    pub(crate) fn blob(&mut self, content: BlobContent) {
        let written = self.write(Kind::Blob, &content);
        self.push(written, Meta::Blob { run: content.run, digest: content.digest });
    }

    /// An entry whose body is JSON on one line.
    pub(crate) fn entry(&mut self, entry: &Entry) {
        let written = self.write_by(|bytes| record::write_entry(bytes, entry));
        self.push(written, Meta::Entry(EntryMeta::of(entry)));
    }

    /// An entry of format 1 whose body is any text.
    pub(crate) fn text_entry(&mut self, entry: &Entry) {
        let Entry { run, seq, time, prev, hash, over, .. } = *entry;
        let (blobs, text) = (entry.blobs.clone(), Some(entry.body.clone()));
        let content = EntryContent { run, seq, time, prev, hash, over, blobs, body: None, text };
        let written = self.write(Kind::Entry, &content);
        self.push(written, Meta::Entry(EntryMeta::of(entry)));
    }

    fn commit(&mut self, run: RunId, mut head: Head, commit: Prepared) -> Head {
        let Prepared { bodies, blobs, files, over, time, .. } = commit;
        let mut named: Vec<Digest> = Vec::new();
        for (digest, blob) in blobs {
            named.push(digest);
            self.blob(BlobContent::inline(run, digest, &blob));
        }
        for (digest, blob) in files {
            named.push(digest);
            self.blob(BlobContent::file(run, digest, blob.len() as u64));
        }
        self.bytes.reserve(bodies.iter().map(|body| ENTRY_BYTES + body.len()).sum());
        let last = bodies.len().saturating_sub(1);
        for (at, body) in bodies.into_iter().enumerate() {
            let named = std::mem::take(&mut named);
            let entry = Entry::after(run, head, time, body, named, over && at == last);
            head = entry.head();
            self.entry(&entry);
        }
        head
    }

    /// Writes a record. Returns its place and its length.
    fn write(&mut self, kind: Kind, content: &impl Serialize) -> (u32, u32) {
        self.write_by(|bytes| record::write(bytes, kind, content))
    }

    fn write_by(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> (u32, u32) {
        let at = self.bytes.len();
        write(&mut self.bytes);
        (short(at as u64), short((self.bytes.len() - at) as u64))
    }

    fn push(&mut self, (at, len): (u32, u32), meta: Meta) {
        self.metas.push((meta, at, len));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.metas.is_empty()
    }

    /// Appends other records to these.
    pub(crate) fn join(&mut self, mut other: Staged) {
        if self.is_empty() {
            *self = other;
            return;
        }
        let base = short(self.bytes.len() as u64);
        self.bytes.append(&mut other.bytes);
        self.metas.extend(other.metas.into_iter().map(|(meta, at, len)| (meta, base + at, len)));
    }
}
