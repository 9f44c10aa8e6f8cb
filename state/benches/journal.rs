//! What the journal costs, with the limit beside each result; fails if one is missed.
//!
//!     cargo bench -p fulcrum-state
//!
//! The journals lie in a new directory below `target/`, or below `$FULCRUM_BENCH_DIR`: it must be on the kind of disk
//! that is asked about, and not in memory. What is compared with raw writes is measured in turns with them. The parts
//! that ask how long a start takes are processes of their own.

#![allow(missing_docs, reason = "a program, not a library")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "what fails here fails the bench, and its output is a table"
)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use fulcrum_state::{Commit, Journal, Reader};
use tokio::task::JoinSet;

const WRITERS: u64 = 64;
/// Steps that are taken in turns before the other side has its turn.
const TURN: u64 = 20;
const TURNS: u64 = 100;

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
    for (fill, parts) in [
        ("fill-finished", ["start", "start-anew", "list"].as_slice()),
        ("fill-million", ["resume", "list", "list-anew", "resume-anew"].as_slice()),
    ] {
        let dir = root.path().join(fill);
        part_of(fill, &dir);
        for part in parts {
            table.child(&median(part, &dir));
        }
    }
    table.verdict()
}

/// Blocks that were written before, as the journal has them.
struct Raw {
    file: File,
    at: u64,
}

impl Raw {
    fn new(path: &Path) -> Raw {
        let file = File::create(path).unwrap();
        for at in 0..512 {
            file.write_all_at(&[0; 65536], at * 65536).unwrap();
        }
        file.sync_all().unwrap();
        Raw { file, at: 0 }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.file.write_all_at(bytes, self.at).unwrap();
        self.file.sync_data().unwrap();
        self.at += bytes.len() as u64;
    }
}

/// One entry at a time, each on the disk before the next; and one that saves 4 KiB.
async fn one_append(root: &Path, table: &mut Table) {
    let journal = Journal::open(root.join("single"), "bench").unwrap();
    let mut run = journal.begin("bench", Commit::default()).await.unwrap();
    let mut plain = Raw::new(&root.join("raw"));
    let (mut raw, mut appended, mut saved) = (Vec::new(), Vec::new(), Vec::new());
    let (mut append_syncs, mut save_syncs) = (0, 0);
    for turn in 0..TURNS {
        for n in 0..TURN {
            let text = body(n);
            raw.push(timed(|| plain.write(text.as_bytes())));
        }
        let before = journal.syncs();
        for n in 0..TURN {
            let begun = Instant::now();
            run.append(Commit::of([body(n)])).await.unwrap();
            appended.push(begun.elapsed());
        }
        let between = journal.syncs();
        for n in 0..TURN {
            let begun = Instant::now();
            let blob = vec![b'a' + (turn % 20) as u8; 4096];
            run.append(Commit::of([body(n)]).with_blob(blob)).await.unwrap();
            saved.push(begun.elapsed());
        }
        append_syncs += between - before;
        save_syncs += journal.syncs() - between;
    }
    let (raw, p50) = (quantile(&mut raw, 0.5), quantile(&mut appended, 0.5));
    let (p99, saved) = (quantile(&mut appended, 0.99), quantile(&mut saved, 0.5));
    table.note("write + fdatasync into written blocks, p50", micros(raw));
    let limit = raw * 13 / 10;
    let limit_text = format!("<= 1.3 x raw = {}", micros(limit));
    table.row("one durable append, p50", micros(p50), &limit_text, p50 <= limit);
    table.note("one durable append, p99", micros(p99));
    table.note("one append that saves 4 KiB, p50", micros(saved));
    let syncs = format!("{save_syncs} syncs, {append_syncs} without saving");
    table.row("appends that save 4 KiB", syncs, "as many syncs", save_syncs == append_syncs);
}

/// Writers that wait for their own entry each: the syncs are shared.
async fn many_writers(root: &Path, table: &mut Table) {
    let journal = Journal::open(root.join("writers"), "bench").unwrap();
    let mut plain = Raw::new(&root.join("raw-writers"));
    let (mut raw, mut together) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..8 {
        let text = body(1);
        raw += timed(|| (0..500).for_each(|_| plain.write(text.as_bytes())));
        let begun = Instant::now();
        fill(&journal, WRITERS, 1, 100, false).await;
        together += begun.elapsed();
    }
    let raw = 4_000.0 / raw.as_secs_f64();
    let together = 8.0 * 100.0 * WRITERS as f64 / together.as_secs_f64();
    table.note("raw writes, one after the other", format!("{raw:.0}/s"));
    let limit = format!(">= 3 x raw = {:.0}/s", raw * 3.0);
    table.row("64 writers", format!("{together:.0} entries/s"), &limit, together >= raw * 3.0);
}

