//! The journal in a directory: opening, closing, locking, formats.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use fulcrum_state::Journal;
use fulcrum_state::MAX_ENTRY_BYTES;
use fulcrum_state::OpenError;
use fulcrum_state::RunId;
use fulcrum_state::SledStore;
use fulcrum_state::Store;
use fulcrum_state::lock_holder;

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn body(n: u64) -> String {
    format!("{{\"n\":{n}}}")
}

fn read(journal: &Journal, run: RunId) -> Vec<String> {
    journal.entries(run).map(|entry| entry.unwrap().body).collect()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn the_store_on_the_disk_is_a_store() {
    let root = tempfile::tempdir().unwrap();
    let next = std::cell::Cell::new(0);
    fulcrum_state::conformance::run(|| {
        next.set(next.get() + 1);
        let dir = root.path().join(next.get().to_string());
        std::fs::create_dir(&dir).unwrap();
        Box::new(SledStore::open(&dir).unwrap())
    });
}

#[test]
fn everything_is_there_after_reopening_at_once() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("var/lib/fulcrum");
    let journal = Journal::open(&dir, "first").unwrap();
    assert_eq!(journal.dir(), Some(dir.as_path()));
    let (run, _) = wait(journal.begin("pivot", vec![body(1)])).unwrap();
    let digest = wait(journal.put_blob(vec![9; 200_000])).unwrap();
    drop(journal);
    for n in 2..=20 {
        let journal = Journal::open(&dir, "again").unwrap();
        assert_eq!(wait(journal.append(run, vec![body(n)])).unwrap().seq, n);
    }
    let journal = Journal::open(&dir, "last").unwrap();
    assert_eq!(read(&journal, run), (1..=20).map(body).collect::<Vec<_>>());
    assert_eq!(journal.verify(run).unwrap().seq, 20);
    assert_eq!(journal.blob(&digest).unwrap(), vec![9; 200_000]);
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("blobs").join(digest.to_string())), 0o600);
    assert_eq!(mode(&dir.join("witness")), 0o600);
    assert!(!dir.join("db.damaged").exists());
}

#[test]
fn an_iterator_keeps_the_journal_open() {
    let root = tempfile::tempdir().unwrap();
    let journal = Journal::open(root.path(), "reading").unwrap();
    let (run, _) = wait(journal.begin("pivot", vec![body(1), body(2)])).unwrap();
    let entries = journal.entries(run);
    drop(journal);
    assert!(matches!(Journal::open(root.path(), "second"), Err(OpenError::Locked { .. })));
    assert_eq!(entries.count(), 2);
    Journal::open(root.path(), "second").unwrap();
}

#[test]
fn the_last_handle_can_be_dropped_on_a_runtime() {
    let root = tempfile::tempdir().unwrap();
    wait(async {
        for _ in 0..5 {
            let journal = Journal::open(root.path(), "async").unwrap();
            journal.begin("pivot", vec![body(1)]).await.unwrap();
        }
    });
}

#[test]
fn a_second_opener_is_told_who_has_it() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("state");
    assert_eq!(lock_holder(&dir).unwrap(), None, "no directory");
    assert!(!dir.exists());
    let journal = Journal::open(&dir, "pivot of node a").unwrap();
    let (run, _) = wait(journal.begin("pivot", vec![])).unwrap();
    wait(journal.begin("rollback", vec![])).unwrap();

    let holder = lock_holder(&dir).unwrap().unwrap();
    assert_eq!((holder.pid, holder.purpose.as_str()), (std::process::id(), "pivot of node a"));
    assert_eq!(holder.run, Some(run), "the first run");
    let error = Journal::open(&dir, "another").map(|_| ()).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, OpenError::Locked { holder: Some(found), .. } if found == holder));
    for part in [&dir.display().to_string(), "process", "pivot of node a", &run.to_string()] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }

    drop(journal);
    assert_eq!(lock_holder(&dir).unwrap(), None, "what the file says is of the past");
    Journal::open(&dir, "another").unwrap();
}

#[test]
fn to_ask_who_holds_the_lock_does_not_disturb_an_opener() {
    let root = tempfile::tempdir().unwrap();
    Journal::open(root.path(), "make").unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                lock_holder(root.path()).unwrap();
            }
        });
        let opened: Vec<_> = (0..10).map(|_| Journal::open(root.path(), "open").map(|_| ())).collect();
        done.store(true, Ordering::Relaxed);
        opened.into_iter().for_each(|result| result.unwrap());
    });
}

#[test]
fn a_newer_format_is_not_touched() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("format"), "{\"format\":2,\"since\":\"0.9\"}").unwrap();
    let error = Journal::open(root.path(), "old").map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 2, supported: 1, .. }), "{error}");
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
}

#[test]
fn a_format_that_is_lost_or_unreadable_is_damage() {
    let root = tempfile::tempdir().unwrap();
    Journal::open(root.path(), "make").unwrap();
    for text in ["", "{}", "{\"format\":0}"] {
        std::fs::write(root.path().join("format"), text).unwrap();
        let error = Journal::open(root.path(), "open").map(|_| ()).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{text:?}: {error}");
    }
    std::fs::remove_file(root.path().join("format")).unwrap();
    let error = Journal::open(root.path(), "open").map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}

