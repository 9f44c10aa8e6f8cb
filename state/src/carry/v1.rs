//! Reads a journal of format 1. Its structs are frozen.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use bincode::BorrowDecode;
use bincode::config;

use crate::Digest;
use crate::DiskError;
use crate::Entry;
use crate::Head;
use crate::OpenError;
use crate::RunId;
use crate::Timestamp;
use crate::chain;
use crate::panics::caught;

const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);
/// A slot of the witness: the run (16), the length of a header (2), the header.
const SLOT_BYTES: usize = 256;
/// Two bytes of magic, and the schema.
const ENTRY: [u8; 3] = *b"fE\x01";
const HEADER: [u8; 3] = *b"fH\x01";

/// Keys and values.
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// An open journal of format 1.
pub(super) struct Journal {
    db: Option<sled::Db>,
    witnessed: BTreeMap<RunId, Header>,
}

/// A run, as far as it can be read.
pub(super) struct Run {
    pub(super) run: RunId,
    /// The run's kind, and its beginning.
    pub(super) header: Option<(String, Timestamp)>,
    pub(super) entries: Vec<Entry>,
    /// The first entry that is missing, and the evidence.
    pub(super) lost: Option<(u64, String)>,
}

/// Why the database cannot be read.
pub(super) struct Unreadable(String);

impl Unreadable {
    pub(super) fn at(self, dir: &Path) -> DiskError {
        let source = io::Error::new(io::ErrorKind::InvalidData, self.0);
        DiskError::new("carry over the database", dir.join("db"), source)
    }
}

#[derive(Clone)]
struct Header {
    kind: String,
    created: Timestamp,
    head: Head,
}

#[derive(BorrowDecode)]
struct EnvelopeV1<'a> {
    prev: [u8; 32],
    time: u64,
    hash: [u8; 32],
    body: &'a [u8],
}

#[derive(BorrowDecode)]
struct HeaderV1<'a> {
    kind: &'a [u8],
    created: u64,
    seq: u64,
    hash: [u8; 32],
    check: [u8; 32],
}

impl Journal {
    /// Opens the database. First removes what a process killed while opening it may have left: sled takes an
    /// incomplete snapshot for the newest one.
    pub(super) fn open(dir: &Path) -> Result<Journal, OpenError> {
        let db = dir.join("db");
        sweep(&db).map_err(|source| OpenError::Io { doing: "sweep", path: db.clone(), source })?;
        let witnessed = witnessed(&dir.join("witness"))?;
        if !db.join("db").exists() {
            return Ok(Journal { db: None, witnessed });
        }
        match caught(|| open(&db)) {
            Ok(Ok(opened)) => Ok(Journal { db: Some(opened), witnessed }),
            Ok(Err(error)) => Err(OpenError::Damaged { path: db, detail: format!("sled says: {error}") }),
            Err(panic) => Err(OpenError::Damaged { path: db, detail: format!("sled panicked: {panic}") }),
        }
    }

    /// All runs, in the order of their names.
    pub(super) fn runs(&self) -> Result<Vec<Run>, Unreadable> {
        let mut headers: BTreeMap<RunId, Option<Header>> =
            self.witnessed.iter().map(|(run, header)| (*run, Some(header.clone()))).collect();
        let mut gone = Vec::new();
        for (key, _) in self.pairs("condemned", &[])? {
            gone.extend(run_of(&key));
        }
        for (key, value) in self.pairs("headers", &[])? {
            let Some(run) = run_of(&key) else { continue };
            let found = Header::decode(run, &value);
            let known = headers.entry(run).or_default();
            let older = |known: &Header| found.as_ref().is_some_and(|found| found.head.seq >= known.head.seq);
            if known.as_ref().is_none_or(older) {
                *known = found;
            }
        }
        headers.retain(|run, _| !gone.contains(run));
        Ok(headers.into_iter().map(|(run, header)| self.run(run, header)).collect())
    }

    fn run(&self, run: RunId, header: Option<Header>) -> Run {
        let Some(header) = header else {
            let lost = Some((0, "its header in the journal of format 1 cannot be read".into()));
            return Run { run, header: None, entries: Vec::new(), lost };
        };
        let hash = chain::genesis(run, &header.kind, header.created, None);
        let mut last = Head { seq: 0, hash };
        let mut found =
            Run { run, header: Some((header.kind, header.created)), entries: Vec::new(), lost: None };
        let pairs = match self.pairs("entries", run.as_bytes()) {
            Ok(pairs) => pairs,
            // The other runs are carried over.
            Err(Unreadable(detail)) => {
                found.lost = Some((1, format!("it cannot be read in the journal of format 1: {detail}")));
                return found;
            }
        };
        for (key, value) in pairs {
            let seq = key.last_chunk::<8>().map_or(0, |seq| u64::from_be_bytes(*seq));
            // Anything beyond the header is a commit that a crash cut short.
            if seq != last.seq + 1 || seq > header.head.seq {
                break;
            }
            let Some(entry) = decode(run, seq, &value).filter(|entry| entry.prev == last.hash) else {
                found.lost = Some((seq, "it was damaged in the journal of format 1".into()));
                return found;
            };
            last = entry.head();
            found.entries.push(entry);
        }
        if last != header.head {
            let had = header.head.seq;
            let detail = format!("{had} entries were acknowledged, the journal of format 1 had {}", last.seq);
            found.lost = Some((last.seq.min(had.saturating_sub(1)) + 1, detail));
        }
        found
    }

