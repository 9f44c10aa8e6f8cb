//! Journals of format 1, and what becomes of them.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "../../tests/harness/mod.rs"]
mod harness;

use harness::copy_dir;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use fulcrum_state::Journal;
use fulcrum_state::OpenError;
use fulcrum_state::Reader;
use fulcrum_state::RunId;

fn open(dir: &Path) -> Journal {
    Journal::open(dir, "test").unwrap()
}

fn read(reader: &Reader, run: RunId) -> Vec<String> {
    reader.entries(run).map(|entry| entry.unwrap().body).collect()
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn old_journal() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/fixtures/journal-1")
}

/// What the kept journal says of itself: every run, its head, and the bodies of its entries.
fn told(reader: &Reader) -> String {
    let run = |run: RunId| {
        let head = reader.verify(run).unwrap();
        let bodies = read(reader, run).into_iter().map(|body| body + "\n").collect::<String>();
        format!("run {run} head {} {}\n{bodies}", head.seq, head.hash)
    };
    reader.runs().unwrap().into_iter().map(|header| run(header.run)).collect()
}

#[test]
fn a_journal_of_format_1_is_carried_over_once_with_its_hashes_and_blobs() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("state");
    copy_dir(&old_journal().join("state"), &dir);
    set_mode(&dir, 0o700);
    assert!(matches!(Reader::open(&dir), Err(OpenError::Older { found: 1, .. })));
    // As a kill while it was opened had left it.
    std::fs::write(dir.join("db/snap.00000000000000FF.generating"), [9; 30]).unwrap();
    let wanted = std::fs::read_to_string(old_journal().join("told")).unwrap();
    for _ in 0..2 {
        let journal = open(&dir);
        assert_eq!(told(&journal.reader()), wanted);
        for name in std::fs::read_dir(old_journal().join("state/blobs")).unwrap() {
            let digest = name.unwrap().file_name().into_string().unwrap().parse().unwrap();
            journal.reader().blob(&digest).unwrap();
        }
    }
    assert_eq!(told(&Reader::open(&dir).unwrap()), wanted);
    assert!(dir.join("v1/db/db").exists() && !dir.join("carried").exists() && !dir.join("witness").exists());
    let journal = open(&dir);
    let runs = journal.reader().runs().unwrap();
    wait(journal.prune(vec![runs[0].run], "as asked")).unwrap();
    assert!(!dir.join("v1").exists(), "what was pruned is in there");
    assert_eq!(journal.reader().verify(runs[1].run).unwrap(), runs[1].head);
}

/// Between any two of its renames.
#[test]
fn a_carry_over_that_was_cut_short_is_ended() {
    let root = tempfile::tempdir().unwrap();
    let (old, done) = (root.path().join("old"), root.path().join("done"));
    copy_dir(&old_journal().join("state"), &old);
    set_mode(&old, 0o700);
    copy_dir(&old, &done);
    set_mode(&done, 0o700);
    drop(open(&done));
    let wanted = std::fs::read_to_string(old_journal().join("told")).unwrap();
    for step in 0..6 {
        let dir = root.path().join(step.to_string());
        copy_dir(&old, &dir);
        set_mode(&dir, 0o700);
        let carried = dir.join("carried");
        copy_dir(&done.join("log"), &carried.join("log"));
        std::fs::create_dir(carried.join("blobs")).unwrap();
        if step > 0 {
            std::fs::write(dir.join("format"), "{\"format\":2}\n").unwrap();
            std::fs::create_dir(dir.join("v1")).unwrap();
            assert!(matches!(Reader::open(&dir), Err(OpenError::Older { .. })));
        }
        let moves =
            [("db", "v1/db"), ("witness", "v1/witness"), ("blobs", "v1/blobs"), ("carried/blobs", "blobs")];
        for (from, to) in moves.into_iter().take(step.max(1) - 1) {
            std::fs::rename(dir.join(from), dir.join(to)).unwrap();
        }
        assert_eq!(told(&open(&dir).reader()), wanted, "{step}");
        assert!(dir.join("v1/db/db").exists() && !carried.exists(), "{step}");
    }
}

/// Each flipped byte of the old database: an error that says what is damaged, or whole runs, or runs that say so.
#[test]
fn a_damaged_journal_of_format_1_is_carried_over_as_damaged() {
    let root = tempfile::tempdir().unwrap();
    let wanted = std::fs::read_to_string(old_journal().join("told")).unwrap();
    let size = std::fs::metadata(old_journal().join("state/db/db")).unwrap().len() as usize;
    let (mut whole, mut named) = (0, 0);
    for (round, at) in (0..size).step_by(size / 25).enumerate() {
        let dir = root.path().join(round.to_string());
        copy_dir(&old_journal().join("state"), &dir);
        set_mode(&dir, 0o700);
        let mut bytes = std::fs::read(dir.join("db/db")).unwrap();
        bytes[at] ^= 4;
        std::fs::write(dir.join("db/db"), bytes).unwrap();
        let journal = match Journal::open(&dir, "carry") {
            Ok(journal) => journal,
            Err(error) => {
                assert!(error.to_string().contains("db"), "{error}");
                named += 1;
                continue;
            }
        };
        let reader = journal.reader();
        let runs = reader.runs().unwrap();
        assert_eq!(runs.len(), 2, "byte {at}: a run is hidden");
        match runs.iter().all(|header| reader.verify(header.run).is_ok()) {
            true => {
                assert_eq!(told(&reader), wanted, "byte {at}");
                whole += 1;
            }
            false => named += 1,
        }
        for header in runs {
            let (mut entries, kept) = (reader.entries(header.run), format!("run {}", header.run));
            let kept = wanted.split(&kept).nth(1).unwrap().lines().skip(1);
            let whole = entries.by_ref().map_while(Result::ok).zip(kept);
            whole.for_each(|(entry, kept)| assert_eq!(entry.body, kept, "byte {at}"));
        }
    }
    assert!(named > 0 && whole + named > 20, "{whole} were whole, {named} named");
}
