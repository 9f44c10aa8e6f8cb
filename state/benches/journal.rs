//! What the journal costs, with the limit beside each result; fails if one is missed.
//!
//!     cargo bench -p fulcrum-state
//!
//! The journals lie in a new directory below `target/`, or below `$FULCRUM_BENCH_DIR`: it must be on the kind of disk
//! that is asked about, and not in memory. What is compared with a raw append is measured in turns with it. The parts
//! that ask how much memory something takes are processes of their own.

#![allow(missing_docs, reason = "a program, not a library")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "what fails here fails the bench, and its output is a table"
)]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use fulcrum_state::{Journal, RunId};
use tokio::task::JoinSet;

const ENTRIES: u64 = 1_000_000;
const WRITERS: u64 = 64;
/// Entries of one run in the large journal of many runs: a pivot has about 60.
const RUN_ENTRIES: u64 = 100;

#[tokio::main]
async fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    match (args.next(), args.next()) {
        (Some(part), Some(dir)) => child(&part, Path::new(&dir)).await,
        _ => return all().await,
    }
    ExitCode::SUCCESS
}

async fn all() -> ExitCode {
    let place =
        std::env::var_os("FULCRUM_BENCH_DIR").map_or(env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from);
    let root = tempfile::tempdir_in(place).unwrap();
    let mut table = Table::default();
    one_append(root.path(), &mut table).await;
    many_writers(root.path(), &mut table).await;
    for part in ["append", "open-runs", "open-one"] {
        let dir = root.path().join(if part == "open-runs" { "runs" } else { "one" });
        if part == "open-runs" {
            part_of("fill", &dir);
        }
        part_of(part, &dir).iter().for_each(|line| table.child(line));
    }
    table.verdict()
}

/// One entry at a time, each on the disk before the next: the journal and a plain file, in turns.
async fn one_append(root: &Path, table: &mut Table) {
    let journal = Journal::open(root.join("single"), "bench").unwrap();
    let (run, _) = journal.begin("bench", vec![]).await.unwrap();
    let mut file = File::create(root.join("raw")).unwrap();
    let (mut raw, mut appended) = (Vec::new(), Vec::new());
    let mut seq = 0;
    while seq < 4_000 {
        for _ in 0..100 {
            let begun = Instant::now();
            file.write_all(body(seq).as_bytes()).unwrap();
            file.sync_data().unwrap();
            raw.push(begun.elapsed());
        }
        for _ in 0..100 {
            let begun = Instant::now();
            seq = journal.append(run, vec![body(seq)]).await.unwrap().seq;
            appended.push(begun.elapsed());
        }
    }
    let (raw, p50, p99) =
        (quantile(&mut raw, 0.5), quantile(&mut appended, 0.5), quantile(&mut appended, 0.99));
    table.note("raw append + fdatasync, p50", micros(raw));
    let limit = raw * 3 / 2 + Duration::from_micros(100);
    table.row(
        "one durable append, p50",
        micros(p50),
        &format!("<= 1.5 x raw + 100 us = {}", micros(limit)),
        p50 <= limit,
    );
    table.note("one durable append, p99", micros(p99));
}

/// Writers that wait for their own entry each: the syncs are shared.
async fn many_writers(root: &Path, table: &mut Table) {
    let journal = Journal::open(root.join("writers"), "bench").unwrap();
    let (run, _) = journal.begin("bench", vec![]).await.unwrap();
    let alone = rate(&journal, run, 1, 2_000).await;
    let syncs = journal.syncs();
    let together = rate(&journal, run, WRITERS, 200_000).await;
    let syncs = journal.syncs() - syncs;
    table.note("one writer", format!("{alone:.0} entries/s"));
    let limit = (alone * 20.0).min(50_000.0);
    let limit_text = format!(">= 50,000/s, or 20 x one writer if that is less = {limit:.0}");
    table.row(
        "64 writers",
        format!("{together:.0} entries/s, {syncs} syncs for 200,000"),
        &limit_text,
        together >= limit,
    );
}

