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
    Journal::on(Arc::new(disk.clone()), Options { segment_bytes: 64 * 1024, ..Options::default() }).unwrap()
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
    let times: Vec<_> = journal.reader().entries(writer.run()).map(|entry| entry.unwrap().time).collect();
    assert!(times[0] == times[1] && times[2..] == [writer.time(); 3], "a commit has one time");
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
    let mut refused = |commit| wait(writer.append(commit)).unwrap_err();
    for text in ["", "{", "{} {}", " {}", "{\n}", "{}\n", "a"] {
        assert!(matches!(refused(Commit::of([text])), AppendError::NotJson { seq: 2, .. }), "{text:?}");
    }
    let large = format!("\"{}\"", "x".repeat(MAX_BODY_BYTES));
    assert!(matches!(refused(Commit::of([large])), AppendError::TooLarge { seq: 2, .. }));
    let most = format!("\"{}\"", "x".repeat(MAX_BODY_BYTES - 2));
    let many = Commit::of(vec![most.clone(); 17]);
    assert!(matches!(refused(many), AppendError::CommitTooLarge { .. }));
    assert!(matches!(refused(Commit::default().with_blob(*b"alone")), AppendError::BlobsAlone { .. }));
    for odd in ["null", "1e400", "\"\\u0000\"", "{\"a\":1,\"a\": 2}"] {
        let head = wait(writer.append(Commit::of([odd]))).unwrap();
        assert_eq!(read(&journal.reader(), writer.run())[head.seq as usize - 1], odd, "byte for byte");
    }
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    assert_eq!(wait(writer.append(Commit::of([most, deep.clone()]))).unwrap().seq, 7);
    assert_eq!(read(&journal.reader(), writer.run())[6], deep);
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
    let mut answered = true;
    while answered {
        answered = wait(async {
            tokio::select! {
                biased;
                _ = writer.append(bodies(2..=2)) => true,
                () = std::future::ready(()) => false,
            }
        });
    }
    let known = writer.head().seq;
    let error = wait(writer.append(bodies(3..=3)));
    assert!(matches!(error, Err(AppendError::Moved { found, .. }) if found == known + 1), "{error:?}");
}

#[test]
fn a_pruned_run_is_gone_from_every_byte_and_the_rest_stays() {
    let disk = MemoryDisk::new();
    let journal = small(&disk);
    let secret = |n: u64| format!("{{\"secret\":\"{n}-{}\"}}", "s".repeat(2000));
    let mut runs = Vec::new();
    for n in 0..60 {
        let commit = Commit::of([secret(n)]).with_blob(format!("secret blob {n}"));
        let mut writer = wait(journal.begin("pivot", commit)).unwrap();
        if n % 10 == 0 {
            wait(writer.append(Commit::of(["1"]).with_blob(vec![b's'; 70_000]))).unwrap();
        }
        runs.push(writer.run());
    }
    let (kept, gone) = (runs.split_off(50), runs);
    let seen = Reader::on(Arc::new(disk.clone())).unwrap();
    let mut begun = seen.entries(gone[3]);
    assert_eq!(begun.next().unwrap().unwrap().body, secret(3));
    wait(journal.prune(gone.clone(), "as asked")).unwrap();
    assert!(matches!(seen.verify(gone[3]), Err(ReadError::Pruned { run, .. }) if run == gone[3]));
    wait(journal.prune(gone.clone(), "again")).unwrap();
    drop(journal);
    let text: String =
        disk.files().values().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect();
    for n in 0..50 {
        assert!(!text.contains(&format!("\"{n}-s")) && !text.contains(&format!("secret blob {n}\"")), "{n}");
    }
    assert!(text.contains("as asked"));
    let blobs = disk.files().keys().filter(|name| name.starts_with("blobs/")).count();
    assert_eq!(blobs, 1, "that of a run that was kept");
    for reader in [small(&disk).reader(), Reader::on(Arc::new(disk.clone())).unwrap()] {
        let left: Vec<RunId> = reader.runs().unwrap().into_iter().map(|header| header.run).collect();
        assert_eq!(left, kept);
        kept.iter().for_each(|run| _ = reader.verify(*run).unwrap());
        assert_eq!(reader.damage().unwrap(), []);
        assert!(matches!(reader.verify(gone[0]), Err(ReadError::Pruned { .. })));
        let first = reader.header(kept[0]).unwrap().unwrap();
        assert_eq!(first.after.unwrap().run, gone[49], "a run that was removed leaves a hole");
    }
    let journal = small(&disk);
    let next = wait(journal.begin("pivot", bodies(1..=1))).unwrap().run();
    let after = journal.reader().header(next).unwrap().unwrap().after.unwrap();
    assert_eq!(after.run, kept[9]);
}

