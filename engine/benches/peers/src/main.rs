//! What a durable step costs, here and in other engines that a program embeds:
//!
//! ```text
//! cargo run --release --manifest-path engine/benches/peers/Cargo.toml
//! ```
//!
//! The disk itself, SQLite, memable, duroxide, durare and fulcrum-engine take turns on one disk, each time in a
//! process of its own. Each has three tasks:
//!
//! * a chain of 200 steps that do nothing: the time from each step to the next;
//! * 64 workflows at once: steps a second;
//! * a cold start: a new process on a store with 10,000 finished runs and one that a dead process left in its
//!   second step. Measured from the start of the process until that step begins again, and the most memory.
//!
//! strace counts how often a step syncs. An engine that syncs less than once a step loses acknowledged steps in
//! a power cut. It is measured all the same; limits are about those that are power-safe.
//!
//! Prints a table, and each limit beside its figure. Exits with 1 if a limit is missed. `FULCRUM_BENCH_DIR` is
//! where it writes; the directory of the program if it is not set. Limits mean nothing on a file system that
//! does not sync (tmpfs): it says so and exits with 2. Needs strace, libssl-dev (duroxide's) and an idle machine.

mod body;
mod child;
mod figures;
mod store;

use child::{AT_ONCE, Task};
use figures::{Figures, limits, table};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use store::{Failed, Subject};

/// Steps of a chain.
const CHAIN: u64 = 200;
/// Finished runs in the store of a cold start.
const RUNS: u64 = 10_000;
const ROUNDS: usize = 5;
/// A disk does not sync in less.
const SYNC_MIN: Duration = Duration::from_micros(5);
/// Where stores are filled: what is measured is not how long that takes.
const MEMORY: &str = "/dev/shm";

fn main() -> Result<ExitCode, Failed> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if !args.is_empty() {
        return child::work(&args).map(|()| ExitCode::SUCCESS);
    }
    let place = match std::env::var_os("FULCRUM_BENCH_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => std::env::current_exe()?.parent().ok_or("a program in no directory")?.to_owned(),
    };
    let dir = tempfile::tempdir_in(place)?;
    let stores = match Path::new(MEMORY).is_dir() {
        true => tempfile::tempdir_in(MEMORY)?,
        false => tempfile::tempdir_in(dir.path())?,
    };
    fill(stores.path())?;
    let mut all: Vec<Figures> = Subject::ALL.map(Figures::new).into();
    for round in 0..ROUNDS {
        for figures in &mut all {
            let dir = dir.path().join(format!("{round}-{:?}", figures.subject));
            take_turn(figures, &dir, stores.path())?;
            fs::remove_dir_all(dir)?;
        }
    }
    for figures in &mut all {
        figures.syncs = syncs(figures.subject, &dir.path().join(format!("syncs-{:?}", figures.subject)))?;
    }
    let sync = all.iter().find(|figures| figures.subject == Subject::Append).map(Figures::p50);
    if sync.is_some_and(|sync| sync < SYNC_MIN) {
        println!("{}: a sync takes {sync:?}: this is no disk", dir.path().display());
        return Ok(ExitCode::from(2));
    }
    table(&all);
    Ok(if limits(&all) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Fills the stores of the cold starts, side by side.
fn fill(stores: &Path) -> Result<(), Failed> {
    let subjects = Subject::ALL.into_iter().filter(|subject| subject.starts_cold());
    let children = subjects
        .map(|subject| Ok((subject, child::fill(subject, &stores.join(format!("{subject:?}")), RUNS)?)));
    for child in children.collect::<Result<Vec<_>, Failed>>()? {
        let (subject, mut child) = child;
        child::succeeded(Task::Fill, subject, child.wait()?)?;
    }
    Ok(())
}

/// One round of one subject.
fn take_turn(figures: &mut Figures, dir: &Path, stores: &Path) -> Result<(), Failed> {
    let subject = figures.subject;
    let chain = child::measure(Task::Chain, subject, &dir.join("chain"), CHAIN)?;
    figures.steps.extend(chain.numbers.into_iter().map(Duration::from_nanos));
    if subject.is_shared() {
        let wide = child::measure(Task::Wide, subject, &dir.join("wide"), AT_ONCE as u64)?;
        let [nanos, steps] = wide.numbers[..] else { return Err("a child reported too little".into()) };
        figures.rates.push(steps as f64 / Duration::from_nanos(nanos).as_secs_f64());
    }
    if subject.starts_cold() {
        let store = dir.join("cold");
        copy(&stores.join(format!("{subject:?}")), &store)?;
        let cold = child::measure(Task::GoOn, subject, &store, 0)?;
        figures.starts.push(cold.first);
        figures.peaks_kib.extend(cold.numbers);
    }
    Ok(())
}

/// Syncs of a step. Those of opening a store and of a workflow's begin and end are in both counts.
fn syncs(subject: Subject, dir: &Path) -> Result<Option<f64>, Failed> {
    let one = child::syncs(subject, &dir.join("one"), 1)?;
    let many = child::syncs(subject, &dir.join("many"), CHAIN + 1)?;
    Ok(one.zip(many).map(|(one, many)| (many as f64 - one as f64) / CHAIN as f64))
}

/// Copies a store to the disk, and has it there.
fn copy(from: &Path, to: &Path) -> Result<(), Failed> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let copied = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &copied)?;
        } else {
            fs::copy(entry.path(), &copied)?;
            File::open(&copied)?.sync_all()?;
        }
    }
    Ok(())
}
