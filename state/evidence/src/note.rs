//! What is signed: a checkpoint of C2SP (tlog-checkpoint), a signed note with the size and the root of the tree.
//!
//! ```text
//! fulcrum.dev/journal/0192...       the origin
//! 1234                              the number of leaves
//! base64                            the root
//! run 0192... 57 9f3c...            the run that has ended, its last entry, and that entry's hash
//! time 1764403200000000             microseconds since 1970
//! key fulcrum.dev/journal/0192...+  at a rotation: the key that signs from here on
//!
//! — fulcrum.dev/journal/0192... base64     a signature; at a rotation, two
//! ```

use crate::encode::{base64, from_base64};
use crate::key::{PublicKey, SigningKey};
use crate::merkle::Hash;
use fulcrum_state::{Head, RunId, Timestamp};

/// What a checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log: the name of its keys.
    pub origin: String,
    /// The number of leaves.
    pub size: usize,
    /// The root of the tree.
    pub root: Hash,
    /// The run that was begun last, and its last entry.
    pub run: Option<(RunId, Head)>,
    /// When it was signed, by the node's clock.
    pub time: Timestamp,
    /// At a rotation: the key that signs from here on. The earlier key vouches for it so.
    pub next: Option<PublicKey>,
}

/// A checkpoint with its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What it says.
    pub checkpoint: Checkpoint,
    text: String,
    signatures: Vec<Signature>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Signature {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
}

/// The beginning of a line with a signature.
const DASH: &str = "\u{2014} ";

impl Checkpoint {
    fn text(&self) -> String {
        let mut text = format!("{}\n{}\n{}\n", self.origin, self.size, base64(&self.root));
        if let Some((run, head)) = self.run {
            text.push_str(&format!("run {run} {} {}\n", head.seq, head.hash));
        }
        text.push_str(&format!("time {}\n", self.time.as_micros()));
        if let Some(next) = &self.next {
            text.push_str(&format!("key {next}\n"));
        }
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().peekable();
        let origin = lines.next()?.to_owned();
        let size = lines.next()?.parse().ok()?;
        let root = from_base64(lines.next()?)?.try_into().ok()?;
        let run = match lines.next_if(|line| line.starts_with("run ")) {
            None => None,
            Some(line) => {
                let mut words = line.split(' ').skip(1);
                let run = words.next()?.parse().ok()?;
                Some((run, Head { seq: words.next()?.parse().ok()?, hash: words.next()?.parse().ok()? }))
            }
        };
        let time = lines.next()?.strip_prefix("time ")?.parse().ok()?;
        let next = match lines.next() {
            None => None,
            Some(line) => Some(PublicKey::parse(line.strip_prefix("key ")?)?),
        };
        let checkpoint = Self { origin, size, root, run, time: Timestamp::from_micros(time), next };
        (checkpoint.text() == text).then_some(checkpoint)
    }
}

impl Note {
    /// The checkpoint, signed with these keys.
    pub fn sign(checkpoint: Checkpoint, keys: &[&SigningKey]) -> Self {
        let text = checkpoint.text();
        let signatures = keys.iter().map(|key| Signature {
            name: key.public().name().to_owned(),
            id: key.public().id(),
            bytes: key.sign(text.as_bytes()).to_vec(),
        });
        Self { signatures: signatures.collect(), checkpoint, text }
    }

    /// Reads a note. `None` if it is none, or says something else than a checkpoint of this program. The
    /// signatures are not checked.
    pub fn parse(note: &str) -> Option<Self> {
        let (text, signed) = note.split_once("\n\n")?;
        let text = format!("{text}\n");
        let signature = |line: &str| {
            let (name, bytes) = line.strip_prefix(DASH)?.split_once(' ')?;
            let bytes = from_base64(bytes)?;
            let (id, bytes) = bytes.split_first_chunk::<4>()?;
            Some(Signature { name: name.to_owned(), id: *id, bytes: bytes.to_vec() })
        };
        let signatures: Vec<Signature> = signed.lines().map(signature).collect::<Option<_>>()?;
        let checkpoint = Checkpoint::parse(&text)?;
        let parsed = Self { checkpoint, text, signatures };
        (!parsed.signatures.is_empty() && parsed.to_string() == note).then_some(parsed)
    }

    /// Whether it has a signature of this key that is right.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        let of_key = self.signatures.iter().filter(|one| one.id == key.id() && one.name == key.name());
        of_key.into_iter().any(|one| key.verifies(self.text.as_bytes(), &one.bytes))
    }

    /// Whether every signature is right and of one of these keys.
    pub fn is_signed_only_by(&self, keys: &[PublicKey]) -> bool {
        self.signatures.iter().all(|one| {
            keys.iter().any(|key| {
                one.id == key.id() && one.name == key.name() && key.verifies(self.text.as_bytes(), &one.bytes)
            })
        })
    }

    /// Whether one of its signatures claims to be one of these keys'.
    pub fn claims(&self, keys: &[PublicKey]) -> bool {
        self.signatures.iter().any(|one| keys.iter().any(|key| one.id == key.id()))
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.text)?;
        for Signature { name, id, bytes } in &self.signatures {
            writeln!(f, "{DASH}{name} {}", base64(&[&id[..], bytes].concat()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_written_and_no_byte_of_it_may_differ() {
        let (old, new) = (SigningKey::of("a/b", [1; 32]).unwrap(), SigningKey::of("a/b", [2; 32]).unwrap());
        let head = Head { seq: 7, hash: fulcrum_state::Digest::of(b"head") };
        let run = Some((RunId::new(), head));
        let time = Timestamp::from_micros(5);
        let checkpoint = Checkpoint {
            origin: "a/b".into(),
            size: 3,
            root: [9; 32],
            run,
            time,
            next: Some(new.public().clone()),
        };
        let note = Note::sign(checkpoint.clone(), &[&old, &new]);
        let text = note.to_string();
        assert_eq!(Note::parse(&text).unwrap(), note);
        let keys = [old.public().clone(), new.public().clone()];
        assert!(keys.iter().all(|key| note.is_signed_by(key)) && note.is_signed_only_by(&keys));
        for at in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[at] ^= 1;
            let read = String::from_utf8(other).ok().and_then(|other| Note::parse(&other));
            assert!(read.is_none_or(|read| !read.is_signed_only_by(&keys)), "byte {at}");
        }
        let alone = Note::sign(checkpoint, &[&new]);
        assert!(!alone.is_signed_by(old.public()) && !alone.claims(&keys[..1]));
    }
}
