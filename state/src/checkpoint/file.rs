//! The index as a file: a checksum, a version, and a bincode struct that is frozen with it.

use std::fs::File;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::BufWriter;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use bincode::Decode;
use bincode::Encode;
use bincode::config;

use crate::Damage;
use crate::Digest;
use crate::Head;
use crate::Predecessor;
use crate::RunHeader;
use crate::RunId;
use crate::Timestamp;
use crate::index::Index;
use crate::index::RunState;
use crate::place::Extent;
use crate::place::Place;
use crate::place::Position;

const VERSION: u8 = 1;
const NAME: &str = "index";
/// What is read or written of the file at once. Beside the index, the file is never in memory as a whole.
const PIECE_BYTES: usize = 64 * 1024;
/// Before the version and the content.
const CHECK_BYTES: u64 = 4;

type Bytes16 = [u8; 16];
type Bytes32 = [u8; 32];

/// Writes the index with the prefix of its last record. Returns the length.
pub(super) fn write(index: &Index, last_prefix: Vec<u8>, to: &mut (impl Write + Seek)) -> io::Result<u64> {
    to.write_all(&[0; CHECK_BYTES as usize])?;
    let mut content = Summed { to: &mut *to, check: crc32fast::Hasher::new() };
    content.write_all(&[VERSION])?;
    encode(&GeneralV1::of(index, last_prefix), &mut content)?;
    for run in index.slots() {
        encode(&run.as_ref().map(RunV1::of), &mut content)?;
    }
    let check = content.check.finalize();
    let len = to.stream_position()?;
    to.seek(SeekFrom::Start(0))?;
    to.write_all(&check.to_le_bytes())?;
    to.flush()?;
    Ok(len)
}

fn encode(value: &impl Encode, to: &mut impl Write) -> io::Result<()> {
    let written = bincode::encode_into_std_write(value, to, config::standard());
    written.map(drop).map_err(io::Error::other)
}

/// Sums up what is written.
struct Summed<W> {
    to: W,
    check: crc32fast::Hasher,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.check.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Puts the file in place, without a sync, with what `fill` writes. A file that a power cut leaves broken is not
/// read.
pub(super) fn save<T>(
    dir: &Path,
    fill: impl FnOnce(&mut BufWriter<&File>) -> io::Result<T>,
) -> io::Result<T> {
    let made = tempfile::Builder::new().prefix(".fulcrum-index-").suffix(".tmp").tempfile_in(dir)?;
    let mut to = BufWriter::with_capacity(PIECE_BYTES, made.as_file());
    let result = fill(&mut to)?;
    to.flush()?;
    drop(to);
    made.persist(dir.join(NAME)).map_err(|e| e.error)?;
    Ok(result)
}

/// The index, and the prefix of its last record. `None` if there is no file.
pub(super) fn load(dir: &Path) -> Result<Option<(Index, Vec<u8>)>, String> {
    let said = |e: io::Error| e.to_string();
    let file = match File::open(dir.join(NAME)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(said)?,
    };
    let mut bytes = BufReader::with_capacity(PIECE_BYTES, file);
    // Looked at as a whole before any of it is believed.
    let len = check(&mut bytes)?;
    bytes.seek(SeekFrom::Start(CHECK_BYTES + 1)).map_err(said)?;
    let general: GeneralV1 = decoded(&mut bytes)?;
    let mut runs = Vec::with_capacity(usize::try_from(general.runs).unwrap_or(0).min(len));
    while !bytes.fill_buf().map_err(said)?.is_empty() {
        let run: Option<RunV1> = decoded(&mut bytes)?;
        runs.push(run.map(RunV1::state));
    }
    let prefix = general.last_prefix.clone();
    Ok(Some((general.index(runs), prefix)))
}

/// Checks the checksum and the version. Returns the length of what they are about.
fn check(bytes: &mut impl BufRead) -> Result<usize, String> {
    let said = |e: io::Error| e.to_string();
    let (mut expected, mut sum, mut version) = ([0; CHECK_BYTES as usize], crc32fast::Hasher::new(), None);
    bytes.read_exact(&mut expected).map_err(|_| "it is empty")?;
    let mut len = 0;
    loop {
        let piece = bytes.fill_buf().map_err(said)?;
        let Some(first) = piece.first() else { break };
        version.get_or_insert(*first);
        sum.update(piece);
        let read = piece.len();
        len += read;
        bytes.consume(read);
    }
    let is_right = sum.finalize() == u32::from_le_bytes(expected);
    match version {
        _ if !is_right => Err("its checksum is wrong".into()),
        Some(VERSION) => Ok(len),
        found => Err(format!("it is of version {found:?}")),
    }
}

fn decoded<T: Decode<()>>(bytes: &mut impl Read) -> Result<T, String> {
    bincode::decode_from_std_read(bytes, config::standard()).map_err(|error| error.to_string())
}

/// Every run that was ever begun follows, in the log's order. `None` where it was pruned.
#[derive(Encode, Decode)]
struct GeneralV1 {
    runs: u64,
    end: (u32, u32),
    last_record: (u32, u32, u32),
    last_prefix: Vec<u8>,
    last_run: Option<Bytes16>,
    pruned: Vec<(Bytes16, u64, Bytes32)>,
    damage: Vec<DamageV1>,
}

#[derive(Encode, Decode)]
struct DamageV1 {
    run: Option<Bytes16>,
    seq: Option<u64>,
    path: String,
    offset: u64,
    detail: String,
}

#[derive(Encode, Decode)]
struct RunV1 {
    run: Bytes16,
    kind: String,
    created: u64,
    after: Option<(Bytes16, u64, Bytes32)>,
    seq: u64,
    hash: Bytes32,
    over: bool,
    damage: Option<DamageV1>,
    extents: Vec<(u32, u32, u32)>,
    last: (u32, u32),
}

impl GeneralV1 {
    fn of(index: &Index, last_prefix: Vec<u8>) -> GeneralV1 {
        let end = index.end.unwrap_or(Position { segment: 1, offset: 0 });
        let last = index.last_record().unwrap_or(Place { at: end, len: 0 });
        let pruned = index.all_pruned().map(|(run, head)| (*run.as_bytes(), head.seq, *head.hash.as_bytes()));
        GeneralV1 {
            runs: index.slots().len() as u64,
            end: (end.segment, end.offset),
            last_record: (last.at.segment, last.at.offset, last.len),
            last_prefix,
            last_run: index.last_run().map(|run| *run.as_bytes()),
            pruned: pruned.collect(),
            damage: index.damage().iter().map(DamageV1::of).collect(),
        }
    }

