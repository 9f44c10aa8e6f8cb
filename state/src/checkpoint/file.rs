//! The index as a file: a checksum, a version, and a bincode struct that is frozen with it.

use std::io;
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

type Bytes16 = [u8; 16];
type Bytes32 = [u8; 32];

/// The index with the prefix of its last record, as the bytes of the file. `None` if there is nothing to
/// keep.
pub(super) fn encode(index: &Index, last_prefix: Vec<u8>) -> Option<Vec<u8>> {
    let mut bytes = vec![0, 0, 0, 0, VERSION];
    let general = GeneralV1::of(index, last_prefix);
    bincode::encode_into_std_write(&general, &mut bytes, config::standard()).ok()?;
    for run in index.slots() {
        let run = run.as_ref().map(RunV1::of);
        bincode::encode_into_std_write(&run, &mut bytes, config::standard()).ok()?;
    }
    let check = crc32fast::hash(&bytes[4..]);
    bytes[..4].copy_from_slice(&check.to_le_bytes());
    Some(bytes)
}

/// Puts the file in place, without a sync. A file that a power cut leaves broken is not read.
pub(super) fn save(dir: &Path, bytes: &[u8]) -> io::Result<()> {
    let made = tempfile::Builder::new().prefix(".fulcrum-index-").suffix(".tmp").tempfile_in(dir)?;
    io::Write::write_all(&mut made.as_file(), bytes)?;
    made.persist(dir.join(NAME)).map_err(|e| e.error)?;
    Ok(())
}

/// The index, and the prefix of its last record. `None` if there is no file.
pub(super) fn load(dir: &Path) -> Result<Option<(Index, Vec<u8>)>, String> {
    let bytes = match std::fs::read(dir.join(NAME)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|e| e.to_string())?,
    };
    let Some((check, rest)) = bytes.split_first_chunk::<4>() else { return Err("it is empty".into()) };
    if crc32fast::hash(rest) != u32::from_le_bytes(*check) {
        return Err("its checksum is wrong".into());
    }
    let mut rest = match rest.split_first() {
        Some((&VERSION, rest)) => rest,
        found => return Err(format!("it is of version {:?}", found.map(|(version, _)| version))),
    };
    let general: GeneralV1 = decoded(&mut rest)?;
    // One by one: the runs are never in memory twice.
    let mut runs = Vec::with_capacity(usize::try_from(general.runs).unwrap_or(0).min(rest.len()));
    while !rest.is_empty() {
        let run: Option<RunV1> = decoded(&mut rest)?;
        runs.push(run.map(RunV1::state));
    }
    drop(bytes);
    let prefix = general.last_prefix.clone();
    Ok(Some((general.index(runs), prefix)))
}

fn decoded<T: Decode<()>>(bytes: &mut &[u8]) -> Result<T, String> {
    let (value, read) =
        bincode::decode_from_slice(bytes, config::standard()).map_err(|error| error.to_string())?;
    *bytes = &bytes[read..];
    Ok(value)
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
