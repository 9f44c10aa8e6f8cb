//! Power cuts: what was acknowledged is on the disk, and the run goes on from there.
//!
//! A child runs workflows on a file system of its own and prints every event once the engine says that it is in
//! the journal. At a random instant the file system is shut down as a power cut does: nothing that the kernel still
//! holds reaches the disk. It is mounted again, and then
//!
//! * every event that was printed is in the journal, in that order, and the chain of every run verifies;
//! * what the journal says is done is there;
//! * the run resumes or is rolled back to its end, in this process or in the next child, and leaves all of its effects, or
//!   none.
//!
//! ```text
//! cargo test --workspace --locked --test power_cut                             # a few dozen cuts
//! cargo test --workspace --locked --test power_cut -- --count 500 --seed 7     # more, from that seed
//! cargo test --workspace --locked --test power_cut -- --count 2000 --beside    # another process syncs meanwhile: an hour
//! ```
//!
//! Needs root, mkfs.ext4 and loop devices, and skips without. A program of its own, as it is its own child.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "what fails here fails the test, which says so on stdout"
)]

mod check;
mod child;
mod disk;
#[path = "../../../tests/harness/mod.rs"]
mod harness;
mod workflow;

use check::Told;
use disk::Disk;
use harness::{Talker, this_program};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Cuts on one file system before a new one is made: damage that adds up would show.
const CUTS_A_DISK: u32 = 12;
/// A long run says so often how far it is: a cut takes some 2 s, nearly all of it in syncs.
const PROGRESS: u32 = 100;
/// The most events that a child reports before its power is cut: some three whole runs.
const EVENTS_MAX: usize = 120;
/// The longest from the last of them to the cut: a few syncs, or the opening of the journal.
const AFTER_MICROS_MAX: u64 = 12_000;
/// A child that is silent for so long hangs.
const SILENT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, dir, boot] = args.as_slice()
        && mode == "child"
    {
        child::work(Path::new(dir), boot);
        return ExitCode::SUCCESS;
    }
    let names_another = |arg: &String| {
        !arg.starts_with('-') && arg.parse::<u64>().is_err() && !"power_cut".contains(arg.as_str())
    };
    if let [mode, dir] = args.as_slice()
        && mode == "beside"
    {
        child::sync_beside(Path::new(dir));
        return ExitCode::SUCCESS;
    }
    if args.iter().any(|arg| arg == "--list" || names_another(arg)) {
        return ExitCode::SUCCESS; // The test runner asks for its own kind of test.
    }
    if let Some(why) = disk::missing() {
        harness::skipped(&why);
        println!("0 passed, 0 failed");
        return ExitCode::SUCCESS;
    }
    if let Some(code) = disk::in_own_namespace(&args) {
        return code;
    }
    let count = number(&args, "--count").unwrap_or(48);
    let seed = number(&args, "--seed").unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_secs() % 1_000_000)
    });
    let beside = args.iter().any(|arg| arg == "--beside");
    cut_and_check(u32::try_from(count).unwrap(), seed, beside)
}

fn number(args: &[String], name: &str) -> Option<u64> {
    let at = args.iter().position(|arg| arg == name)?;
    args.get(at + 1)?.parse().ok()
}

fn cut_and_check(count: u32, seed: u64, beside: bool) -> ExitCode {
    println!(
        "{count} power cuts from seed {seed}{}",
        if beside { ", beside a process that syncs" } else { "" }
    );
    let begun = Instant::now();
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut passed, mut failed, mut acknowledged, mut finished) = (0, 0, 0, 0);
    let mut disk = Disk::make();
    let mut told = Told::default();
    for cut in 1..=count {
        let instant = (random.usize(0..EVENTS_MAX), Duration::from_micros(random.u64(0..AFTER_MICROS_MAX)));
        let boot = format!("boot-{cut}");
        let other = beside.then(|| Talker::start(this_program().arg("beside").arg(disk.path())));
        acknowledged += run_until_cut(&disk, &boot, instant, &mut told);
        drop(other);
        disk.power_on();
        let finish = random.u8(0..3) == 0 || cut == count || cut % CUTS_A_DISK == 0;
        finished += u32::from(finish);
        match check::after_cut(disk.path(), &mut told, finish.then_some(&mut random)) {
            Ok(()) => passed += 1,
            Err(what) => {
                failed += 1;
                println!("FAIL cut {cut} of seed {seed}, {:?} after event {}: {what}", instant.1, instant.0);
            }
        }
        if cut % PROGRESS == 0 {
            println!("{cut} cuts in {} s, {failed} failed", begun.elapsed().as_secs());
        }
        if cut % CUTS_A_DISK == 0 || failed > 0 {
            (disk, told) = (Disk::make(), Told::default());
        }
    }
    println!(
        "{acknowledged} events were acknowledged; {finished} runs were brought to their end after a cut"
    );
    println!("{passed} passed, {failed} failed, {} s", begun.elapsed().as_secs());
    if failed == 0 && acknowledged > count { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Lets a child work until it has reported so many events and that time has passed, cuts the power, and takes in what
/// it said until then. Says how many events.
fn run_until_cut(disk: &Disk, boot: &str, (events, after): (usize, Duration), told: &mut Told) -> u32 {
    let mut child = Talker::start(this_program().arg("child").args([disk.path().as_os_str(), boot.as_ref()]));
    let (mut out, (said, lines)) = (child.lines(), mpsc::channel());
    let listener = std::thread::spawn(move || out.try_for_each(|line| said.send(line)));
    let mut heard: Vec<String> = Vec::new();
    while heard.len() < events {
        heard.push(lines.recv_timeout(SILENT).expect("a child works until its power is cut"));
    }
    // No event to wait for: any instant will do.
    std::thread::sleep(after);
    disk.cut_power();
    child.kill();
    child.wait();
    listener.join().unwrap().unwrap();
    heard.extend(lines);
    heard.iter().for_each(|line| told.hear(line));
    u32::try_from(heard.len()).unwrap()
}
