//! Disks that lose a sector, a segment or a sync, and what a writer does on them: on a disk in memory.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::sync::Arc;

use fulcrum_state::AppendError;
use fulcrum_state::Commit;
use fulcrum_state::Digest;
use fulcrum_state::Disk;
use fulcrum_state::Head;
use fulcrum_state::Journal;
use fulcrum_state::MemoryDisk;
use fulcrum_state::Options;
use fulcrum_state::ReadError;
use fulcrum_state::Reader;
use fulcrum_state::RunId;
use fulcrum_state::RunWriter;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// A journal with small segments.
fn on(disk: &MemoryDisk) -> Journal {
    Journal::on(Arc::new(disk.clone()), Options { segment_bytes: 64 * 1024, ..Options::default() }).unwrap()
}

fn reader(disk: &MemoryDisk) -> Reader {
    Reader::on(Arc::new(disk.clone())).unwrap()
}

fn begin(journal: &Journal) -> RunWriter {
    wait(journal.begin("pivot", Commit::of(["1"]))).unwrap()
}

fn entry(bytes: usize) -> Commit {
    Commit::of([format!("\"{}\"", "x".repeat(bytes))])
}

fn append(writer: &mut RunWriter, bytes: usize) -> Result<Head, AppendError> {
    wait(writer.append(entry(bytes)))
}

fn segment(n: u32) -> String {
    format!("log/{n:010}.log")
}

