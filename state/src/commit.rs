//! Turns a caller's commit into the bytes of the log. Pure.

use serde_json::value::RawValue;

use crate::AppendError;
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

/// A commit that was checked.
pub(crate) struct Prepared {
    bodies: Vec<Box<RawValue>>,
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

fn checked(run: RunId, seq: u64, body: String) -> Result<Box<RawValue>, AppendError> {
    let bytes = body.len();
    if bytes > MAX_BODY_BYTES {
        return Err(AppendError::TooLarge { run, seq, bytes });
    }
    let not_json = |detail: String| AppendError::NotJson { run, seq, detail };
    if let Some(at) = body.find(['\n', '\r']) {
        return Err(not_json(format!("byte {at} is the end of a line")));
    }
    let value = RawValue::from_string(body).map_err(|error| not_json(error.to_string()))?;
    match value.get().len() {
        found if found == bytes => Ok(value),
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
        let json = record::json(&content);
        staged.push(Kind::Prune, &json, Meta::Prune(content));
        staged
    }

    /// The record of a known loss.
    pub(crate) fn lost(&mut self, content: LostContent) {
        let json = record::json(&content);
        self.push(Kind::Lost, &json, Meta::Lost(content));
    }

    /// The first record of a run. Returns the head before its first entry.
    pub(crate) fn run(&mut self, content: RunContent) -> Head {
        let head = Head { seq: 0, hash: Digest::of(&[]) };
        let RunContent { run, kind, created, after } = content.clone();
        let header = RunHeader { run, kind, created, after, head, over: false, damage: None };
        let json = record::json(&content);
        self.push(Kind::Run, &json, Meta::Run(content));
        header.genesis()
    }

    /// A blob, in the log or as the name of a file.
    pub(crate) fn blob(&mut self, content: BlobContent) {
        let meta = Meta::Blob { run: content.run, digest: content.digest };
        let json = record::json(&content);
        self.push(Kind::Blob, &json, meta);
    }

    /// An entry as it is. `body` is its body if that is JSON.
    pub(crate) fn entry(&mut self, entry: &Entry, body: Option<&RawValue>) {
        let Entry { run, seq, time, prev, hash, over, .. } = *entry;
        let text = body.is_none().then(|| entry.body.clone());
        let blobs = entry.blobs.clone();
        let json = record::json(&EntryContent { run, seq, time, prev, hash, over, blobs, body, text });
        self.push(Kind::Entry, &json, Meta::Entry(EntryMeta { run, seq, prev, hash, over }));
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
        let last = bodies.len().saturating_sub(1);
        for (at, body) in bodies.into_iter().enumerate() {
            let named = std::mem::take(&mut named);
            let text = body.get().to_owned();
            let entry = Entry::after(run, head, time, text, named, over && at == last);
            head = entry.head();
            self.entry(&entry, Some(&body));
        }
        head
    }

    fn push(&mut self, kind: Kind, json: &[u8], meta: Meta) {
        let at = self.bytes.len();
        record::write(&mut self.bytes, kind, json);
        let len = self.bytes.len() - at;
        self.metas.push((meta, crate::place::short(at as u64), crate::place::short(len as u64)));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.metas.is_empty()
    }

    /// Appends other records to these.
    pub(crate) fn join(&mut self, mut other: Staged) {
        let base = crate::place::short(self.bytes.len() as u64);
        self.bytes.append(&mut other.bytes);
        self.metas.extend(other.metas.into_iter().map(|(meta, at, len)| (meta, base + at, len)));
    }
}