/// So many runs by so many tasks each, so many entries a run, one by one or in one commit.
async fn fill(journal: &Journal, tasks: u64, runs: u64, entries: u64, at_once: bool) {
    let mut set = JoinSet::new();
    for _ in 0..tasks {
        let journal = journal.clone();
        set.spawn(async move {
            for _ in 0..runs {
                if at_once {
                    let commit = Commit::of((0..entries).map(body)).over();
                    journal.begin("bench", commit).await.unwrap();
                    continue;
                }
                let mut run = journal.begin("bench", Commit::default()).await.unwrap();
                for n in 0..entries {
                    run.append(Commit::of([body(n)])).await.unwrap();
                }
            }
        });
    }
    set.join_all().await;
}

/// What a part says that takes the middle time of five, each a process of its own. One that needs something taken
/// away before is done once.
fn median(part: &str, dir: &Path) -> String {
    let times = if part.ends_with("anew") { 1 } else { 5 };
    let mut lines: Vec<String> = (0..times).flat_map(|_| part_of(part, dir)).collect();
    let millis =
        |line: &String| line.split('\t').nth(1).unwrap().split(' ').next().unwrap().parse::<f64>().unwrap();
    lines.sort_by(|one, other| millis(one).total_cmp(&millis(other)));
    lines.swap_remove(lines.len() / 2)
}

/// Runs a part in a process of its own, and returns what it printed.
fn part_of(part: &str, dir: &Path) -> Vec<String> {
    let output = Command::new(std::env::current_exe().unwrap()).arg(part).arg(dir).output().unwrap();
    assert!(output.status.success(), "{part}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

async fn child(part: &str, dir: &Path) {
    match part {
        "fill-finished" => {
            let journal = Journal::open(dir, "bench").unwrap();
            fill(&journal, 50, 200, 10, true).await;
        }
        "fill-million" => {
            let journal = Journal::open(dir, "bench").unwrap();
            fill(&journal, 50, 200, 100, true).await;
            fill(&journal, 1, 1, 100, false).await;
        }
        "start" => start(dir, "cold start with 10,000 finished runs", Some((30, 12))),
        "resume" => start(dir, "1,000,000 entries: open, read the last run", Some((100, 40))),
        "start-anew" | "resume-anew" => {
            let _ = std::fs::remove_dir_all(dir.join("db")); // Without states there is none.
            let _ = std::fs::remove_file(dir.join("index"));
            start(dir, "  without a checkpoint", None);
        }
        "list" => list(dir, Some(100)),
        "list-anew" => {
            std::fs::remove_file(dir.join("index")).unwrap();
            list(dir, None);
        }
        other => panic!("no part {other}"),
    }
}

/// To open the journal, find the runs that are not over, and read the last of them, as `resume` does.
fn start(dir: &Path, what: &str, limit: Option<(u128, u64)>) {
    let (before, begun) = (memory("VmRSS"), Instant::now());
    let journal = Journal::open(dir, "bench").unwrap();
    let opened = begun.elapsed();
    for header in journal.open_runs().unwrap() {
        assert_eq!(journal.reader().verify(header.run).unwrap().seq, 100);
    }
    let (took, grown) = (begun.elapsed(), memory("VmHWM").saturating_sub(before) / 1024);
    let result = format!(
        "{:.1} ms ({:.1} to open), {grown} MB more",
        took.as_secs_f64() * 1e3,
        opened.as_secs_f64() * 1e3
    );
    let met = limit.is_none_or(|(time, size)| took.as_millis() <= time && grown <= size);
    let limit = limit.map_or(String::new(), |(time, size)| format!("<= {time} ms, <= {size} MB"));
    say(what, &result, &limit, met);
}

/// To list the runs and read the first entry of the last one without the lock, as `history` does.
fn list(dir: &Path, limit: Option<u128>) {
    let (before, begun) = (memory("VmRSS"), Instant::now());
    let reader = Reader::open(dir).unwrap();
    let runs = reader.runs().unwrap();
    reader.entries(runs.last().unwrap().run).next().unwrap().unwrap();
    let (took, grown) = (begun.elapsed(), memory("VmHWM").saturating_sub(before) / 1024);
    let how = if limit.is_some() { "" } else { ", without an index" };
    let what = format!("  list {} runs beside a writer{how}", runs.len());
    let met = grown <= 40 && limit.is_none_or(|limit| took.as_millis() <= limit);
    let limit = limit.map_or("<= 40 MB".into(), |limit| format!("<= {limit} ms, <= 40 MB"));
    say(&what, &format!("{} ms, {grown} MB more", took.as_millis()), &limit, met);
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

fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
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
        println!("{what:<58} {result:<44} {limit:<28} {verdict}");
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
