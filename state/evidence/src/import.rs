//! The check of an exported directory: everything that `verify.sh` checks in it, and the signatures and hashes
//! for which there is no tool on every machine.

use crate::encode::{from_hex, hex, sha256};
use crate::error::EvidenceError;
use crate::export::{
    BLOBS, CHECKPOINT, ENTRIES, LEAVES, PROOFS, PUBLIC_KEYS, SIGNATURE, STATEMENTS, SUMS, gather, run_of,
};
use crate::key::PublicKey;
use crate::merkle::{self, Hash, Tree, root_by_path};
use crate::note::Note;
use crate::statement::Gathered;
use crate::verify::{Elsewhere, Report, Standing};
use fulcrum_state::{Digest, Head, RunId, Told};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Checks the export in `dir`, also against what is known `elsewhere`.
///
/// # Errors
/// When a file cannot be read. What is not as it was is a finding.
pub fn check(dir: &Path, elsewhere: &[Elsewhere]) -> Result<Report, EvidenceError> {
    let mut report = Report::default();
    let keys: Option<Vec<PublicKey>> = text(dir, PUBLIC_KEYS)?.lines().map(PublicKey::parse).collect();
    let keys = keys.unwrap_or_default();
    files(dir, &keys, &mut report)?;
    let Some(note) = Note::parse(&text(dir, CHECKPOINT)?).filter(|note| note.is_signed_only_by(&keys)) else {
        report.say(Standing::Wrong, None, "the checkpoint is not what the key signed");
        return Ok(report);
    };
    let Some((hashes, marked)) = leaves(&text(dir, LEAVES)?) else {
        report.say(Standing::Wrong, None, "the leaves cannot be read");
        return Ok(report);
    };
    let tree = Tree::new(hashes);
    if (tree.size(), tree.root()) != (note.checkpoint.size, note.checkpoint.root) {
        report.say(Standing::Wrong, None, "the leaves are not those of the checkpoint");
    }
    let runs = entries(dir, &tree, &marked, &mut report)?;
    let proofs = proofs(&text(dir, PROOFS)?, &runs, &tree);
    let stated = stated(&text(dir, STATEMENTS)?, &runs, &note, &keys);
    for run in runs.keys() {
        let (standing, text) = match (proofs.contains(run), stated.contains(run)) {
            (true, true) => (Standing::Verified, "its entries, its proof and its statement"),
            (false, _) => (Standing::Wrong, "its proof does not lead to the root"),
            (_, false) => (Standing::Wrong, "its statement is not of its entries"),
        };
        report.say(standing, Some(*run), text);
    }
    outside(&note, &tree, &keys, elsewhere, &mut report);
    Ok(report)
}

/// The list of files, its signature, and the files.
fn files(dir: &Path, keys: &[PublicKey], report: &mut Report) -> Result<(), EvidenceError> {
    let (sums, signature) = (bytes(dir, SUMS)?, text(dir, SIGNATURE)?);
    let Some(key) = keys.iter().find(|key| key.verifies_ssh(&sums, &signature)) else {
        report.say(Standing::Wrong, None, "SHA256SUMS is not what the key signed");
        return Ok(());
    };
    let mut listed = BTreeSet::from([SUMS.to_owned(), SIGNATURE.to_owned()]);
    for line in String::from_utf8_lossy(&sums).lines() {
        let (sum, name) = line.split_once("  ").unwrap_or_default();
        let found = std::fs::read(dir.join(name)).ok();
        if found.is_none_or(|found| hex(&sha256(&[&found])) != sum) {
            report.say(Standing::Wrong, None, format!("{name} is not what was signed"));
        }
        listed.insert(name.to_owned());
    }
    for (below, prefix) in [(dir.to_owned(), String::new()), (dir.join(BLOBS), format!("{BLOBS}/"))] {
        for entry in std::fs::read_dir(&below).map_err(EvidenceError::file("list", &below))? {
            let name = entry.map_err(EvidenceError::file("list", &below))?.file_name();
            let name = format!("{prefix}{}", name.display());
            if name != BLOBS && !listed.contains(&name) {
                report.say(Standing::Wrong, None, format!("{name} was not signed"));
            }
        }
    }
    report.say(Standing::Verified, None, format!("the list of {} files, signed with {key}", listed.len()));
    Ok(())
}

/// The leaves, and the places of those whose records are in the export.
fn leaves(text: &str) -> Option<(Vec<Hash>, Vec<usize>)> {
    let (mut hashes, mut marked) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        let (hash, mark) = line.split_once(' ')?;
        if mark == "+" {
            marked.push(index);
        }
        hashes.push(from_hex(hash)?);
    }
    Some((hashes, marked))
}

