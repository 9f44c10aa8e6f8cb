//! The index: the runs in the order of the log, their heads, and the parts of the log that hold them. Pure.
//! Applying the records of the log in order builds it, in the process that writes them and in one that reads
//! them.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::Digest;
use crate::Head;
use crate::Predecessor;
use crate::RunHeader;
use crate::RunId;
use crate::Timestamp;
use crate::meta::EntryMeta;
use crate::meta::Hint;
use crate::meta::Meta;
use crate::place::Extent;
use crate::place::Place;
use crate::place::Position;
use crate::place::segment_name;
use crate::record::LostContent;
use crate::record::PruneContent;
use crate::record::RunContent;

/// Two records of a run that are nearer to each other than this are read in one go.
const GAP_BYTES: u32 = 64 * 1024;
/// The number of places of blobs that are remembered.
const BLOBS_MAX: usize = 100_000;

/// A part of the journal that differs from what was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// Its run, if that can be told.
    pub run: Option<RunId>,
    /// The first entry of that run that cannot be read. 0 if it is the first record of the run. `None` if no
    /// entry is hit, or it is not known which.
    pub seq: Option<u64>,
    /// The file.
    pub path: PathBuf,
    /// The place in the file.
    pub offset: u64,
    /// What was seen.
    pub detail: String,
}

/// A run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RunState {
    pub(crate) header: RunHeader,
    pub(crate) extents: Vec<Extent>,
    /// The place of its last record.
    pub(crate) last: Position,
}

/// The index.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    /// In the log's order. `None` where a run was pruned.
    runs: Vec<Option<RunState>>,
    by_run: HashMap<RunId, usize>,
    /// The runs whose last entry did not say that they are over.
    open: BTreeSet<usize>,
    pruned: HashMap<RunId, Head>,
    /// The remains of a prune that was cut short.
    leftovers: Vec<(RunId, Vec<Extent>)>,
    /// The run that was begun last.
    last: Option<RunId>,
    damage: Vec<Damage>,
    blobs: HashMap<Digest, Place>,
    last_record: Option<Place>,
    /// The place of the next commit.
    pub(crate) end: Option<Position>,
    /// Whether a record was applied since the index was read from its file.
    changed: bool,
}

impl Index {
    /// The earlier index, from its parts.
    pub(crate) fn restored(
        runs: Vec<Option<RunState>>,
        pruned: HashMap<RunId, Head>,
        last: Option<RunId>,
        damage: Vec<Damage>,
        end: Position,
        last_record: Place,
    ) -> Index {
        let known = |(at, run): (usize, &Option<RunState>)| Some((run.as_ref()?.header.run, at));
        // At its full size at once: growing takes half as much again.
        let mut by_run = HashMap::with_capacity(runs.len());
        by_run.extend(runs.iter().enumerate().filter_map(known));
        let is_open = |run: &Option<RunState>| run.as_ref().is_some_and(|run| !run.header.over);
        let open = (0..runs.len()).filter(|at| is_open(&runs[*at])).collect();
        let (end, last_record) = (Some(end), Some(last_record));
        Index { runs, by_run, open, pruned, last, damage, end, last_record, ..Index::default() }
    }

    /// Every run that was ever begun, in the log's order. `None` where it was pruned.
    pub(crate) fn slots(&self) -> &[Option<RunState>] {
        &self.runs
    }

    /// True if a record was applied since the index was read from its file.
    pub(crate) fn is_changed(&self) -> bool {
        self.changed
    }

    /// The last record that was applied.
    pub(crate) fn last_record(&self) -> Option<Place> {
        self.last_record
    }

    pub(crate) fn last_run(&self) -> Option<RunId> {
        self.last
    }

