//! From the journal to the leaves of the tree. A leaf is a record of the log, byte for byte, in the log's order;
//! of what was pruned, only the hash is left, in a file of its own.

use crate::encode::{from_hex, hex};
use crate::error::EvidenceError;
use crate::merkle::{self, Hash};
use fulcrum_state::{Digest, Head, Pruned, Reader, RunId, Timestamp, Told, fsync};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The directory of the evidence, below the state directory.
pub const EVIDENCE: &str = "evidence";
/// The file with the leaves of what was pruned.
const PRUNED: &str = "pruned";

/// A prune, as its record tells it.
#[derive(Debug, Clone)]
pub struct Prune {
    /// When.
    pub time: Timestamp,
    /// Why.
    pub reason: String,
    /// Which runs.
    pub runs: Vec<Pruned>,
}

/// The leaves of a journal, and what stands at each.
#[derive(Debug, Default)]
pub struct Leaves {
    /// The hashes, in the log's order.
    pub hashes: Vec<Hash>,
    /// The run of each. `None` for a prune.
    pub runs: Vec<Option<RunId>>,
    /// True where only the hash is left.
    pub pruned: Vec<bool>,
    /// The hashes of the entries of each run.
    pub entries: HashMap<RunId, Vec<Digest>>,
    /// The prunes.
    pub prunes: Vec<Prune>,
    /// The leaf of the last entry of each run.
    pub last: HashMap<RunId, usize>,
}

/// The path of the evidence of the journal in `state_dir`.
pub fn evidence_dir(state_dir: &Path) -> PathBuf {
    state_dir.join(EVIDENCE)
}

impl Leaves {
    /// The leaves of a journal. `show` gets the content of each record that is there, with its place among the
    /// leaves.
    ///
    /// # Errors
    /// When the log or the file with the leaves of what was pruned cannot be read.
    pub fn read(
        journal: &Reader,
        state_dir: &Path,
        mut show: impl FnMut(usize, &[u8]),
    ) -> Result<Self, EvidenceError> {
        let gone = pruned_runs(journal)?;
        let mut kept = read_pruned(&evidence_dir(state_dir).join(PRUNED))?;
        kept.retain(|_, (run, _)| gone.contains(run));
        let mut leaves = Self::default();
        journal.each_record(|record| {
            // What is left of a prune that was cut short.
            if record.run.is_some_and(|run| gone.contains(&run)) {
                return;
            }
            leaves.take_pruned(&mut kept);
            show(leaves.hashes.len(), record.content);
            leaves.push(record.run, record.content);
        })?;
        leaves.take_pruned(&mut kept);
        Ok(leaves)
    }

    fn take_pruned(&mut self, kept: &mut BTreeMap<usize, (RunId, Hash)>) {
        while let Some((run, hash)) = kept.remove(&self.hashes.len()) {
            self.hashes.push(hash);
            self.runs.push(Some(run));
            self.pruned.push(true);
        }
    }

    fn push(&mut self, run: Option<RunId>, content: &[u8]) {
        match (run, Told::read(content)) {
            (Some(run), Some(Told::Entry(entry))) => {
                self.entries.entry(run).or_default().push(entry.hash);
                self.last.insert(run, self.hashes.len());
            }
            (None, Some(Told::Prune { time, reason, runs })) => {
                self.prunes.push(Prune { time, reason, runs });
            }
            _ => {}
        }
        self.hashes.push(merkle::leaf(content));
        self.runs.push(run);
        self.pruned.push(false);
    }

    /// The last entry of a run that is there.
    pub fn head(&self, run: RunId) -> Option<Head> {
        let hashes = self.entries.get(&run)?;
        Some(Head { seq: hashes.len() as u64, hash: *hashes.last()? })
    }
}

/// Keeps the leaves of runs that are about to be pruned. Without them no later checkpoint could be compared with
/// an earlier one. After a crash, before the prune, they do no harm.
///
/// # Errors
/// When the journal cannot be read or the file cannot be written.
pub fn keep_leaves(journal: &Reader, state_dir: &Path, runs: &[RunId]) -> Result<(), EvidenceError> {
    let leaves = Leaves::read(journal, state_dir, |_, _| {})?;
    let runs: BTreeSet<RunId> = runs.iter().copied().collect();
    let mut text = String::new();
    for (index, (hash, run)) in leaves.hashes.iter().zip(&leaves.runs).enumerate() {
        if let Some(run) = run.filter(|run| leaves.pruned[index] || runs.contains(run)) {
            let _ = writeln!(text, "{index} {run} {}", hex(hash));
        }
    }
    let dir = evidence_dir(state_dir);
    make_dir(&dir)?;
    let path = dir.join(PRUNED);
    let written = fsync::write_atomic(&path, text.as_bytes(), Some(0o600), None);
    written.map_err(EvidenceError::file("write", &path))
}

/// Makes the directory of the evidence, for this user only.
pub(crate) fn make_dir(dir: &Path) -> Result<(), EvidenceError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().mode(0o700).recursive(true).create(dir);
    made.map_err(EvidenceError::file("make", dir))?;
    let parent = dir.parent().unwrap_or(dir);
    fsync::sync_dir(parent).map_err(EvidenceError::file("sync", parent))
}

/// The runs that records of prunes name.
fn pruned_runs(journal: &Reader) -> Result<BTreeSet<RunId>, EvidenceError> {
    let mut gone = BTreeSet::new();
    journal.each_record(|record| {
        if record.run.is_none()
            && let Some(Told::Prune { runs, .. }) = Told::read(record.content)
        {
            gone.extend(runs.iter().map(|pruned| pruned.run));
        }
    })?;
    Ok(gone)
}

fn read_pruned(path: &Path) -> Result<BTreeMap<usize, (RunId, Hash)>, EvidenceError> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        text => text.map_err(EvidenceError::file("read", path))?,
    };
    let line = |line: &str| {
        let mut words = line.split(' ');
        let index = words.next()?.parse().ok()?;
        let run = words.next()?.parse().ok()?;
        Some((index, (run, from_hex(words.next()?)?)))
    };
    let lines = text.lines().map(|text| {
        line(text).ok_or_else(|| EvidenceError::content(path, format!("{text:?} is no line of it")))
    });
    lines.collect()
}