#[test]
fn a_place_that_cannot_be_a_directory_is_an_error_with_its_path() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("file");
    std::fs::write(&path, "").unwrap();
    let error = Journal::open(&path, "open").map(|_| ()).unwrap_err();
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
}

#[test]
fn appends_that_wait_share_a_sync() {
    let root = tempfile::tempdir().unwrap();
    let journal = Journal::open(root.path(), "group").unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (count, run) = (64, wait(journal.begin("pivot", vec![])).unwrap().0);
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for n in 1..=count {
            let journal = journal.clone();
            tasks.spawn(async move { journal.append(run, vec![body(n)]).await.unwrap().seq });
        }
        let mut seqs = tasks.join_all().await;
        seqs.sort_unstable();
        assert_eq!(seqs, (1..=count).collect::<Vec<_>>(), "each has a number of its own");
    });
    let syncs = journal.syncs() - 1;
    assert!(syncs < count, "{count} appends took {syncs} syncs");
    assert_eq!(journal.verify(run).unwrap().seq, count);
}

/// sled puts values of more than 128 KiB, its own pages among them, into files that it never syncs.
#[test]
fn the_largest_entries_stay_in_the_log() {
    let root = tempfile::tempdir().unwrap();
    let journal = Journal::open(root.path(), "large").unwrap();
    let (run, _) = wait(journal.begin("pivot", vec![])).unwrap();
    for _ in 0..10 {
        let large = (0..60).map(|_| "x".repeat(MAX_ENTRY_BYTES - 100)).collect();
        wait(journal.append(run, large)).unwrap();
    }
    assert_eq!(journal.verify(run).unwrap().seq, 600);
    drop(journal);
    assert_eq!(std::fs::read_dir(root.path().join("db/blobs")).unwrap().count(), 0);
    assert_eq!(Journal::open(root.path(), "large").unwrap().verify(run).unwrap().seq, 600);
}

/// A torn or foreign witness knows nothing, and is replaced.
#[test]
fn a_torn_witness_is_ignored() {
    let root = tempfile::tempdir().unwrap();
    let journal = Journal::open(root.path(), "make").unwrap();
    let (run, _) = wait(journal.begin("pivot", vec![body(1)])).unwrap();
    drop(journal);
    let path = root.path().join("witness");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[60] ^= 1;
    std::fs::write(&path, &bytes[..200]).unwrap();
    let journal = Journal::open(root.path(), "again").unwrap();
    assert_eq!(wait(journal.append(run, vec![body(2)])).unwrap().seq, 2);
    drop(journal);
    assert_eq!(std::fs::read(&path).unwrap().len(), 256, "the slot is used again");
    let store = SledStore::open(root.path()).unwrap();
    assert_eq!(store.witnessed().unwrap(), store.headers().unwrap());
}

/// The database of a day ago was put back, the rest was not.
#[test]
fn an_older_database_is_found_by_the_witness() {
    let root = tempfile::tempdir().unwrap();
    let journal = Journal::open(root.path(), "make").unwrap();
    let (run, _) = wait(journal.begin("pivot", vec![body(1)])).unwrap();
    drop(journal);
    let (db, backup) = (root.path().join("db"), root.path().join("backup"));
    std::fs::create_dir(&backup).unwrap();
    for file in ["db", "conf"] {
        std::fs::copy(db.join(file), backup.join(file)).unwrap();
    }
    let journal = Journal::open(root.path(), "go on").unwrap();
    wait(journal.append(run, vec![body(2)])).unwrap();
    drop(journal);
    std::fs::remove_dir_all(&db).unwrap();
    std::fs::rename(&backup, &db).unwrap();

    let journal = Journal::open(root.path(), "look").unwrap();
    let error = journal.verify(run).unwrap_err();
    assert!(matches!(error, fulcrum_state::ReadError::Damaged { seq: 2, .. }), "{error}");
}

/// The witness does not take a run that was removed for one that is lost.
#[test]
fn a_removed_run_is_not_missed() {
    let root = tempfile::tempdir().unwrap();
    let journal = Journal::open(root.path(), "make").unwrap();
    let runs: Vec<RunId> =
        (0..3).map(|_| wait(journal.begin("pivot", vec![body(1), body(2)])).unwrap().0).collect();
    wait(journal.remove(vec![runs[0], runs[2]])).unwrap();
    drop(journal);
    let journal = Journal::open(root.path(), "again").unwrap();
    let left: Vec<RunId> = journal.runs().unwrap().into_iter().map(|header| header.run).collect();
    assert_eq!(left, [runs[1]]);
    assert_eq!(journal.verify(runs[1]).unwrap().seq, 2);
    let (run, _) = wait(journal.begin("pivot", vec![body(1)])).unwrap();
    drop(journal);
    assert_eq!(std::fs::read(root.path().join("witness")).unwrap().len(), 3 * 256, "slots are used again");
    assert_eq!(Journal::open(root.path(), "last").unwrap().verify(run).unwrap().seq, 1);
}