    pub(crate) fn all_pruned(&self) -> impl Iterator<Item = (RunId, Head)> + '_ {
        self.pruned.iter().map(|(run, head)| (*run, *head))
    }

    /// The runs of which another index knows more. For each, the first entry that is missing here, and how
    /// many there were.
    pub(crate) fn less_than(&self, other: &Index) -> Vec<(RunId, u64, u64)> {
        let less = |state: &RunState| {
            let (run, head) = (state.header.run, state.header.head);
            let here = self.run(run).map(|state| &state.header);
            match here {
                None if self.pruned(run).is_some() => None,
                None => Some((run, 0, head.seq)),
                Some(here) if here.damage.is_none() && here.head.seq < head.seq => {
                    Some((run, here.head.seq + 1, head.seq))
                }
                Some(_) => None,
            }
        };
        other.runs.iter().flatten().filter_map(less).collect()
    }

    /// The runs in the log's order.
    pub(crate) fn headers(&self) -> Vec<RunHeader> {
        self.runs.iter().flatten().map(|run| run.header.clone()).collect()
    }

    /// The runs whose last entry did not say that they are over, in the log's order.
    pub(crate) fn open_headers(&self) -> Vec<RunHeader> {
        self.open.iter().filter_map(|at| Some(self.runs[*at].as_ref()?.header.clone())).collect()
    }

    /// True if there is a run that is not over.
    pub(crate) fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    pub(crate) fn run(&self, run: RunId) -> Option<&RunState> {
        self.runs[*self.by_run.get(&run)?].as_ref()
    }

    /// The head of a run when it was pruned.
    pub(crate) fn pruned(&self, run: RunId) -> Option<Head> {
        self.pruned.get(&run).copied()
    }

    /// The predecessor that the genesis of the next run covers.
    pub(crate) fn predecessor(&self) -> Option<Predecessor> {
        let run = self.last?;
        let head = self.run(run).map(|state| state.header.head).or_else(|| self.pruned(run))?;
        Some(Predecessor { run, head })
    }

    pub(crate) fn damage(&self) -> &[Damage] {
        &self.damage
    }

    pub(crate) fn blob(&self, digest: &Digest) -> Option<Place> {
        self.blobs.get(digest).copied()
    }

    pub(crate) fn remember_blob(&mut self, digest: Digest, place: Place) {
        if self.blobs.len() >= BLOBS_MAX {
            self.blobs.clear();
        }
        self.blobs.insert(digest, place);
    }

    /// The parts of the log that may have blobs. Those of open runs come first, then the latest first.
    pub(crate) fn extents_for_blobs(&self) -> Vec<Extent> {
        let open = self.open.iter().rev().filter_map(|at| self.runs[*at].as_ref());
        let closed = (0..self.runs.len()).rev().filter(|at| !self.open.contains(at));
        let closed = closed.filter_map(|at| self.runs[at].as_ref());
        open.chain(closed).flat_map(|run| run.extents.iter().rev().copied()).collect()
    }

    pub(crate) fn leftovers(&self) -> &[(RunId, Vec<Extent>)] {
        &self.leftovers
    }

    /// Notes that the remains of pruned runs are gone.
    pub(crate) fn finished_prune(&mut self) {
        self.leftovers.clear();
        self.blobs.clear();
    }

    /// Whether any run that is left has records in the segment.
    pub(crate) fn lives_in(&self, segment: u32) -> bool {
        self.runs.iter().flatten().any(|run| run.extents.iter().any(|extent| extent.segment == segment))
    }

    /// Takes in the next record of the log.
    pub(crate) fn apply(&mut self, meta: Meta, place: Place) {
        (self.last_record, self.changed) = (Some(place), true);
        match meta {
            Meta::Run(content) => self.begin(content, place),
            Meta::Blob { run, digest } => {
                self.extend(run, place);
                self.remember_blob(digest, place);
            }
            Meta::Entry(entry) => self.entry(entry, place),
            Meta::Prune(content) => self.prune(&content),
            Meta::Lost(content) => {
                self.lost(content, place);
            }
            Meta::Segment(_) | Meta::Blank => {}
        }
    }

    /// Takes in a known loss.
    pub(crate) fn lost(&mut self, LostContent { run, seq, detail }: LostContent, place: Place) {
        if self.run(run).is_none() && self.pruned(run).is_none() {
            self.push(header(run));
        }
        self.extend(run, place);
        self.lose(run, seq, detail, PathBuf::from(segment_name(place.at.segment)), place);
    }

    fn begin(&mut self, content: RunContent, place: Place) {
        let RunContent { run, kind, created, after } = content;
        let mut header = header(run);
        (header.kind, header.created, header.after) = (kind, created, after);
        header.head = header.genesis();
        self.last = Some(run);
        self.push(header);
        self.extend(run, place);
    }

    fn push(&mut self, header: RunHeader) {
        let at = self.runs.len();
        self.by_run.insert(header.run, at);
        if !header.over {
            self.open.insert(at);
        }
        let last = Position { segment: 1, offset: 0 };
        self.runs.push(Some(RunState { header, extents: Vec::new(), last }));
    }

    fn entry(&mut self, entry: EntryMeta, place: Place) {
        let Some(at) = self.by_run.get(&entry.run).copied() else {
            // The run's first record is damaged.
            let mut header = header(entry.run);
            let detail = "its first record is not there".to_owned();
            header.damage = Some(damage(entry.run, 0, place, detail));
            self.push(header);
            return self.extend(entry.run, place);
        };
        let Some(state) = &mut self.runs[at] else { return };
        let head = state.header.head;
        if state.header.damage.is_some() {
            // Not read, and not to be taken away with another run.
        } else if entry.seq != head.seq + 1 || entry.prev != head.hash {
            let detail = format!("entry {} follows entry {}", entry.seq, head.seq);
            state.header.damage = Some(damage(entry.run, head.seq + 1, place, detail));
        } else {
            state.header.head = Head { seq: entry.seq, hash: entry.hash };
            state.header.over = entry.over;
            if entry.over {
                self.open.remove(&at)
            } else {
                self.open.insert(at)
            };
        }
        self.extend_at(at, place);
    }

    fn extend(&mut self, run: RunId, place: Place) {
        if let Some(at) = self.by_run.get(&run) {
            self.extend_at(*at, place);
        }
    }

    fn extend_at(&mut self, at: usize, place: Place) {
        let Some(state) = &mut self.runs[at] else { return };
        let (segment, from) = (place.at.segment, place.at.offset);
        let to = from + place.len;
        state.last = place.at;
        match state.extents.last_mut() {
            Some(last) if last.segment == segment && from <= last.to.saturating_add(GAP_BYTES) => {
                last.to = last.to.max(to);
            }
            _ => state.extents.push(Extent { segment, from, to }),
        }
    }

    fn prune(&mut self, content: &PruneContent) {
        for gone in &content.runs {
            self.pruned.insert(gone.run, gone.head);
            let Some(at) = self.by_run.remove(&gone.run) else { continue };
            self.open.remove(&at);
            if let Some(state) = self.runs[at].take() {
                self.leftovers.push((gone.run, state.extents));
            }
        }
        if content.last.is_some() {
            self.last = content.last;
        }
    }

    /// Notes that a run is damaged from an entry on. Earlier knowledge stays.
    pub(crate) fn lose(&mut self, run: RunId, seq: u64, detail: String, path: PathBuf, place: Place) {
        let Some(at) = self.by_run.get(&run) else { return };
        let Some(state) = &mut self.runs[*at] else { return };
        if state.header.damage.is_none() {
            let mut damage = damage(run, seq, place, detail);
            damage.path = path;
            state.header.damage = Some(damage);
        }
    }

    /// Notes a part of the log that differs from what was written.
    pub(crate) fn note(&mut self, mut damage: Damage, bytes: &[u8], place: Place) {
        let hint = Hint::of(bytes);
        let known = hint.run.filter(|run| self.by_run.contains_key(run));
        let by_prev = || {
            let prev = hint.prev?;
            self.runs.iter().flatten().find(|run| run.header.head.hash == prev).map(|run| run.header.run)
        };
        let run = known.or_else(by_prev);
        damage.run = run.or(hint.run);
        if let Some(run) = run
            && let Some(state) = self.run(run)
        {
            let head = state.header.head;
            if hint.seq == Some(head.seq + 1) || hint.prev == Some(head.hash) {
                damage.seq = Some(head.seq + 1);
                self.lose(run, head.seq + 1, damage.detail.clone(), damage.path.clone(), place);
            }
        }
        self.damage.push(damage);
    }
}

fn header(run: RunId) -> RunHeader {
    let head = Head { seq: 0, hash: Digest::of(&[]) };
    let created = Timestamp::from_micros(0);
    RunHeader { run, kind: String::new(), created, after: None, head, over: false, damage: None }
}

fn damage(run: RunId, seq: u64, place: Place, detail: String) -> Damage {
    // A caller that knows the directory adds it to the file's name.
    let path = PathBuf::from(segment_name(place.at.segment));
    Damage { run: Some(run), seq: Some(seq), path, offset: place.at.offset.into(), detail }
}