/// Every record is a leaf, every entry follows the one before, every blob is what its digest says.
fn entries(
    dir: &Path,
    tree: &Tree,
    marked: &[usize],
    report: &mut Report,
) -> Result<BTreeMap<RunId, Gathered>, EvidenceError> {
    let content = bytes(dir, ENTRIES)?;
    let lines: Vec<&[u8]> = content.split_inclusive(|byte| *byte == b'\n').collect();
    let mut runs: BTreeMap<RunId, Gathered> = BTreeMap::new();
    let mut heads: BTreeMap<RunId, Head> = BTreeMap::new();
    if lines.len() != marked.len() {
        let text = format!("{} records were signed, and {} are there", marked.len(), lines.len());
        report.say(Standing::Wrong, None, text);
    }
    for (line, index) in lines.iter().zip(marked) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let told = Told::read(line);
        let run = told.as_ref().and_then(run_of);
        if tree.leaves().get(*index) != Some(&merkle::leaf(line)) {
            report.say(
                Standing::Wrong,
                run,
                format!("the record at leaf {index} is not the one that was signed"),
            );
        }
        let Some(told) = told else {
            report.say(Standing::Wrong, None, format!("the record at leaf {index} cannot be read"));
            continue;
        };
        if let Some(text) = breaks(dir, &told, &mut heads) {
            report.say(Standing::Wrong, run, text);
        }
        if let Some(run) = run {
            gather(runs.entry(run).or_default(), told, *index, line);
        }
    }
    Ok(runs)
}

/// What is wrong with a record beside those before it.
fn breaks(dir: &Path, told: &Told, heads: &mut BTreeMap<RunId, Head>) -> Option<String> {
    match told {
        Told::Run(header) => {
            heads.insert(header.run, header.head);
            None
        }
        Told::Entry(entry) => {
            let before = heads.insert(entry.run, entry.head());
            let follows = before.is_some_and(|head| head.seq + 1 == entry.seq && head.hash == entry.prev);
            match (follows, entry.link() == entry.hash) {
                (true, true) => None,
                (false, _) => Some(format!("entry {} does not follow the one before", entry.seq)),
                (_, false) => Some(format!("entry {} has not the hash that it says", entry.seq)),
            }
        }
        Told::Blob { digest, value, .. } => {
            let value = match value {
                Some(value) => Some(value.clone()),
                None => std::fs::read(dir.join(BLOBS).join(digest.to_string())).ok(),
            };
            let right = value.is_some_and(|value| Digest::of(&value) == *digest);
            (!right).then(|| format!("blob {digest} is missing or has changed"))
        }
        Told::Prune { .. } | Told::Lost { .. } => None,
    }
}

/// The runs whose last entry is proven to be in the tree.
fn proofs(text: &str, runs: &BTreeMap<RunId, Gathered>, tree: &Tree) -> BTreeSet<RunId> {
    let proven = |line: &str| {
        let proof: Value = serde_json::from_str(line).ok()?;
        let run: RunId = proof["run"].as_str()?.parse().ok()?;
        let (leaf, size) = (index(&proof["leaf"])?, index(&proof["size"])?);
        let path: Option<Vec<Hash>> =
            proof["path"].as_array()?.iter().map(|hash| from_hex(hash.as_str()?)).collect();
        let gathered = runs.get(&run).filter(|gathered| gathered.last_leaf == leaf)?;
        let found = root_by_path(*tree.leaves().get(gathered.last_leaf)?, leaf, size, &path?);
        (found == Some(tree.root()) && size == tree.size()).then_some(run)
    };
    text.lines().filter_map(proven).collect()
}

fn index(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|value| value.try_into().ok())
}

/// The runs of which a signed statement says what their records say.
fn stated(text: &str, runs: &BTreeMap<RunId, Gathered>, note: &Note, keys: &[PublicKey]) -> BTreeSet<RunId> {
    let envelopes: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    // They stand in the order of the runs.
    let pairs = runs.iter().zip(&envelopes).filter(|_| envelopes.len() == runs.len());
    let right =
        pairs.filter(|((_, gathered), envelope)| gathered.is_stated_by(envelope, &note.checkpoint, keys));
    right.map(|((run, _), _)| *run).collect()
}

fn outside(note: &Note, tree: &Tree, keys: &[PublicKey], elsewhere: &[Elsewhere], report: &mut Report) {
    let mut known = false;
    for Elsewhere { place, note: other } in elsewhere {
        let other = match other {
            Ok(other) => other,
            Err(why) => {
                report.say(Standing::NotChecked, None, format!("{place}: {why}"));
                continue;
            }
        };
        known = true;
        let size = other.checkpoint.size;
        if !other.is_signed_only_by(keys) {
            report.say(Standing::Wrong, None, format!("{place}: its key is none of this journal's"));
        } else if tree.root_of(size) != Some(other.checkpoint.root) {
            let text = format!("{place}: its {size} records are not the first of this journal");
            report.say(Standing::Wrong, None, text);
        } else {
            let text = format!("{place}: its {size} records are the first of {}", note.checkpoint.size);
            report.say(Standing::Verified, None, text);
        }
    }
    if !known {
        let text = "whether this is the whole journal, and whose key this is: no earlier checkpoint from elsewhere \
                    was given";
        report.say(Standing::NotChecked, None, text);
    }
}

fn bytes(dir: &Path, name: &str) -> Result<Vec<u8>, EvidenceError> {
    let path = dir.join(name);
    std::fs::read(&path).map_err(EvidenceError::file("read", &path))
}

fn text(dir: &Path, name: &str) -> Result<String, EvidenceError> {
    let path = dir.join(name);
    String::from_utf8(bytes(dir, name)?).map_err(|_| EvidenceError::content(&path, "it is no text"))
}
