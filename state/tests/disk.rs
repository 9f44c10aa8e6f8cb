//! The journal in a directory: opening, closing, locking, the checkpoint, formats, and who may write it.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "../../tests/harness/mod.rs"]
mod harness;

use harness::copy_dir;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use fulcrum_state::Changes;
use fulcrum_state::Commit;
use fulcrum_state::Journal;
use fulcrum_state::OpenError;
use fulcrum_state::ReadError;
use fulcrum_state::Reader;
use fulcrum_state::RunId;
use fulcrum_state::lock_holder;

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn body(n: u64) -> String {
    format!("{{\"n\":{n}}}")
}

fn open(dir: &Path) -> Journal {
    Journal::open(dir, "test").unwrap()
}

/// Opens, appends an entry to the run or begins it, and closes.
fn append(dir: &Path, run: Option<RunId>, n: u64) -> RunId {
    let journal = open(dir);
    let commit = Commit::of([body(n)]);
    let writer = match run {
        None => wait(journal.begin("pivot", commit)).unwrap(),
        Some(run) => {
            let mut writer = journal.continue_run(run).unwrap();
            wait(writer.append(commit)).unwrap();
            writer
        }
    };
    writer.checkpoint(format!("state {n}").into_bytes());
    writer.run()
}

fn read(reader: &Reader, run: RunId) -> Vec<String> {
    reader.entries(run).map(|entry| entry.unwrap().body).collect()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn everything_is_there_after_reopening_at_once_and_only_this_user_can_read_it() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("var/lib/fulcrum");
    let run = append(&dir, None, 1);
    for n in 2..=20 {
        append(&dir, Some(run), n);
    }
    let journal = open(&dir);
    assert_eq!(journal.dir(), Some(dir.as_path()));
    assert_eq!(read(&journal.reader(), run), (1..=20).map(body).collect::<Vec<_>>());
    let (head, state) = journal.reader().checkpoint(run).unwrap();
    assert_eq!((head.seq, state), (20, b"state 20".to_vec()), "the state is kept");
    for made in ["", "log", "blobs", "db"] {
        assert_eq!(mode(&dir.join(made)), 0o700, "{made}");
    }
    for made in ["format", "lock", "index", "log/0000000001.log"] {
        assert_eq!(mode(&dir.join(made)), 0o600, "{made}");
    }
    assert!(matches!(Journal::open(&dir, "second"), Err(OpenError::Locked { .. })));
}

