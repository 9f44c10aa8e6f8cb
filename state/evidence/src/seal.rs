//! Signs the journal as it is. The files, below `evidence/` in the state directory:
//!
//! | name | what it is |
//! |---|---|
//! | `key` | the node's key, mode 0600 |
//! | `keys` | the public keys, one a line, the oldest first |
//! | `checkpoints/SIZE` | what was signed when the tree had so many leaves |
//! | `rotations/ID` | what the key before this one has signed when this one took its place |
//! | `pruned` | the leaves of what was pruned: place, run, hash |
//!
//! Each is written whole. After a crash between two of them the next signing does what is left.

use crate::encode::hex;
use crate::error::EvidenceError;
use crate::key::{PublicKey, SigningKey};
use crate::leaves::{Leaves, evidence_dir, make_dir};
use crate::merkle::Tree;
use crate::note::{Checkpoint, Note};
use fulcrum_state::{Reader, Timestamp, fsync};
use std::path::{Path, PathBuf};

pub(crate) const KEY: &str = "key";
pub(crate) const KEYS: &str = "keys";
pub(crate) const CHECKPOINTS: &str = "checkpoints";
const ROTATIONS: &str = "rotations";

/// Signs the journal as it is, and keeps what was signed. Makes the key if this journal was never signed. The
/// caller sees to it that no other process signs meanwhile: it holds the journal's lock.
///
/// # Errors
/// When the journal cannot be read, the key cannot be used, or a file cannot be written. The journal is as it
/// was, and unsigned from its last checkpoint on.
pub fn seal(journal: &Reader, state_dir: &Path) -> Result<Note, EvidenceError> {
    seal_watched(journal, state_dir, &|_| {})
}

/// How far a signing is: what is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The records, and what the last signing has left.
    Unsigned,
    /// A key, which was made just now. Its public half is not among the known ones.
    KeyMade,
    /// The key, and its public half. The checkpoint is not there.
    KeyKnown,
    /// The checkpoint.
    Signed,
}

/// As [`seal`]. Tells the caller each stage when it is reached. [`Stage::KeyMade`] is told if the key is made.
///
/// # Errors
/// As there.
pub fn seal_watched(
    journal: &Reader,
    state_dir: &Path,
    reached: &dyn Fn(Stage),
) -> Result<Note, EvidenceError> {
    reached(Stage::Unsigned);
    let dir = evidence_dir(state_dir);
    let key = match SigningKey::read(&dir.join(KEY))? {
        Some(key) => key,
        None => {
            let key = make_key(&dir)?;
            reached(Stage::KeyMade);
            key
        }
    };
    sweep(&dir)?;
    know(&dir, &key)?;
    reached(Stage::KeyKnown);
    let checkpoint = checkpoint(journal, state_dir, key.public().name())?;
    let note = write_note(&dir, Note::sign(checkpoint, &[&key]))?;
    reached(Stage::Signed);
    Ok(note)
}

/// Makes a new key, and signs the journal with it. The earlier key signs first that the new one follows it, so
/// that a reader who trusts the earlier one may trust the new one. `None` if the earlier key is missing or cannot
/// be used: then only the new key vouches for itself, and [`verify`](mod@crate::verify) says so.
///
/// # Errors
/// When the journal cannot be read or a file cannot be written. Until the new key is in its place, the earlier
/// one counts.
pub fn rotate(journal: &Reader, state_dir: &Path) -> Result<(Note, Option<PublicKey>), EvidenceError> {
    let dir = evidence_dir(state_dir);
    for made in [CHECKPOINTS, ROTATIONS] {
        make_dir(&dir.join(made))?;
    }
    let old = SigningKey::read(&dir.join(KEY)).ok().flatten();
    let name = match &old {
        Some(old) => Some(old.public().name().to_owned()),
        None => read_keys(&dir)?.last().map(|key| key.name().to_owned()),
    };
    let new = SigningKey::generate(name.as_deref())?;
    sweep(&dir)?;
    if let Some(old) = &old {
        // What a rotation that was cut short has left is forgotten first: the new key follows the one that signs.
        know(&dir, old)?;
        let here = checkpoint(journal, state_dir, new.public().name())?;
        let here = Checkpoint { next: Some(new.public().clone()), ..here };
        let path = rotation(&dir, new.public());
        let note = Note::sign(here, &[old, &new]).to_string();
        let written = fsync::write_atomic(&path, note.as_bytes(), Some(0o600), None);
        written.map_err(EvidenceError::file("write", &path))?;
    }
    know(&dir, &new)?;
    new.write(&dir.join(KEY))?;
    Ok((seal(journal, state_dir)?, old.map(|old| old.public().clone())))
}

/// The path of what the key before this one has said of it.
pub(crate) fn rotation(dir: &Path, key: &PublicKey) -> PathBuf {
    dir.join(ROTATIONS).join(hex(&key.id()))
}