async fn rate(journal: &Journal, run: RunId, writers: u64, entries: u64) -> f64 {
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..writers {
        let journal = journal.clone();
        tasks.spawn(async move {
            for seq in 0..entries / writers {
                journal.append(run, vec![body(seq)]).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    entries as f64 / begun.elapsed().as_secs_f64()
}

/// Runs a part in a process of its own, and returns what it printed.
fn part_of(part: &str, dir: &Path) -> Vec<String> {
    let output = Command::new(std::env::current_exe().unwrap()).arg(part).arg(dir).output().unwrap();
    assert!(output.status.success(), "{part}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

async fn child(part: &str, dir: &Path) {
    match part {
        "append" => append_a_million(dir).await,
        "fill" => fill_with_runs(dir).await,
        "open-runs" => open_runs(dir),
        "open-one" => open_one(dir),
        other => panic!("no part {other}"),
    }
}

async fn append_a_million(dir: &Path) {
    let journal = Journal::open(dir, "bench").unwrap();
    let (run, _) = journal.begin("bench", vec![]).await.unwrap();
    rate(&journal, run, WRITERS, ENTRIES / 10).await;
    let tenth = memory("VmRSS");
    rate(&journal, run, WRITERS, ENTRIES - ENTRIES / 10).await;
    let (all, peak) = (memory("VmRSS"), memory("VmHWM"));
    let bytes = (all.saturating_sub(tenth)) * 1024 * 10 / (ENTRIES * 9);
    say(
        "memory, 1,000,000 appends",
        &format!("{} MB at 100,000, {} MB at the end, peak {} MB", tenth / 1024, all / 1024, peak / 1024),
        "<= 32 bytes an entry (sled's page table)",
        bytes <= 32,
    );
}

async fn fill_with_runs(dir: &Path) {
    let journal = Journal::open(dir, "bench").unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..WRITERS {
        let journal = journal.clone();
        tasks.spawn(async move {
            for _ in 0..ENTRIES / RUN_ENTRIES / WRITERS + 1 {
                journal.begin("bench", (0..RUN_ENTRIES).map(body).collect()).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
}

/// To open the journal and read the last run, as `resume` does.
fn open_runs(dir: &Path) {
    let begun = Instant::now();
    let journal = Journal::open(dir, "bench").unwrap();
    let runs = journal.runs().unwrap();
    let head = journal.verify(runs.last().unwrap().run).unwrap();
    let took = begun.elapsed();
    assert_eq!(head.seq, RUN_ENTRIES);
    let (took_ms, peak) = (took.as_millis(), memory("VmHWM") / 1024);
    let fits = took <= Duration::from_secs(1) && peak <= 200;
    say(
        &format!("open 1,000,000 entries in {} runs, read the last run", runs.len()),
        &format!("{took_ms} ms, peak {peak} MB"),
        "<= 1 s, <= 200 MB",
        fits,
    );
}

/// To open one endless run and read its first entry, as `history` does; and to read it to its end.
fn open_one(dir: &Path) {
    let begun = Instant::now();
    let journal = Journal::open(dir, "bench").unwrap();
    let run = journal.runs().unwrap()[0].run;
    assert_eq!(journal.entries(run).next().unwrap().unwrap().seq, 1);
    let first = begun.elapsed();
    assert_eq!(
        journal.verify(run).unwrap().seq,
        ENTRIES / WRITERS / 10 * WRITERS + (ENTRIES - ENTRIES / 10) / WRITERS * WRITERS
    );
    let (all, peak) = (begun.elapsed(), memory("VmHWM") / 1024);
    let fits = first <= Duration::from_secs(1) && peak <= 200;
    say(
        "one run of 1,000,000 entries: open, first entry",
        &format!("{} ms, peak {peak} MB", first.as_millis()),
        "<= 1 s, <= 200 MB",
        fits,
    );
    say("  the same, to its last entry", &format!("{} ms", all.as_millis()), "", true);
}

/// Memory of this process by that name, in KiB.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn body(seq: u64) -> String {
    format!(
        "{{\"event\":\"attempt_done\",\"step\":\"await-ready/kube-apiserver\",\"attempt\":{seq},\"output\":{{\"pid\":4242}}}}"
    )
}

fn quantile(times: &mut [Duration], q: f64) -> Duration {
    times.sort_unstable();
    times[(times.len() as f64 * q) as usize]
}

fn micros(time: Duration) -> String {
    format!("{} us", time.as_micros())
}

/// A row of a part that is a process of its own.
fn say(what: &str, result: &str, limit: &str, met: bool) {
    println!("{what}\t{result}\t{limit}\t{met}");
}

#[derive(Default)]
struct Table {
    missed: usize,
}

impl Table {
    fn row(&mut self, what: &str, result: String, limit: &str, met: bool) {
        self.missed += usize::from(!met);
        let verdict = if limit.is_empty() {
            ""
        } else if met {
            "met"
        } else {
            "MISSED"
        };
        println!("{what:<62} {result:<50} {limit:<56} {verdict}");
    }

    fn note(&mut self, what: &str, result: String) {
        self.row(what, result, "", true);
    }

    fn child(&mut self, line: &str) {
        let mut parts = line.split('\t');
        let mut next = || parts.next().unwrap();
        let (what, result, limit, met) = (next(), next(), next(), next());
        self.row(what, result.into(), limit, met == "true");
    }

    fn verdict(self) -> ExitCode {
        if self.missed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}