    fn pairs(&self, tree: &str, prefix: &[u8]) -> Result<Pairs, Unreadable> {
        let Some(db) = &self.db else { return Ok(Vec::new()) };
        let read = || -> sled::Result<Pairs> {
            let pairs = db.open_tree(tree)?.scan_prefix(prefix);
            pairs.map(|pair| pair.map(|(key, value)| (key.to_vec(), value.to_vec()))).collect()
        };
        match caught(read) {
            Ok(Ok(pairs)) => Ok(pairs),
            Ok(Err(error)) => Err(Unreadable(format!("sled says: {error}"))),
            Err(panic) => Err(Unreadable(format!("sled panicked: {panic}"))),
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let db = self.db.take();
        // What sled writes when it is closed is not needed any more.
        let _ = caught(move || drop(db));
    }
}

impl Header {
    fn decode(run: RunId, bytes: &[u8]) -> Option<Header> {
        let rest = bytes.strip_prefix(&HEADER)?;
        let (header, read): (HeaderV1<'_>, usize) =
            bincode::borrow_decode_from_slice(rest, config::standard()).ok()?;
        let (created, seq) = (header.created.to_be_bytes(), header.seq.to_be_bytes());
        let mut hasher = blake3::Hasher::new_derive_key("fulcrum journal v1: header");
        for part in [run.as_bytes().as_slice(), &created, &seq, &header.hash, header.kind] {
            hasher.update(part);
        }
        let whole = read == rest.len() && *hasher.finalize().as_bytes() == header.check;
        let head = Head { seq: header.seq, hash: Digest::from_bytes(header.hash) };
        let kind = String::from_utf8(header.kind.to_vec()).ok()?;
        whole.then_some(Header { kind, created: Timestamp::from_micros(header.created), head })
    }
}

fn decode(run: RunId, seq: u64, bytes: &[u8]) -> Option<Entry> {
    let rest = bytes.strip_prefix(&ENTRY)?;
    let (found, read): (EnvelopeV1<'_>, usize) =
        bincode::borrow_decode_from_slice(rest, config::standard()).ok()?;
    let entry = Entry {
        run,
        seq,
        time: Timestamp::from_micros(found.time),
        prev: Digest::from_bytes(found.prev),
        hash: Digest::from_bytes(found.hash),
        over: false,
        blobs: Vec::new(),
        body: String::from_utf8(found.body.to_vec()).ok()?,
    };
    (read == rest.len() && chain::link(&entry) == entry.hash).then_some(entry)
}

fn run_of(key: &[u8]) -> Option<RunId> {
    Some(RunId::from_bytes(key.try_into().ok()?))
}

fn open(db: &Path) -> sled::Result<sled::Db> {
    let config = sled::Config::new().path(db).flush_every_ms(None);
    let begun = Instant::now();
    loop {
        match config.open() {
            Err(sled::Error::Io(error))
                if error.to_string().contains("could not acquire lock") && begun.elapsed() < PATIENCE =>
            {
                std::thread::sleep(PAUSE);
            }
            opened => return opened,
        }
    }
}

fn sweep(db: &Path) -> io::Result<()> {
    let names = match std::fs::read_dir(db) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    let paths = names.map(|name| Ok(name?.path())).collect::<io::Result<Vec<PathBuf>>>()?;
    for path in paths.iter().filter(|path| path.to_string_lossy().ends_with(".generating")) {
        std::fs::remove_file(path)?;
    }
    let conf = db.join("conf");
    match db.join("db").exists() || !conf.exists() {
        true => Ok(()),
        false => std::fs::remove_file(conf),
    }
}

/// The acknowledged headers, as the witness has them. A torn slot says nothing.
fn witnessed(path: &Path) -> Result<BTreeMap<RunId, Header>, OpenError> {
    let bytes = match std::fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        read => read.map_err(|source| OpenError::Io { doing: "read", path: path.into(), source })?,
    };
    let slot = |slot: &[u8]| {
        let (run, rest) = slot.split_first_chunk::<16>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let run = RunId::from_bytes(*run);
        Some((run, Header::decode(run, rest.get(..usize::from(u16::from_le_bytes(*length)))?)?))
    };
    Ok(bytes.chunks(SLOT_BYTES).filter_map(slot).collect())
}