#[test]
fn a_history_is_read_while_a_run_is_at_work_and_where_nothing_can_be_written() {
    let root = tempfile::tempdir().unwrap();
    let journal = open(root.path());
    let mut writer = wait(journal.begin("pivot", Commit::of([body(1)]))).unwrap();
    let reader = Reader::open(root.path()).unwrap();
    let before: Vec<PathBuf> = files(root.path());
    for n in 2..=50 {
        wait(writer.append(Commit::of([body(n)]))).unwrap();
        assert_eq!(reader.verify(writer.run()).unwrap().seq, n);
    }
    assert_eq!(files(root.path()), before, "a reader makes no file");
    let run = writer.run();
    drop((writer, journal));
    assert_eq!(read(&Reader::open(root.path()).unwrap(), run).len(), 50);
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// It reads while records are half written, while segments are made, and while they are pruned.
#[test]
fn a_reader_beside_a_writer_never_sees_damage() {
    let root = tempfile::tempdir().unwrap();
    let options = fulcrum_state::Options { segment_bytes: 64 * 1024, ..Default::default() };
    let journal = Journal::open_with(root.path(), "write", options).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let (mut reader, mut looks) = (Reader::open(root.path()).unwrap(), 0);
            while !done.load(Ordering::Relaxed) {
                looks += 1;
                if looks % 10 == 0 {
                    reader = Reader::open(root.path()).unwrap();
                }
                assert_eq!(reader.damage().unwrap(), []);
                for header in reader.runs().unwrap() {
                    match reader.verify(header.run) {
                        Ok(head) => assert!(head.seq >= header.head.seq),
                        Err(ReadError::Pruned { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            looks
        });
        let mut older = Vec::new();
        for n in 0..40 {
            let mut writer = wait(journal.begin("pivot", Commit::of([body(n)]))).unwrap();
            for n in 0..10 {
                let commit = Commit::of([body(n), format!("\"{}\"", "x".repeat(700))]);
                wait(writer.append(commit.with_blob(vec![b'b'; 900]))).unwrap();
            }
            older.push(writer.run());
            drop(writer);
            if n % 8 == 7 {
                wait(journal.prune(std::mem::take(&mut older), "old")).unwrap();
            }
        }
        done.store(true, Ordering::Relaxed);
        assert!(reading.join().unwrap() > 5);
    });
}

/// At any instant, also while it is written: whatever a copy of the directory has in place of the checkpoint.
#[test]
fn nothing_is_lost_with_the_checkpoint() {
    let root = tempfile::tempdir().unwrap();
    let (dir, other) = (root.path().join("state"), root.path().join("copy"));
    let run = append(&dir, None, 1);
    let older = root.path().join("older");
    copy_dir(&dir.join("db"), &older);
    let older_index = std::fs::read(dir.join("index")).unwrap();
    for n in 2..=12 {
        append(&dir, Some(run), n);
        copy_dir(&dir, &other);
        let db = other.join("db");
        match n % 6 {
            0 => std::fs::remove_dir_all(&db).unwrap(),
            1 => std::fs::write(other.join("db.opening"), "").unwrap(),
            2 => std::fs::write(db.join("db"), [7; 5000]).unwrap(),
            3 => std::fs::write(db.join("snap.0000000000000FFF.generating"), [1; 100]).unwrap(),
            4 => {
                std::fs::remove_dir_all(&db).unwrap();
                std::fs::write(&db, "a file").unwrap();
            }
            _ => {
                std::fs::remove_dir_all(&db).unwrap();
                copy_dir(&older, &db);
            }
        }
        let index = other.join("index");
        match n % 4 {
            0 => std::fs::remove_file(&index).unwrap(),
            1 => std::fs::write(&index, &older_index).unwrap(),
            2 => std::fs::write(&index, &std::fs::read(&index).unwrap()[..40]).unwrap(),
            _ => {}
        }
        assert_eq!(read(&Reader::open(&other).unwrap(), run).len() as u64, n);
        assert_eq!(append(&other, Some(run), n + 1), run);
        let journal = open(&other);
        assert_eq!(read(&journal.reader(), run), (1..=n + 1).map(body).collect::<Vec<_>>(), "{n}");
        assert_eq!(journal.reader().damage().unwrap(), []);
        assert_eq!(journal.open_runs().unwrap().len(), 1);
        drop(journal);
        std::fs::remove_dir_all(&other).unwrap();
    }
}

/// The log of a day ago was put back, the checkpoint was not; or its end was lost by the disk.
#[test]
fn entries_that_only_the_checkpoint_knows_are_missed() {
    let root = tempfile::tempdir().unwrap();
    let log = root.path().join("log/0000000001.log");
    let run = append(root.path(), None, 1);
    let other = append(root.path(), None, 1);
    let older = std::fs::read(&log).unwrap();
    append(root.path(), Some(run), 2);
    let whole = append(root.path(), None, 1);
    std::fs::write(&log, older).unwrap();
    for round in 0..3 {
        let journal = open(root.path());
        let reader = journal.reader();
        let error = reader.verify(run).unwrap_err();
        assert!(matches!(error, ReadError::Damaged { seq: 2, .. }), "round {round}: {error}");
        assert!(journal.continue_run(run).is_err());
        assert_eq!(reader.verify(other).unwrap().seq, 1);
        assert!(matches!(reader.verify(whole), Err(ReadError::Damaged { seq: 0, .. })));
        assert_eq!(reader.runs().unwrap().len(), 3);
        drop((reader, journal));
        if round == 1 {
            std::fs::remove_file(root.path().join("index")).unwrap();
        }
    }
}

#[test]
fn a_second_opener_is_told_who_has_it() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("state");
    assert_eq!(lock_holder(&dir).unwrap(), None, "no directory");
    assert!(!dir.exists());
    let journal = Journal::open(&dir, "pivot of node a").unwrap();
    let run = wait(journal.begin("pivot", Commit::of([body(1)]))).unwrap().run();
    wait(journal.begin("rollback", Commit::of([body(1)]))).unwrap();

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
    open(&dir);
}

#[test]
fn to_ask_who_holds_the_lock_does_not_disturb_an_opener() {
    let root = tempfile::tempdir().unwrap();
    open(root.path());
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
fn a_directory_that_others_can_change_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("state");
    append(&dir, None, 1);
    for mode in [0o777, 0o770, 0o1777] {
        set_mode(&dir, mode);
        let error = Journal::open(&dir, "open").map(|_| ()).unwrap_err();
        assert!(matches!(error, OpenError::Unsafe { .. }), "{mode:o}: {error}");
        assert!(error.to_string().contains("chmod"), "{error}");
    }
    set_mode(&dir, 0o700);
    let target = root.path().join("shadow");
    std::fs::write(&target, "secret").unwrap();
    std::fs::remove_file(dir.join("lock")).unwrap();
    std::os::unix::fs::symlink(&target, dir.join("lock")).unwrap();
    assert!(matches!(Journal::open(&dir, "open"), Err(OpenError::Io { .. })));
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "secret");
    // Only root can give a directory to another user.
    if std::os::unix::fs::chown(&dir, Some(65_534), None).is_ok() {
        let error = Journal::open(&dir, "open").map(|_| ()).unwrap_err();
        assert!(matches!(error, OpenError::Unsafe { .. }), "{error}");
    }
}

