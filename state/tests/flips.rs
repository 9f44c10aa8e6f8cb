//! One flipped byte anywhere in the database: it is reported, with the number of the entry if it is in the
//! body of one, or it is harmless and everything is as it was. Never a panic, never fewer entries in
//! silence.
//!
//! What sled does, which decides what we can say: see `state/src/salvage.rs`.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::path::Path;

use fulcrum_state::Journal;
use fulcrum_state::OpenError;
use fulcrum_state::ReadError;
use fulcrum_state::RunId;
use tempfile::TempDir;

const ENTRIES: u64 = 30;
const MARK: &str = "manifest of entry ";

fn body(seq: u64) -> String {
    format!("{{\"text\":\"{MARK}{seq:02} {}\"}}", "x".repeat(40))
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// A journal of two runs, the second with [`ENTRIES`] entries, opened so many times while it was written.
struct Base {
    root: TempDir,
    run: RunId,
}

/// When the copy is taken that the bytes are flipped in.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// While it is open, as a kill leaves it.
    Killed,
    /// After it was closed.
    Closed,
}

impl Base {
    fn new(openings: u64, end: End) -> Base {
        let root = tempfile::tempdir().unwrap();
        let live = root.path().join("live");
        let journal = Journal::open(&live, "first").unwrap();
        wait(journal.begin("rehearsal", vec!["{}".into()])).unwrap();
        let (run, _) = wait(journal.begin("pivot", vec![])).unwrap();
        let mut journal = Some(journal);
        for seq in 1..=ENTRIES {
            let open = journal.take().unwrap_or_else(|| Journal::open(&live, "next").unwrap());
            wait(open.append(run, vec![body(seq)])).unwrap();
            journal = (seq % (ENTRIES / openings) != 0).then_some(open);
        }
        if end == End::Killed {
            let open = journal.take().unwrap_or_else(|| Journal::open(&live, "last").unwrap());
            copy(&live, &root.path().join("base"));
            drop(open);
        } else {
            drop(journal);
            copy(&live, &root.path().join("base"));
        }
        Base { root, run }
    }

    /// The files of the database.
    fn files(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.root.path().join("base/db")).unwrap().map(|file| file.unwrap());
        let files = files.filter(|file| file.file_type().unwrap().is_file());
        files.map(|file| file.file_name().into_string().unwrap()).collect()
    }

    fn bytes(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.root.path().join("base/db").join(file)).unwrap()
    }

    /// A copy with one byte changed.
    fn flipped(&self, file: &str, place: usize) -> TempDir {
        self.changed(file, |bytes| bytes[place] ^= 0x04)
    }

    fn changed(&self, file: &str, change: impl FnOnce(&mut Vec<u8>)) -> TempDir {
        let work = tempfile::tempdir_in(self.root.path()).unwrap();
        copy(&self.root.path().join("base"), work.path());
        let mut bytes = self.bytes(file);
        change(&mut bytes);
        std::fs::write(work.path().join("db").join(file), bytes).unwrap();
        work
    }

    /// Reported or harmless, and what was reported once is not forgotten.
    fn check(&self, work: &TempDir, what: &str) {
        let first = self.verified(work.path());
        let second = self.verified(work.path());
        assert!(first.is_ok() || second.is_err(), "{what}: {first:?}, then {second:?}");
    }

    /// The number of the damaged entry as a person finds it: open, salvage if that fails, verify.
    fn verified(&self, dir: &Path) -> Result<(), u64> {
        let journal = match Journal::open(dir, "verify") {
            Ok(journal) => journal,
            Err(OpenError::Damaged { .. }) => Journal::salvage(dir, "verify").unwrap(),
            Err(other) => panic!("{other:?}"),
        };
        assert_eq!(journal.runs().unwrap().len(), 2, "both runs are known");
        let whole: Vec<String> =
            journal.entries(self.run).map_while(Result::ok).map(|entry| entry.body).collect();
        assert_eq!(whole, (1..=whole.len() as u64).map(body).collect::<Vec<_>>());
        match journal.verify(self.run) {
            Ok(head) => {
                assert_eq!((head.seq, whole.len() as u64), (ENTRIES, ENTRIES));
                Ok(())
            }
            Err(ReadError::Damaged { seq, .. }) => {
                assert_eq!(seq, whole.len() as u64 + 1, "the error follows the whole entries");
                Err(seq)
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap().map(|file| file.unwrap()) {
        let target = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy(&file.path(), &target);
        } else {
            std::fs::copy(file.path(), target).unwrap();
        }
    }
}

fn bases() -> impl Iterator<Item = Base> {
    [(1, End::Killed), (1, End::Closed), (3, End::Killed), (3, End::Closed)]
        .into_iter()
        .map(|(openings, end)| Base::new(openings, end))
}

#[test]
fn a_flip_in_the_body_of_an_entry_is_reported_with_its_number() {
    for base in [Base::new(1, End::Killed), Base::new(3, End::Closed)] {
        let log = base.bytes("db");
        let mut hit = std::collections::BTreeSet::new();
        for place in
            (0..log.len() - MARK.len() - 2).filter(|place| log[*place..].starts_with(MARK.as_bytes()))
        {
            let number = &log[place + MARK.len()..][..2];
            let seq: u64 = std::str::from_utf8(number).unwrap().parse().unwrap();
            let work = base.flipped("db", place + 3);
            assert_eq!(base.verified(work.path()), Err(seq), "at {place}, a copy of entry {seq}");
            if hit.insert(seq) {
                assert_eq!(base.verified(work.path()), Err(seq), "again, after sled has cut the log off");
            }
        }
        assert_eq!(hit.len() as u64, ENTRIES);
    }
}

#[test]
fn a_flip_anywhere_is_reported_or_harmless() {
    for base in bases() {
        for file in base.files() {
            let bytes = base.bytes(&file);
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            for place in (0..used).step_by((used / 12).max(1)).chain([bytes.len() - 1]) {
                base.check(&base.flipped(&file, place), &format!("{file} flipped at {place} of {used}"));
            }
        }
    }
}

#[test]
fn a_file_that_is_cut_off_is_reported_or_harmless() {
    for base in bases() {
        for file in base.files() {
            let bytes = base.bytes(&file);
            for place in (0..bytes.len()).step_by((bytes.len() / 4).max(1)) {
                let work = base.changed(&file, |bytes| bytes.truncate(place));
                base.check(&work, &format!("{file} cut at {place} of {}", bytes.len()));
            }
        }
    }
}

#[test]
fn a_database_that_does_not_open_says_what_can_still_be_read() {
    let base = Base::new(3, End::Closed);
    let work = base.flipped("conf", 0);
    let digest = {
        let fine = tempfile::tempdir_in(base.root.path()).unwrap();
        copy(&base.root.path().join("base"), fine.path());
        let digest = wait(Journal::open(fine.path(), "put").unwrap().put_blob(b"manifest".to_vec())).unwrap();
        copy(&fine.path().join("blobs"), &work.path().join("blobs"));
        digest
    };
    let text = Journal::open(work.path(), "open").map(|_| ()).unwrap_err().to_string();
    for part in [work.path().join("db").to_str().unwrap(), "blobs/", "archived manifests"] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    let journal = Journal::salvage(work.path(), "look").unwrap();
    assert_eq!(journal.verify(base.run).unwrap().seq, ENTRIES, "no entry is hit");
    assert_eq!(journal.blob(&digest).unwrap(), b"manifest");
    assert!(
        wait(journal.append(base.run, vec!["{}".into()])).unwrap_err().is_poisoned(),
        "it is for reading"
    );
}