/// The clock is not asked.
#[test]
fn runs_are_in_the_order_of_the_log() {
    let disk = MemoryDisk::new();
    let journal = on(&disk);
    let mut runs = Vec::new();
    for _ in 0..5 {
        runs.push(wait(journal.begin("pivot", bodies(1..=1))).unwrap().run());
    }
    let left = |reader: Reader| reader.runs().unwrap().iter().map(|header| header.run).collect::<Vec<_>>();
    assert_eq!(left(journal.reader()), runs);
    let afters: Vec<_> = journal.reader().runs().unwrap().iter().map(|h| h.after.map(|a| a.run)).collect();
    assert_eq!(afters[0], None);
    assert_eq!(afters[1..], runs[..4].iter().map(|run| Some(*run)).collect::<Vec<_>>());
}

#[test]
fn a_full_disk_refuses_a_new_run_and_lets_the_one_at_work_end() {
    let disk = MemoryDisk::new();
    let journal = on(&disk);
    let body = format!("\"{}\"", "x".repeat(50_000));
    let mut writer = wait(journal.begin("pivot", Commit::of([body.clone()]))).unwrap();
    // The next segment may be made meanwhile.
    disk.set_room(Some(disk.used()));
    let mut others = 0;
    let error = loop {
        match wait(journal.begin("guard", Commit::of([body.clone()]))) {
            Ok(_) => others += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, AppendError::NoRoom(_)) && !error.is_poisoned(), "{error}, after {others}");
    let blob = wait(writer.append(bodies(2..=2).with_blob(vec![1; 100_000])));
    assert!(matches!(blob, Err(AppendError::NoRoom(_))), "{blob:?}");
    let forward = loop {
        if let Err(error) = wait(writer.append(Commit::of([body.clone()]))) {
            break error;
        }
    };
    assert!(matches!(forward, AppendError::NoRoom(_)), "{forward}");
    // Also in another process, which continues the run.
    let run = writer.run();
    drop((writer, journal));
    let journal = on(&disk);
    let mut writer = journal.continue_run(run).unwrap();
    assert!(matches!(wait(writer.append(Commit::of([body.clone()]))), Err(AppendError::NoRoom(_))));
    for _ in 0..15 {
        wait(writer.append(Commit::of([body.clone()]).ends())).unwrap();
    }
    let full = loop {
        if let Err(error) = wait(writer.append(Commit::of([body.clone()]).ends())) {
            break error;
        }
    };
    assert!(matches!(full, AppendError::NoRoom(_)), "{full}");
    let kept = writer.head();
    disk.set_room(None);
    assert_eq!(wait(writer.append(bodies(1..=1))).unwrap().seq, kept.seq + 1);
    assert_eq!(journal.reader().verify(writer.run()).unwrap().seq, kept.seq + 1);
}

#[test]
fn after_a_failed_sync_nothing_is_claimed() {
    for code in [5, 28] {
        let disk = MemoryDisk::new();
        let journal = on(&disk);
        let mut writer = wait(journal.begin("pivot", bodies(1..=1))).unwrap();
        disk.fail(2, 1, code);
        let error = wait(writer.append(bodies(2..=2))).unwrap_err();
        assert!(matches!(error, AppendError::Disk(_)) && error.is_poisoned(), "{error}");
        assert!(matches!(wait(writer.append(bodies(2..=2))), Err(AppendError::Poisoned { .. })));
        assert!(matches!(wait(journal.begin("pivot", bodies(1..=1))), Err(AppendError::Poisoned { .. })));
        assert_eq!(journal.reader().verify(writer.run()).unwrap().seq, 1);
    }
}

