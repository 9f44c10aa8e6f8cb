//! A directory for an auditor, who verifies it without this program: see `readme.md` beside this file.

use crate::encode::{hex, sha256};
use crate::error::EvidenceError;
use crate::key::{PublicKey, SigningKey};
use crate::leaves::{Leaves, evidence_dir};
use crate::merkle::{self, Tree};
use crate::note::Note;
use crate::seal::{KEY, read_keys, read_note, sizes};
use crate::statement::Gathered;
use fulcrum_state::{Digest, Reader, RunId, Told, fsync};
use serde_json::json;
use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// The names of the files of an export.
pub(crate) const ENTRIES: &str = "entries.jsonl";
pub(crate) const LEAVES: &str = "leaves";
pub(crate) const CHECKPOINT: &str = "checkpoint";
pub(crate) const PUBLIC_KEYS: &str = "keys";
pub(crate) const PROOFS: &str = "proofs.jsonl";
pub(crate) const STATEMENTS: &str = "statements.intoto.jsonl";
pub(crate) const BLOBS: &str = "blobs";
pub(crate) const SUMS: &str = "SHA256SUMS";
pub(crate) const SIGNATURE: &str = "SHA256SUMS.sig";

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The number of runs.
    pub runs: usize,
    /// The number of records.
    pub records: usize,
    /// The checkpoint.
    pub checkpoint: Note,
    /// The key that signed.
    pub key: PublicKey,
}

/// Writes the runs to the empty or new directory `to`: all that the last checkpoint has of them, or of every run
/// if there are none here. An export that was cut short has no `SHA256SUMS.sig`.
///
/// # Errors
/// When the journal was never signed or cannot be read, the key cannot be used, or a file cannot be written.
pub fn export(
    journal: &Reader,
    state_dir: &Path,
    runs: &[RunId],
    to: &Path,
) -> Result<Exported, EvidenceError> {
    let dir = evidence_dir(state_dir);
    let unsigned =
        || EvidenceError::content(&dir, "this journal was never signed: there is nothing to export");
    let note = sizes(&dir)?.last().map(|size| read_note(&dir, *size)).transpose()?.flatten();
    let note = note.ok_or_else(unsigned)?;
    let key = SigningKey::read(&dir.join(KEY))?.ok_or_else(unsigned)?;
    let keys = read_keys(&dir)?;
    let content = Content::read(journal, state_dir, runs, &note, &key)?;
    make_empty(to)?;
    make_empty(&to.join(BLOBS))?;
    let (count, records) = (content.runs, content.records);
    let mut files = content.files;
    for (digest, value) in content.blobs {
        files.insert(format!("{BLOBS}/{digest}"), value);
    }
    files.insert(CHECKPOINT.into(), note.to_string().into_bytes());
    files.insert(PUBLIC_KEYS.into(), lines(keys.iter().map(ToString::to_string)));
    files.insert("allowed_signers".into(), lines(keys.iter().map(PublicKey::allowed_signer)));
    files.insert("README.md".into(), include_bytes!("readme.md").to_vec());
    files.insert("verify.sh".into(), include_bytes!("verify.sh").to_vec());
    let sums = files.iter().map(|(name, value)| format!("{}  {name}", hex(&sha256(&[value]))));
    let sums = lines(sums);
    for (name, value) in &files {
        write(to, name, value)?;
    }
    write(to, SUMS, &sums)?;
    write(to, SIGNATURE, key.ssh_signature(&sums).as_bytes())?;
    let key = key.public().clone();
    Ok(Exported { runs: count, records, checkpoint: note, key })
}

/// The content of the files that are made from the journal.
struct Content {
    files: BTreeMap<String, Vec<u8>>,
    /// By the text of their BLAKE3.
    blobs: BTreeMap<String, Vec<u8>>,
    runs: usize,
    records: usize,
}