#[test]
fn a_directory_with_something_else_in_it_is_refused_and_not_touched() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("passwd"), "").unwrap();
    let error = Journal::open(root.path(), "open").map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    assert!(error.to_string().contains("passwd"), "{error}");
    assert_eq!(files(root.path()).len(), 1);
}

#[test]
fn a_journal_in_memory_says_so() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    assert!(Journal::in_memory().is_volatile());
    assert!(!open(root.path()).is_volatile());
    if let Ok(memory) = tempfile::tempdir_in("/dev/shm") {
        assert!(open(memory.path()).is_volatile());
    }
}

#[test]
fn a_format_that_is_newer_lost_or_unreadable_is_told_apart() {
    let root = tempfile::tempdir().unwrap();
    let format = root.path().join("format");
    std::fs::write(&format, "{\"format\":3,\"since\":\"0.9\"}").unwrap();
    let error = Journal::open(root.path(), "old").map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 3, supported: 2, .. }), "{error}");
    assert_eq!(files(root.path()).len(), 1);
    std::fs::remove_file(&format).unwrap();
    append(root.path(), None, 1);
    for text in ["", "{}", "{\"format\":0}"] {
        std::fs::write(&format, text).unwrap();
        let error = Journal::open(root.path(), "open").map(|_| ()).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{text:?}: {error}");
    }
    std::fs::remove_file(&format).unwrap();
    let error = Journal::open(root.path(), "open").map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}

/// Else zeros where the last commits were would go unnoticed for a whole session more.
#[test]
fn an_opening_knows_from_then_on_what_was_committed_before_a_crash() {
    let root = tempfile::tempdir().unwrap();
    let [dir, cut, again] = ["state", "cut", "again"].map(|name| root.path().join(name));
    let run = append(&dir, None, 1);
    let journal = open(&dir);
    wait(journal.continue_run(run).unwrap().append(Commit::of([body(2)]))).unwrap();
    copy_dir(&dir, &cut);
    let opened = open(&cut);
    copy_dir(&cut, &again);
    drop((journal, opened));
    let log = again.join("log/0000000001.log");
    let mut bytes = std::fs::read(&log).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let begin = bytes[..end].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    bytes[begin..=end].fill(0);
    std::fs::write(&log, bytes).unwrap();
    let error = open(&again).reader().verify(run).unwrap_err();
    assert!(matches!(error, ReadError::Damaged { seq: 2, .. }), "{error}");
}

#[test]
fn a_reader_is_told_when_the_writer_has_written() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let mut changes = Changes::of(dir.path()).unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    assert!(!changes.wait(std::time::Duration::ZERO).unwrap(), "nothing was written since");
    let run = wait(journal.begin("sales", Commit::of([body(1)]))).unwrap().run();
    assert!(changes.wait(std::time::Duration::from_secs(20)).unwrap());
    assert_eq!(reader.header(run).unwrap().unwrap().head.seq, 1);
    assert!(Changes::of(dir.path().join("none")).is_err());
}