/// The bytes of a segment up to its last one that is not zero.
fn written(disk: &MemoryDisk, n: u32) -> usize {
    disk.files()[&segment(n)].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// Begins runs and appends to them in turns. Ends with their segment not half full.
fn two_runs(disk: &MemoryDisk) -> [RunId; 2] {
    let journal = on(disk);
    let mut writers = [begin(&journal), begin(&journal)];
    for _ in 0..6 {
        writers.iter_mut().for_each(|writer| _ = append(writer, 900).unwrap());
    }
    writers.map(|writer| writer.run())
}

#[test]
fn a_sector_that_cannot_be_read_is_damage_and_hides_nothing_else() {
    let disk = MemoryDisk::new();
    let runs = two_runs(&disk);
    let end = written(&disk, 1);
    // The middle of the log, its last entry, and the space behind.
    for (at, hit) in [(end / 2, true), (end - 600, true), (end - 100, true), (40_000, false)] {
        let disk = disk.image();
        let at = at / 512 * 512;
        disk.lose(&segment(1), at..at + 512);
        let before = reader(&disk);
        let journal = on(&disk);
        for reader in [before, journal.reader(), reader(&disk)] {
            let whole =
                runs.iter().filter(|run| reader.verify(**run).is_ok_and(|head| head.seq == 7)).count();
            let damage = reader.damage().unwrap();
            assert_eq!(!damage.is_empty(), hit, "byte {at} of {end}: {damage:?}");
            assert!(whole >= 1 && (hit || whole == 2), "byte {at} of {end}: {damage:?}");
            let named = damage
                .iter()
                .all(|found| (found.offset as usize) < at + 512 && found.path.ends_with(segment(1)));
            assert!(named, "byte {at} of {end}: {damage:?}");
        }
        let mut writer = begin(&journal);
        append(&mut writer, 900).unwrap();
        assert_eq!(reader(&disk).verify(writer.run()).unwrap().seq, 2);
    }
}

/// Fills a segment, and begins the next one with commits of so many bytes.
fn rolled(commits: &[usize]) -> (MemoryDisk, RunId, u64) {
    let disk = MemoryDisk::new();
    let journal = on(&disk);
    let mut writer = begin(&journal);
    while written(&disk, 1) < 62_000 {
        append(&mut writer, 1500).unwrap();
    }
    let before = writer.head().seq;
    append(&mut writer, 5000).unwrap();
    commits.iter().for_each(|bytes| _ = append(&mut writer, *bytes).unwrap());
    (disk, writer.run(), before)
}

#[test]
fn a_torn_first_commit_of_a_segment_leaves_nothing_and_a_hole_there_is_damage() {
    let (disk, run, before) = rolled(&[]);
    disk.change(&segment(2), |bytes| bytes[..1024].fill(0));
    let journal = on(&disk);
    let mut writer = journal.continue_run(run).unwrap();
    assert_eq!(writer.head().seq, before, "the commit was cut short");
    (0..6).for_each(|_| _ = append(&mut writer, 300).unwrap());
    drop((writer, journal));
    assert_eq!(reader(&disk).damage().unwrap(), []);
    assert_eq!(on(&disk).reader().verify(run).unwrap().seq, before + 6);

    let (disk, run, _) = rolled(&[100, 100]);
    disk.change(&segment(2), |bytes| bytes[..512].fill(0));
    for reader in [reader(&disk), on(&disk).reader(), reader(&disk)] {
        assert!(!reader.damage().unwrap().is_empty());
        assert!(reader.verify(run).is_err());
    }
}

#[test]
fn a_missing_segment_is_damage_before_and_after_more_is_written() {
    let (disk, run, _) = rolled(&[20_000, 20_000]);
    assert!(disk.files().contains_key(&segment(3)), "made ahead");
    Disk::remove(&disk, &segment(2)).unwrap();
    let named =
        |reader: &Reader| reader.damage().unwrap().iter().any(|found| found.path.ends_with(segment(2)));
    assert!(named(&reader(&disk)));
    let journal = on(&disk);
    assert!(named(&journal.reader()));
    let other = begin(&journal).run();
    drop(journal);
    assert!(named(&reader(&disk)));
    assert_eq!(reader(&disk).verify(other).unwrap().seq, 1);
    assert!(reader(&disk).header(run).unwrap().is_some());
}

#[test]
fn a_damaged_segment_is_rid_of_a_commit_that_was_cut_short() {
    let disk = MemoryDisk::new();
    let journal = on(&disk);
    let (mut hit, mut cut) = (begin(&journal), begin(&journal));
    append(&mut hit, 900).unwrap();
    let middle = written(&disk, 1) - 300;
    append(&mut cut, 900).unwrap();
    let end = written(&disk, 1);
    wait(cut.append(Commit::of(["2", "3"].map(|text| format!("\"{}\"", text.repeat(2000)))))).unwrap();
    let run = cut.run();
    drop((hit, cut, journal));
    disk.change(&segment(1), |bytes| {
        bytes[middle] ^= 1;
        // Of the last commit, one entry is there.
        bytes[end + 2600..].fill(0);
    });
    let journal = on(&disk);
    append(&mut journal.continue_run(run).unwrap(), 100).unwrap();
    assert_eq!(journal.reader().verify(run).unwrap().seq, 3);
    drop(journal);
    let reader = reader(&disk);
    assert_eq!(reader.damage().unwrap().len(), 1, "{:?}", reader.damage().unwrap());
    assert_eq!(reader.verify(run).unwrap().seq, 3);
}

/// A blob that is a file of its own is written before the entry that names it.
#[test]
fn a_blob_that_cannot_be_written_fails_its_commit_alone() {
    let disk = MemoryDisk::new();
    let journal = on(&disk);
    let mut writer = begin(&journal);
    let blob = vec![7; 512 * 1024];
    disk.fail(1, 1, EIO);
    let error = wait(writer.append(entry(10).with_blob(blob.clone()))).unwrap_err();
    assert!(matches!(error, AppendError::Blob(_)) && !error.is_poisoned(), "{error}");
    assert_eq!(wait(writer.append(entry(10).with_blob(blob.clone()))).unwrap().seq, 2);
    assert_eq!(reader(&disk).blob(&Digest::of(&blob)).unwrap(), blob);
}

#[test]
fn a_prune_that_finds_no_room_does_not_keep_the_journal_shut() {
    let disk = MemoryDisk::new();
    let [gone, kept] = two_runs(&disk);
    let journal = on(&disk);
    disk.set_room(Some(disk.used()));
    let error = wait(journal.prune(vec![gone], "old")).unwrap_err();
    assert!(matches!(error, AppendError::NoRoom(_)), "{error}");
    drop(journal);
    let journal = on(&disk);
    let mut writer = journal.continue_run(kept).unwrap();
    append(&mut writer, 900).unwrap();
    drop((writer, journal));
    disk.set_room(None);
    drop(on(&disk));
    let text = String::from_utf8_lossy(&disk.files()[&segment(1)]).into_owned();
    assert_eq!(text.matches(&"x".repeat(900)).count(), 7, "those of the other run");
    assert_eq!(reader(&disk).verify(kept).unwrap().seq, 8);
}

/// Every call of a prune fails once. What is acknowledged after that is kept.
#[test]
fn a_failed_prune_takes_no_later_entry_away() {
    let whole = MemoryDisk::new();
    let [gone, kept] = two_runs(&whole);
    for n in 1..=24 {
        for code in [EIO, ENOSPC] {
            let disk = whole.image();
            let journal = on(&disk);
            let mut writer = journal.continue_run(kept).unwrap();
            disk.fail(n, 1, code);
            let pruned = wait(journal.prune(vec![gone], "old"));
            let least = append(&mut writer, 900).map_or(7, |head| head.seq);
            for seed in 0..4 {
                let what = format!("call {n}, error {code}, seed {seed}: {pruned:?}");
                let disk = disk.power_cut(seed);
                let reader = on(&disk).reader();
                assert!(reader.verify(kept).unwrap().seq >= least, "{what}");
                assert_eq!(reader.damage().unwrap(), [], "{what}");
            }
        }
    }
}

/// The kernel says that what it could not write is written, until it reads it again from the disk.
#[test]
fn what_a_failed_sync_has_lost_is_written_again_before_it_counts() {
    for seed in 0..8 {
        let disk = MemoryDisk::new();
        let journal = on(&disk);
        let mut writer = begin(&journal);
        disk.fail(2, 1, EIO);
        assert!(append(&mut writer, 5000).unwrap_err().is_poisoned());
        let run = writer.run();
        drop((writer, journal));
        let journal = on(&disk);
        let mut writer = journal.continue_run(run).unwrap();
        let head = append(&mut writer, 300).unwrap();
        let disk = disk.power_cut(seed);
        assert_eq!(reader(&disk).damage().unwrap(), []);
        assert_eq!(on(&disk).reader().verify(run).unwrap(), head, "seed {seed}");
    }
}

/// As above: zeros that an opening wrote over a commit that was cut short.
#[test]
fn zeros_that_a_failed_sync_has_lost_are_written_again() {
    let torn = MemoryDisk::new();
    let journal = on(&torn);
    let mut writer = begin(&journal);
    let (run, end) = (writer.run(), written(&torn, 1));
    let bodies = ["2", "3", "4"].map(|text| format!("\"{}\"", text.repeat(1000)));
    wait(writer.append(Commit::of(bodies))).unwrap();
    drop((writer, journal));
    torn.change(&segment(1), |bytes| bytes[end..(end / 512 + 1) * 512].fill(0));
    for (n, seed) in (1..12).flat_map(|n| (0..24).map(move |seed| (n, seed))) {
        let disk = torn.image();
        disk.fail(n, 1, EIO);
        drop(Journal::on(Arc::new(disk.clone()), Options { segment_bytes: 64 * 1024, ..Options::default() }));
        disk.fail(1, 0, EIO);
        let journal = on(&disk);
        let mut writer = journal.continue_run(run).unwrap();
        let head = append(&mut writer, 200).unwrap();
        let disk = disk.power_cut(seed);
        assert_eq!(reader(&disk).damage().unwrap(), [], "call {n}, seed {seed}");
        assert_eq!(on(&disk).reader().verify(run).unwrap(), head, "call {n}, seed {seed}");
    }
}

#[test]
fn the_blobs_of_a_run_that_the_log_lacks_are_kept() {
    let disk = MemoryDisk::new();
    let journal = on(&disk);
    let commit = Commit::of(["1"]).with_blob(vec![7; 70_000]);
    let run = wait(journal.begin("pivot", commit)).unwrap().run();
    begin(&journal);
    drop(journal);
    let text = run.to_string();
    disk.change(&segment(1), |bytes| {
        let places: Vec<usize> = memchr::memmem::find_iter(bytes, text.as_bytes()).collect();
        places.into_iter().for_each(|at| bytes[at..at + 36].fill(b'?'));
    });
    drop(on(&disk));
    assert_eq!(disk.files().keys().filter(|name| name.starts_with("blobs/")).count(), 1);
}

#[test]
fn a_prune_leaves_the_entries_behind_the_damage_of_another_run() {
    let disk = MemoryDisk::new();
    let journal = on(&disk);
    let mut hit = begin(&journal);
    append(&mut hit, 900).unwrap();
    let middle = written(&disk, 1) - 300;
    while written(&disk, 1) < 62_000 {
        append(&mut hit, 1500).unwrap();
    }
    let mut gone = begin(&journal);
    (0..2).for_each(|_| _ = append(&mut hit, 2000).unwrap());
    append(&mut gone, 100).unwrap();
    (0..40).for_each(|_| _ = append(&mut hit, 2000).unwrap());
    let gone = (gone.run(), drop(gone)).0;
    drop((hit, journal));
    disk.change(&segment(1), |bytes| bytes[middle] ^= 1);
    let count = |disk: &MemoryDisk| {
        let text = String::from_utf8_lossy(&disk.files()[&segment(2)]).into_owned();
        text.matches(&"x".repeat(2000)).count()
    };
    let before = count(&disk);
    let journal = on(&disk);
    wait(journal.prune(vec![gone], "old")).unwrap();
    assert!(before > 10 && count(&disk) == before, "{before}, then {}", count(&disk));
}

#[test]
fn a_blob_is_read_from_where_it_is_whole_else_the_damage_is_named() {
    let disk = MemoryDisk::new();
    let journal = on(&disk);
    let (large, small) = (vec![7; 70_000], b"a manifest".to_vec());
    let mut files = Vec::new();
    for _ in 0..2 {
        let commit = Commit::of(["1"]).with_blob(large.clone()).with_blob(small.clone());
        let run = wait(journal.begin("pivot", commit)).unwrap().run();
        files.push(format!("blobs/{run}-{}", Digest::of(&large)));
    }
    files.sort();
    disk.change(&files[0], |bytes| bytes[9] = 8);
    assert_eq!(journal.reader().blob(&Digest::of(&large)).unwrap(), large);
    drop(journal);
    disk.change(&segment(1), |bytes| {
        let places: Vec<usize> = memchr::memmem::find_iter(bytes, &small).collect();
        places.into_iter().for_each(|at| bytes[at] = b'A');
    });
    let error = reader(&disk).blob(&Digest::of(&small)).unwrap_err();
    let named = matches!(&error, ReadError::DamagedBlob { path, .. } if path.ends_with(segment(1)));
    assert!(named, "{error:?}");
}

/// A reader that is older than a prune reads on where the segment that it had read in is short now.
#[test]
fn a_reader_outlives_an_emptied_segment() {
    let disk = MemoryDisk::new();
    let journal = on(&disk);
    let mut gone = begin(&journal);
    append(&mut gone, 30_000).unwrap();
    let reader = reader(&disk);
    append(&mut gone, 20_000).unwrap();
    append(&mut gone, 30_000).unwrap();
    let kept = begin(&journal).run();
    let gone = (gone.run(), drop(gone)).0;
    wait(journal.prune(vec![gone], "old")).unwrap();
    assert!(disk.files()[&segment(1)].len() < 1000, "it was emptied");
    assert_eq!(reader.verify(kept).unwrap().seq, 1);
    assert!(matches!(reader.verify(gone), Err(ReadError::Pruned { .. })));
    assert_eq!(reader.damage().unwrap(), []);
}
