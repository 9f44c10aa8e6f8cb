//! Faults at every call, on a disk in memory: each is followed by a second one in the recovery, and then everything that
//! was acknowledged is there, whole commits only, and nothing is called damaged.
//!
//! `FULCRUM_SWEEP=<rounds>` makes it long; counts and seeds are printed.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "what fails here fails the test, and says what was done"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use fulcrum_state::Commit;
use fulcrum_state::CommitOn;
use fulcrum_state::Digest;
use fulcrum_state::Journal;
use fulcrum_state::MemoryDisk;
use fulcrum_state::Options;
use fulcrum_state::Reader;
use fulcrum_state::RunId;
use fulcrum_state::RunWriter;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn rounds() -> u64 {
    std::env::var("FULCRUM_SWEEP").ok().map_or(1, |rounds| rounds.parse().unwrap())
}

fn open(disk: &MemoryDisk) -> Option<Journal> {
    // The other tests leave the commits to the journal's thread.
    let options = Options { segment_bytes: 64 * 1024, commit_on: CommitOn::CallersThread };
    Journal::on(Arc::new(disk.clone()), options).ok()
}

/// What was asked of a journal, and what it said.
#[derive(Clone, Debug, Default)]
struct Model {
    runs: BTreeMap<RunId, Vec<(String, bool)>>,
    begun_unknown: usize,
    pruned: Option<(RunId, bool)>,
}

impl Model {
    fn append(&mut self, writer: &mut RunWriter, n: u64, blob: usize) -> bool {
        let body = format!("{{\"n\":{n},\"filler\":\"{}\"}}", "x".repeat(200 + (n as usize * 397) % 1500));
        let second = format!("{{\"n\":{n},\"second\":true}}");
        let value = vec![b'a' + (n % 20) as u8; blob];
        let commit = Commit::of([body.clone(), second.clone()]).with_blob(value);
        let said = wait(writer.append(commit)).is_ok();
        let run = self.runs.entry(writer.run()).or_default();
        run.extend([(body, said), (second, said)]);
        said
    }

    fn begin(&mut self, journal: &Journal) -> Option<RunWriter> {
        let begun = wait(journal.begin("pivot", Commit::of(["\"first\"", "\"second\""])));
        match begun {
            Ok(writer) => {
                let first = ["\"first\"", "\"second\""].map(|body| (body.to_owned(), true));
                self.runs.insert(writer.run(), first.into());
                Some(writer)
            }
            Err(_) => {
                self.begun_unknown += 1;
                None
            }
        }
    }

    /// Opens, begins, appends, saves, prunes, closes.
    fn play(&mut self, disk: &MemoryDisk) -> Option<()> {
        let journal = open(disk)?;
        let mut first = self.begin(&journal)?;
        for n in 0..8 {
            self.append(&mut first, n, 300).then_some(())?;
        }
        let mut second = self.begin(&journal)?;
        self.append(&mut second, 100, 70_000).then_some(())?;
        for n in 10..20 {
            self.append(&mut first, n, 3000).then_some(())?;
            self.append(&mut second, n + 100, 10).then_some(())?;
        }
        let gone = first.run();
        drop(first);
        let pruned = wait(journal.prune(vec![gone], "as asked")).is_ok();
        self.pruned = Some((gone, pruned));
        pruned.then_some(())?;
        self.append(&mut second, 200, 10).then_some(())?;
        Some(())
    }

    /// Everything that was acknowledged is there, and of the rest whole commits.
    fn check(&self, reader: &Reader, what: &str) {
        assert_eq!(reader.damage().unwrap(), [], "{what}");
        let headers = reader.runs().unwrap();
        let unknown = headers.iter().filter(|header| !self.runs.contains_key(&header.run)).count();
        assert!(unknown <= self.begun_unknown, "{what}: {unknown} runs that were never begun");
        for (run, bodies) in &self.runs {
            let gone = self.pruned.filter(|(gone, _)| gone == run).map(|(_, said)| said);
            let there = headers.iter().any(|header| header.run == *run);
            match (gone, there) {
                (Some(true), there) => assert!(!there, "{what}: {run} was pruned"),
                (Some(false), false) => {}
                (_, there) => {
                    assert!(there, "{what}: {run} is lost");
                    let found: Vec<String> = reader
                        .entries(*run)
                        .map(|entry| entry.unwrap_or_else(|error| panic!("{what}: {error}")).body)
                        .collect();
                    let said = bodies.iter().filter(|(_, said)| *said).count();
                    assert!(
                        found.len() >= said && found.len().is_multiple_of(2),
                        "{what}: {} of {said}",
                        found.len()
                    );
                    let wanted: Vec<String> = bodies.iter().map(|(body, _)| body.clone()).collect();
                    assert_eq!(found[..], wanted[..found.len()], "{what}");
                    reader.verify(*run).unwrap_or_else(|error| panic!("{what}: {error}"));
                }
            }
        }
    }
}

