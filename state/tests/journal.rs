//! What a journal promises, on a disk in memory: order, durability, claims, faults, pruning.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::sync::Arc;

use fulcrum_state::AppendError;
use fulcrum_state::Commit;
use fulcrum_state::Digest;
use fulcrum_state::Journal;
use fulcrum_state::MAX_BODY_BYTES;
use fulcrum_state::MemoryDisk;
use fulcrum_state::Options;
use fulcrum_state::ReadError;
use fulcrum_state::Reader;
use fulcrum_state::RunId;

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn bodies(range: std::ops::RangeInclusive<u64>) -> Commit {
    Commit::of(range.map(body))
}

fn body(n: u64) -> String {
    format!("{{\"n\":{n}}}")
}

fn on(disk: &MemoryDisk) -> Journal {
    Journal::on(Arc::new(disk.clone()), Options::default()).unwrap()
}

fn small(disk: &MemoryDisk) -> Journal {
    Journal::on(Arc::new(disk.clone()), Options { segment_bytes: 64 * 1024 }).unwrap()
}

fn read(reader: &Reader, run: RunId) -> Vec<String> {
    reader.entries(run).map(|entry| entry.unwrap().body).collect()
}

#[test]
fn what_is_appended_is_read_in_order_also_after_reopening_and_by_another_reader() {
    let disk = MemoryDisk::new();
    let journal = on(&disk);
    let mut writer = wait(journal.begin("pivot", bodies(1..=2))).unwrap();
    let head = wait(writer.append(bodies(3..=5))).unwrap();
    assert_eq!((head.seq, writer.head()), (5, head));
    assert_eq!(wait(writer.append(Commit::default())).unwrap(), head, "nothing was written");
    assert_eq!(journal.syncs(), 2);
    let run = writer.run();
    let all: Vec<String> = (1..=5).map(body).collect();
    assert_eq!(read(&journal.reader(), run), all);
    let other = Reader::on(Arc::new(disk.clone())).unwrap();
    assert_eq!(read(&other, run), all);
    wait(writer.append(bodies(6..=6).over())).unwrap();
    assert_eq!(other.verify(run).unwrap().seq, 6, "a reader sees what was written since");
    assert!(other.open_runs().unwrap().is_empty());
    drop((writer, journal));
    let journal = on(&disk);
    assert_eq!(journal.reader().verify(run).unwrap().seq, 6);
    let header = journal.reader().header(run).unwrap().unwrap();
    assert_eq!((header.kind.as_str(), header.over, header.damage), ("pivot", true, None));
    assert_eq!(journal.reader().damage().unwrap(), []);
    let mut writer = journal.continue_run(run).unwrap();
    assert_eq!(wait(writer.append(bodies(7..=7))).unwrap().seq, 7);
    assert_eq!(journal.open_runs().unwrap().len(), 1, "it was continued");
}

#[test]
fn blobs_are_committed_with_their_entry_in_one_sync() {
    let disk = MemoryDisk::new();
    let journal = on(&disk);
    let mut writer = wait(journal.begin("pivot", bodies(1..=1))).unwrap();
    let blobs =
        [b"text\nof a manifest".to_vec(), vec![0xff; 4096], vec![0; 64 * 1024], vec![7; 64 * 1024 + 1]];
    for blob in &blobs {
        let syncs = journal.syncs();
        wait(writer.append(bodies(1..=1).with_blob(blob.clone()))).unwrap();
        assert_eq!(journal.syncs(), syncs + 1);
    }
    let run = writer.run();
    drop((writer, journal));
    let journal = on(&disk);
    for reader in [journal.reader(), Reader::on(Arc::new(disk.clone())).unwrap()] {
        for blob in &blobs {
            assert_eq!(reader.blob(&Digest::of(blob)).unwrap(), *blob);
        }
        assert_eq!(reader.verify(run).unwrap().seq, 5);
        assert!(matches!(reader.blob(&Digest::of(b"none")), Err(ReadError::MissingBlob { .. })));
    }
    disk.change(&format!("blobs/{run}-{}", Digest::of(&blobs[3])), |bytes| bytes[9] = 8);
    assert!(matches!(journal.reader().verify(run), Err(ReadError::DamagedBlob { .. })));
}

#[test]
fn what_cannot_be_kept_is_refused_and_nothing_is_written() {
    let journal = Journal::in_memory();
    let mut writer = wait(journal.begin("pivot", bodies(1..=1))).unwrap();
    let refused = |commit| wait(writer.append(commit)).unwrap_err();
    let mut refused = refused;
    for text in ["", "{", "{} {}", " {}", "{\n}", "{}\n", "a"] {
        assert!(matches!(refused(Commit::of([text])), AppendError::NotJson { seq: 2, .. }), "{text:?}");
    }
    let large = format!("\"{}\"", "x".repeat(MAX_BODY_BYTES));
    assert!(matches!(refused(Commit::of([large])), AppendError::TooLarge { seq: 2, .. }));
    let most = format!("\"{}\"", "x".repeat(MAX_BODY_BYTES - 2));
    let many = Commit::of(vec![most.clone(); 17]);
    assert!(matches!(refused(many), AppendError::CommitTooLarge { .. }));
    assert!(matches!(refused(Commit::default().with_blob(*b"alone")), AppendError::BlobsAlone { .. }));
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    assert_eq!(wait(writer.append(Commit::of([most, deep.clone()]))).unwrap().seq, 3);
    assert_eq!(read(&journal.reader(), writer.run())[2], deep);
}

#[test]
fn a_run_has_one_writer() {
    let journal = Journal::in_memory();
    let writer = wait(journal.begin("pivot", bodies(1..=1))).unwrap();
    let run = writer.run();
    assert!(matches!(journal.continue_run(run), Err(AppendError::Claimed { .. })));
    assert!(matches!(wait(journal.prune(vec![run], "why")), Err(AppendError::Claimed { .. })));
    drop(writer);
    let mut writer = journal.continue_run(run).unwrap();
    // Dropped before it is answered: it is there, and the writer does not know.
    let asked = writer.append(bodies(2..=2));
    wait(async {
        tokio::select! {
            biased;
            _ = asked => {}
            () = std::future::ready(()) => {}
        }
    });
    let error = wait(writer.append(bodies(3..=3)));
    assert!(matches!(error, Err(AppendError::Moved { found: 2, .. })), "{error:?}");
}