impl Content {
    fn read(
        journal: &Reader,
        state_dir: &Path,
        runs: &[RunId],
        note: &Note,
        key: &SigningKey,
    ) -> Result<Self, EvidenceError> {
        let size = note.checkpoint.size;
        let (mut entries, mut marks, mut records) = (Vec::new(), vec![b'-'; size], 0);
        let mut gathered: BTreeMap<RunId, Gathered> = BTreeMap::new();
        let mut large: Vec<Digest> = Vec::new();
        let leaves = Leaves::read(journal, state_dir, |index, content| {
            let Some(told) = Told::read(content) else { return };
            let run = run_of(&told);
            // Prunes are in every export: they tell what is missing.
            if index >= size || run.is_some_and(|run| !runs.is_empty() && !runs.contains(&run)) {
                return;
            }
            entries.extend_from_slice(content);
            entries.push(b'\n');
            (marks[index], records) = (b'+', records + 1);
            if let Told::Blob { digest, value: None, .. } = &told {
                large.push(*digest);
            }
            if let Some(run) = run {
                gather(gathered.entry(run).or_default(), told, index, content);
            }
        })?;
        let marked = leaves
            .hashes
            .iter()
            .zip(&marks)
            .map(|(hash, mark)| format!("{} {}", hex(hash), char::from(*mark)));
        let leaf_lines = lines(marked);
        let tree = Tree::new(leaves.hashes[..size.min(leaves.hashes.len())].to_vec());
        let mut files = BTreeMap::from([(ENTRIES.to_owned(), entries), (LEAVES.to_owned(), leaf_lines)]);
        let proofs = gathered.iter().map(|(run, gathered)| {
            let path: Vec<String> = tree.path(gathered.last_leaf).iter().map(|hash| hex(hash)).collect();
            json!({ "run": run, "leaf": gathered.last_leaf, "size": size, "path": path }).to_string()
        });
        files.insert(PROOFS.into(), lines(proofs));
        let stated = gathered.values().filter_map(|gathered| gathered.envelope(&note.checkpoint, key));
        files.insert(STATEMENTS.into(), lines(stated));
        let mut blobs = BTreeMap::new();
        for digest in large {
            blobs.insert(digest.to_string(), journal.blob(&digest)?);
        }
        Ok(Self { files, blobs, runs: gathered.len(), records })
    }
}

/// Takes a record in.
pub(crate) fn gather(gathered: &mut Gathered, told: Told, index: usize, content: &[u8]) {
    gathered.leaves.push(merkle::leaf(content));
    match told {
        Told::Run(header) => gathered.header = Some(header),
        Told::Entry(entry) => gathered.entry(&entry, index),
        Told::Blob { .. } | Told::Prune { .. } | Told::Lost { .. } => {}
    }
}

/// The run of a record.
pub(crate) fn run_of(told: &Told) -> Option<RunId> {
    match told {
        Told::Run(header) => Some(header.run),
        Told::Entry(entry) => Some(entry.run),
        Told::Blob { run, .. } | Told::Lost { run, .. } => Some(*run),
        Told::Prune { .. } => None,
    }
}

fn lines(lines: impl Iterator<Item = String>) -> Vec<u8> {
    lines.flat_map(|line| (line + "\n").into_bytes()).collect()
}

fn make_empty(dir: &Path) -> Result<(), EvidenceError> {
    let made = std::fs::DirBuilder::new().mode(0o700).recursive(true).create(dir);
    made.map_err(EvidenceError::file("make", dir))?;
    let mut there = std::fs::read_dir(dir).map_err(EvidenceError::file("list", dir))?;
    match there.next() {
        None => Ok(()),
        Some(_) => Err(EvidenceError::content(dir, "it is not empty; name a new directory")),
    }
}

fn write(dir: &Path, name: &str, value: &[u8]) -> Result<(), EvidenceError> {
    let path = dir.join(name);
    let mode = if name == "verify.sh" { 0o755 } else { 0o644 };
    fsync::write_atomic(&path, value, Some(mode), None).map_err(EvidenceError::file("write", &path))
}