#[test]
fn a_state_is_kept_and_the_entries_after_it_are_read_from_there() {
    let journal = Journal::in_memory();
    let mut writer = wait(journal.begin("pivot", bodies(1..=50))).unwrap();
    let (run, reader) = (writer.run(), journal.reader());
    assert_eq!(reader.checkpoint(run), None);
    let at = writer.head();
    writer.checkpoint(b"state".to_vec());
    wait(writer.append(bodies(51..=53))).unwrap();
    assert_eq!(reader.checkpoint(run), Some((at, b"state".to_vec())));
    let after: Vec<u64> = reader.entries_after(run, at).map(|entry| entry.unwrap().seq).collect();
    assert_eq!(after, [51, 52, 53]);
    assert_eq!(reader.entries_after(run, writer.head()).count(), 0);
    let other = fulcrum_state::Head { seq: 50, hash: Digest::of(b"other") };
    let error = reader.entries_after(run, other).next().unwrap().unwrap_err();
    assert!(matches!(error, ReadError::Damaged { seq: 50, .. }), "{error}");
}

#[test]
fn many_writers_share_a_sync() {
    let journal = Journal::in_memory();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..64 {
            let journal = journal.clone();
            tasks.spawn(async move {
                let mut writer = journal.begin("pivot", bodies(1..=1)).await.unwrap();
                for n in 2..=20 {
                    writer.append(bodies(n..=n)).await.unwrap();
                }
            });
        }
        tasks.join_all().await;
    });
    assert!(journal.syncs() < 64 * 20, "{}", journal.syncs());
    for header in journal.reader().runs().unwrap() {
        assert_eq!(journal.reader().verify(header.run).unwrap().seq, 20);
    }
}

/// A log that was written by the first version that had them, and is read for ever.
#[test]
fn a_kept_log_of_format_2_reads_as_it_was_written() {
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/log-2");
    let told = |reader: &Reader| {
        let mut text = String::new();
        for header in reader.runs().unwrap() {
            let head = reader.verify(header.run).unwrap();
            text += &format!("{} {} {} {} {}\n", header.run, header.kind, header.over, head.seq, head.hash);
            for entry in reader.entries(header.run) {
                let entry = entry.unwrap();
                text += &format!("{} {:?}\n", entry.body, entry.blobs);
            }
        }
        text
    };
    let disk = MemoryDisk::new();
    if std::env::var_os("FULCRUM_WRITE_GOLDEN").is_some() {
        let journal = on(&disk);
        let gone = wait(journal.begin("renew", bodies(1..=1))).unwrap().run();
        let mut writer = wait(journal.begin("pivot", bodies(1..=2).with_blob(*b"plan"))).unwrap();
        wait(writer.append(bodies(3..=3).with_blob([0xff, 0]))).unwrap();
        wait(journal.prune(vec![gone], "as asked")).unwrap();
        wait(writer.append(bodies(4..=4).over())).unwrap();
        wait(journal.begin("guard", Commit::of(["{\"text\": \"with a blank\"}"]))).unwrap();
        let log = disk.files()["log/0000000001.log"].clone();
        let end = log.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        std::fs::write(kept, &log[..end]).unwrap();
        std::fs::write(format!("{kept}.told"), told(&journal.reader())).unwrap();
    }
    let file = fulcrum_state::Disk::create(&disk, "log/0000000001.log").unwrap();
    file.write_at(&std::fs::read(kept).unwrap(), 0).unwrap();
    let journal = on(&disk);
    assert_eq!(told(&journal.reader()), std::fs::read_to_string(format!("{kept}.told")).unwrap());
    assert_eq!(journal.reader().damage().unwrap(), []);
    let run = wait(journal.begin("pivot", bodies(1..=1))).unwrap().run();
    assert_eq!(journal.reader().verify(run).unwrap().seq, 1);
}