/// One fault, a second one in the recovery, and then none.
fn broken(n: u64, fault: &str, seed: u64) {
    let (disk, mut model) = (MemoryDisk::new(), Model::default());
    let what = format!("{fault} at call {n}, seed {seed}");
    let (count, code) = match fault {
        "eio" => (1, EIO),
        "enospc" => (1, ENOSPC),
        "full" => (u64::MAX, ENOSPC),
        _ => (u64::MAX, EIO),
    };
    disk.fail(n, count, code);
    let _ = model.play(&disk);
    let after = |disk: MemoryDisk, seed: u64| match fault {
        "cut" => disk.power_cut(seed),
        _ => disk.image(),
    };
    let disk = after(disk, seed);
    model.check(&Reader::on(Arc::new(disk.clone())).unwrap(), &format!("{what}, read before the recovery"));
    disk.fail(1 + seed % 9, count, code);
    drop(open(&disk));
    let disk = after(disk, seed + 1);
    let journal = open(&disk).unwrap_or_else(|| panic!("{what}: it does not open"));
    model.check(&journal.reader(), &what);
    let mut writer = model.begin(&journal).unwrap();
    assert!(model.append(&mut writer, 1, 10), "{what}");
    drop((writer, journal));
    model.check(&Reader::on(Arc::new(disk)).unwrap(), &format!("{what}, afterwards"));
}

#[test]
fn a_fault_at_any_call_and_another_in_the_recovery_take_nothing_away() {
    let (disk, mut model) = (MemoryDisk::new(), Model::default());
    model.play(&disk).unwrap();
    let calls = disk.calls();
    let mut count = 0;
    for round in 0..rounds() {
        for n in 1..=calls {
            for (at, fault) in ["eio", "enospc", "full", "cut"].into_iter().enumerate() {
                // In short, each call has one of the faults.
                if rounds() == 1 && n % 8 != at as u64 {
                    continue;
                }
                broken(n, fault, round * 1000 + n);
                count += 1;
            }
        }
    }
    eprintln!(
        "{count} double faults at {calls} calls, seeds round * 1000 + call, {} rounds: 0 failures",
        rounds()
    );
}

/// The bodies and blobs of every run, as far as they are whole.
type Content = BTreeMap<RunId, (Vec<String>, usize)>;

fn content(reader: &Reader, blobs: &[Digest]) -> (Content, bool, usize) {
    let (mut content, mut damaged) = (Content::new(), false);
    for header in reader.runs().unwrap() {
        let mut bodies = Vec::new();
        let mut error = false;
        for entry in reader.entries(header.run) {
            match entry {
                Ok(entry) => bodies.push(entry.body),
                Err(_) => error = true,
            }
        }
        error |= reader.verify(header.run).is_err();
        damaged |= error;
        content.insert(header.run, (bodies, usize::from(error)));
    }
    let there = blobs.iter().filter(|blob| reader.blob(blob).is_ok()).count();
    (content, damaged, there)
}

/// One byte that changes: either everything reads as it was written, or the damage is named.
#[test]
fn every_flipped_byte_is_found_or_changes_nothing() {
    let disk = MemoryDisk::new();
    let journal = open(&disk).unwrap();
    let mut blobs = Vec::new();
    let mut writers: Vec<RunWriter> = Vec::new();
    for kind in ["pivot", "guard", "renew"] {
        writers.push(wait(journal.begin(kind, Commit::of(["1"]))).unwrap());
    }
    for n in 0..6 {
        for writer in &mut writers {
            let blob = format!("blob {n} of {}", writer.run()).into_bytes();
            blobs.push(Digest::of(&blob));
            wait(writer.append(Commit::of([format!("{{\"n\":{n}}}"), "2".into()]).with_blob(blob))).unwrap();
        }
    }
    drop((writers, journal));
    let name = "log/0000000001.log";
    let whole = disk.files()[name].clone();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let (wanted, _, _) = content(&open(&disk).unwrap().reader(), &blobs);
    let step = if rounds() > 1 { 1 } else { 41 };
    let (mut found, mut harmless) = (0, 0);
    for at in (0..end).step_by(step).chain((end..end + 2000).step_by(step * 10)) {
        let flip = 1 << (at % 8);
        let copy = disk.image();
        copy.change(name, |bytes| bytes[at] ^= flip);
        let reader = open(&copy).unwrap().reader();
        let (got, damaged, there) = content(&reader, &blobs);
        let named = reader.damage().unwrap();
        let what = format!("byte {at} of {end} ^ {flip:#04x}: {named:?}");
        if got == wanted && !damaged && there == blobs.len() {
            assert!(named.iter().all(|damage| damage.path.ends_with(name)), "{what}");
            harmless += 1;
            continue;
        }
        found += 1;
        assert!(!named.is_empty() || damaged, "{what}: it is not named");
        let place = named.first().map_or(0, |damage| damage.offset as usize);
        assert!(place <= at && at < place + 2000, "{what}");
        let mut hit = 0;
        for (run, (bodies, _)) in &wanted {
            let (found, errors) = got.get(run).unwrap_or_else(|| panic!("{what}: {run} is hidden"));
            assert!(bodies.starts_with(found), "{what}: {run} reads {found:?}");
            assert!(found == bodies || *errors > 0, "{what}: {run} is short without a word");
            hit += usize::from(*errors > 0);
        }
        assert!(hit <= 1, "{what}: {hit} runs are hit");
    }
    eprintln!("{found} flips were found and named, {harmless} changed nothing");
    assert!(found > 50);
}