    fn index(self, runs: Vec<Option<RunState>>) -> Index {
        let (segment, offset) = self.end;
        let (at_segment, at_offset, len) = self.last_record;
        let at = Position { segment: at_segment, offset: at_offset };
        let head = |seq, hash| Head { seq, hash: Digest::from_bytes(hash) };
        let pruned =
            self.pruned.into_iter().map(|(run, seq, hash)| (RunId::from_bytes(run), head(seq, hash)));
        Index::restored(
            runs,
            pruned.collect(),
            self.last_run.map(RunId::from_bytes),
            self.damage.into_iter().map(DamageV1::damage).collect(),
            Position { segment, offset },
            Place { at, len },
        )
    }
}

impl DamageV1 {
    fn of(damage: &Damage) -> DamageV1 {
        let Damage { run, seq, path, offset, detail } = damage.clone();
        let run = run.map(|run| *run.as_bytes());
        DamageV1 { run, seq, path: path.to_string_lossy().into_owned(), offset, detail }
    }

    fn damage(self) -> Damage {
        let DamageV1 { run, seq, path, offset, detail } = self;
        Damage { run: run.map(RunId::from_bytes), seq, path: PathBuf::from(path), offset, detail }
    }
}

impl RunV1 {
    fn of(state: &RunState) -> RunV1 {
        let RunHeader { run, kind, created, after, head, over, damage } = state.header.clone();
        let after = after.map(|after| (*after.run.as_bytes(), after.head.seq, *after.head.hash.as_bytes()));
        RunV1 {
            run: *run.as_bytes(),
            kind,
            created: created.as_micros(),
            after,
            seq: head.seq,
            hash: *head.hash.as_bytes(),
            over,
            damage: damage.as_ref().map(DamageV1::of),
            extents: state.extents.iter().map(|extent| (extent.segment, extent.from, extent.to)).collect(),
            last: (state.last.segment, state.last.offset),
        }
    }

    fn state(self) -> RunState {
        let head = |seq, hash| Head { seq, hash: Digest::from_bytes(hash) };
        let after = self
            .after
            .map(|(run, seq, hash)| Predecessor { run: RunId::from_bytes(run), head: head(seq, hash) });
        let header = RunHeader {
            run: RunId::from_bytes(self.run),
            kind: self.kind,
            created: Timestamp::from_micros(self.created),
            after,
            head: head(self.seq, self.hash),
            over: self.over,
            damage: self.damage.map(DamageV1::damage),
        };
        let extent = |(segment, from, to)| Extent { segment, from, to };
        let extents = self.extents.into_iter().map(extent).collect();
        RunState { header, extents, last: Position { segment: self.last.0, offset: self.last.1 } }
    }
}
