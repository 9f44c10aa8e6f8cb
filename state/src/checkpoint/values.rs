//! The index and the states as keys and values. A value begins with the version of all of them; another version is
//! not read.

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
use crate::index::Extent;
use crate::index::Index;
use crate::index::Place;
use crate::index::Position;
use crate::index::RunState;
use crate::reader::KeptState;
use crate::reader::Shared;

const VERSION: u8 = 1;
/// Runs that are one value.
pub(crate) const PAGE_RUNS: usize = 64;

const GENERAL: &[u8] = b"g";
const PAGE: u8 = b'p';
const STATE: u8 = b's';

type Bytes16 = [u8; 16];
type Bytes32 = [u8; 32];

/// What the database holds.
pub(super) struct Found {
    pub(super) index: Index,
    pub(super) last_prefix: Vec<u8>,
    pub(super) states: Vec<(RunId, KeptState)>,
}

/// What changed since the last checkpoint.
pub(super) struct Update {
    pub(super) changed: Vec<usize>,
    /// The last record of the log.
    pub(super) last: Option<Place>,
    general: GeneralV1,
    pages: Vec<(u32, Vec<Option<RunV1>>)>,
    states: Vec<(RunId, Option<KeptState>)>,
}

#[derive(Encode, Decode)]
struct GeneralV1 {
    /// How many runs were begun.
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

#[derive(Encode, Decode)]
struct StateV1 {
    seq: u64,
    hash: Bytes32,
    at: (u32, u32),
    state: Vec<u8>,
}

impl Update {
    /// What changed, and is told so only once.
    pub(super) fn of(shared: &Shared) -> Update {
        let mut index = shared.index_mut();
        let changed = index.take_changed();
        let mut numbers: Vec<usize> = changed.iter().map(|at| at / PAGE_RUNS).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let page = |number: usize| {
            let runs = index.slots().iter().skip(number * PAGE_RUNS).take(PAGE_RUNS);
            let runs = runs.map(|run| run.as_ref().map(RunV1::of)).collect();
            (u32::try_from(number).unwrap_or(u32::MAX), runs)
        };
        let pages = numbers.into_iter().map(page).collect();
        let runs = changed.iter().filter_map(|at| index.slots()[*at].as_ref());
        let states = runs.map(|run| (run.header.run, shared.state_to_keep(&run.header))).collect();
        let general = GeneralV1::of(&index);
        Update { changed, last: index.last_record(), general, pages, states }
    }
}

/// The update as one batch, which is there as a whole or not.
pub(super) fn batch(update: Update, prefix: Option<&[u8]>) -> Result<sled::Batch, String> {
    let mut batch = sled::Batch::default();
    let mut general = update.general;
    general.last_prefix = prefix.unwrap_or_default().to_vec();
    batch.insert(GENERAL, encoded(&general)?);
    for (number, runs) in update.pages {
        batch.insert(page_key(number).as_slice(), encoded(&runs)?);
    }
    for (run, state) in update.states {
        let key = [&[STATE], run.as_bytes().as_slice()].concat();
        match state {
            Some(kept) => batch.insert(key, encoded(&StateV1::of(kept))?),
            None => batch.remove(key),
        }
    }
    Ok(batch)
}

/// What the database holds; `None` if it is empty.
pub(super) fn read(db: &sled::Db) -> Result<Option<Found>, String> {
    let said = |error: sled::Error| error.to_string();
    let Some(general) = db.get(GENERAL).map_err(said)? else { return Ok(None) };
    let general: GeneralV1 = decoded(&general)?;
    let mut runs = Vec::new();
    for (number, pair) in (0u32..).zip(db.scan_prefix([PAGE])) {
        let (key, value) = pair.map_err(said)?;
        if key.as_ref() != page_key(number) {
            return Err(format!("page {number} of the runs is missing"));
        }
        let page: Vec<Option<RunV1>> = decoded(&value)?;
        runs.extend(page.into_iter().map(|run| run.map(RunV1::state)));
    }
    if runs.len() as u64 != general.runs {
        return Err(format!("it has {} runs of {}", runs.len(), general.runs));
    }
    let mut states = Vec::new();
    for pair in db.scan_prefix([STATE]) {
        let (key, value) = pair.map_err(said)?;
        let run = key.get(1..).and_then(|run| run.try_into().ok()).ok_or("the key of a state is no run")?;
        let state: StateV1 = decoded(&value)?;
        states.push((RunId::from_bytes(run), state.kept()));
    }
    let last_prefix = general.last_prefix.clone();
    Ok(Some(Found { index: general.index(runs), last_prefix, states }))
}

fn page_key(number: u32) -> [u8; 5] {
    let mut key = [PAGE; 5];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

fn encoded(value: &impl Encode) -> Result<Vec<u8>, String> {
    let mut bytes = vec![VERSION];
    bincode::encode_into_std_write(value, &mut bytes, config::standard()).map_err(|e| e.to_string())?;
    Ok(bytes)
}

fn decoded<T: Decode<()>>(bytes: &[u8]) -> Result<T, String> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => match bincode::decode_from_slice(rest, config::standard()) {
            Ok((value, read)) if read == rest.len() => Ok(value),
            Ok(_) => Err("something follows a value".into()),
            Err(error) => Err(error.to_string()),
        },
        Some((version, _)) => Err(format!("it is of version {version}")),
        None => Err("a value is empty".into()),
    }
}

impl GeneralV1 {
    fn of(index: &Index) -> GeneralV1 {
        let end = index.end.unwrap_or(Position { segment: 1, offset: 0 });
        let last = index.last_record().unwrap_or(Place { at: end, len: 0 });
        let pruned = index.all_pruned().map(|(run, head)| (*run.as_bytes(), head.seq, *head.hash.as_bytes()));
        GeneralV1 {
            runs: index.slots().len() as u64,
            end: (end.segment, end.offset),
            last_record: (last.at.segment, last.at.offset, last.len),
            last_prefix: Vec::new(),
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
        let pruned = self.pruned.into_iter().map(|(run, seq, hash)| (RunId::from_bytes(run), head(seq, hash)));
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
        let after = after
            .map(|after| (*after.run.as_bytes(), after.head.seq, *after.head.hash.as_bytes()));
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

impl StateV1 {
    fn of(kept: KeptState) -> StateV1 {
        let KeptState { head, at, state } = kept;
        StateV1 { seq: head.seq, hash: *head.hash.as_bytes(), at: (at.segment, at.offset), state }
    }

    fn kept(self) -> KeptState {
        let head = Head { seq: self.seq, hash: Digest::from_bytes(self.hash) };
        let at = Position { segment: self.at.0, offset: self.at.1 };
        KeptState { head, at, state: self.state }
    }
}