/// The public keys that this journal has had, the oldest first.
///
/// # Errors
/// When the file cannot be read, or has a line that is none.
pub fn read_keys(dir: &Path) -> Result<Vec<PublicKey>, EvidenceError> {
    let path = dir.join(KEYS);
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(EvidenceError::file("read", &path))?,
    };
    let key = |line: &str| {
        PublicKey::parse(line).ok_or_else(|| EvidenceError::content(&path, format!("{line:?} is no key")))
    };
    text.lines().map(key).collect()
}

/// The sizes at which checkpoints were signed, in order.
///
/// # Errors
/// When the directory cannot be read.
pub fn sizes(dir: &Path) -> Result<Vec<usize>, EvidenceError> {
    let path = dir.join(CHECKPOINTS);
    let names = match std::fs::read_dir(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        names => names.map_err(EvidenceError::file("list", &path))?,
    };
    let mut sizes = Vec::new();
    for name in names {
        let name = name.map_err(EvidenceError::file("list", &path))?.file_name();
        match name.to_str().map(|name| (name.starts_with('.'), name.parse())) {
            Some((false, Ok(size))) => sizes.push(size),
            Some((true, _)) => {} // What a killed process has left.
            _ => return Err(EvidenceError::content(&path, format!("{} is no checkpoint", name.display()))),
        }
    }
    sizes.sort_unstable();
    Ok(sizes)
}

/// The checkpoint that was signed at this size. `None` if there is none, or it cannot be read as one.
///
/// # Errors
/// When the file cannot be read.
pub fn read_note(dir: &Path, size: usize) -> Result<Option<Note>, EvidenceError> {
    let path = dir.join(CHECKPOINTS).join(size.to_string());
    match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Ok(None),
        text => Ok(Note::parse(&text.map_err(EvidenceError::file("read", &path))?)),
    }
}

fn write_note(dir: &Path, note: Note) -> Result<Note, EvidenceError> {
    let path = dir.join(CHECKPOINTS).join(note.checkpoint.size.to_string());
    let written = fsync::write_atomic(&path, note.to_string().as_bytes(), Some(0o600), None);
    written.map_err(EvidenceError::file("write", &path))?;
    Ok(note)
}

/// The first key of a journal. A journal that was signed has had one.
fn make_key(dir: &Path) -> Result<SigningKey, EvidenceError> {
    make_dir(&dir.join(CHECKPOINTS))?;
    if !sizes(dir)?.is_empty() {
        let detail = "it is missing, and the journal was signed with it; bring it back from a backup, or make a \
                      new one with `fulcrum history rotate-key`";
        return Err(EvidenceError::content(&dir.join(KEY), detail));
    }
    let key = SigningKey::generate(None)?;
    key.write(&dir.join(KEY))?;
    Ok(key)
}

/// Removes what a killed process has left beside the key: half a key, or a whole one.
fn sweep(dir: &Path) -> Result<(), EvidenceError> {
    let key = dir.join(KEY);
    fsync::sweep(&key).map_err(EvidenceError::file("sweep beside", &key))
}

/// Puts the public half of a key among the known ones. It is the last of them, but for keys that have signed: a
/// rotation that was cut short leaves one that never will.
fn know(dir: &Path, key: &SigningKey) -> Result<(), EvidenceError> {
    let before = read_keys(dir)?;
    let mut keys = before.clone();
    match keys.iter().position(|known| known == key.public()) {
        None => keys.push(key.public().clone()),
        Some(place) if place + 1 < keys.len() => {
            let last = sizes(dir)?.pop().map(|size| read_note(dir, size)).transpose()?.flatten();
            let has_signed = |key: &PublicKey| last.as_ref().is_some_and(|note| note.is_signed_by(key));
            if !keys[place + 1..].iter().any(has_signed) {
                keys.truncate(place + 1);
            }
        }
        Some(_) => {}
    }
    if keys != before {
        let text: String = keys.iter().map(|key| format!("{key}\n")).collect();
        let path = dir.join(KEYS);
        let written = fsync::write_atomic(&path, text.as_bytes(), Some(0o600), None);
        written.map_err(EvidenceError::file("write", &path))?;
    }
    Ok(())
}

fn checkpoint(journal: &Reader, state_dir: &Path, origin: &str) -> Result<Checkpoint, EvidenceError> {
    let leaves = Leaves::read(journal, state_dir, |_, _| {})?;
    let run = journal.runs()?.last().map(|header| (header.run, header.head));
    let tree = Tree::new(leaves.hashes);
    let (size, root, time) = (tree.size(), tree.root(), Timestamp::now());
    Ok(Checkpoint { origin: origin.to_owned(), size, root, run, time, next: None })
}
