//! A journal of 1,000,000 entries: to resume its last run, and to have `fulcrum history` tell it. With the limit beside
//! each result; fails if one is missed.
//!
//!     cargo bench -p fulcrum
//!
//! The entries are 10,000 runs of the real engine, the last one cut in the middle. The journal lies in a new directory
//! below `target/`, or below `$FULCRUM_BENCH_DIR`. What is measured is a process of its own each time.

#![allow(missing_docs, reason = "a program, not a library")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "what fails here fails the bench, and its output is a table"
)]

use async_trait::async_trait;
use fulcrum_engine::run::Phase;
use fulcrum_engine::state::{Commit, Journal};
use fulcrum_engine::{Context, Engine, Outcome, Plan, ProbeResult, Session, Step, StepError, StepSpec};
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const RUNS: usize = 10_000;
const STEPS: usize = 49;
/// One that begins the run, two a step, one that ends it.
const RUN_ENTRIES: usize = 2 * STEPS + 2;
/// Entries of the last run: half of its steps are done, and one is in flight.
const CUT_AFTER: usize = STEPS + 1;
const WRITERS: usize = 64;
const OPEN_MAX: Duration = Duration::from_secs(1);
const MEMORY_MAX_MB: u64 = 200;
/// What a person takes for "at once": the opening of the journal, and no more than a blink after it.
const FIRST_LINE_MAX: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    if let (Some(part), Some(dir)) = (args.next(), args.next())
        && part == "resume"
    {
        resume(Path::new(&dir)).await;
        return ExitCode::SUCCESS;
    }
    let place =
        std::env::var_os("FULCRUM_BENCH_DIR").map_or(env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from);
    let root = tempfile::tempdir_in(place).unwrap();
    let dir = root.path().join("state");
    let entries = fill(&dir).await;
    println!("{entries} entries in {RUNS} runs");
    // The first opening after a process that died reads the whole log, as any opening does; it is the slower one.
    let histories = [history(&dir, "history, the first time"), history(&dir, "history")];
    let met = histories.into_iter().fold(true, |met, this| met & this);
    let resumed = Command::new(std::env::current_exe().unwrap()).arg("resume").arg(&dir).output().unwrap();
    assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
    let said = String::from_utf8(resumed.stdout).unwrap();
    let mut numbers = said.split_whitespace().map(|number| number.parse::<u64>().unwrap());
    let (took, peak) = (Duration::from_micros(numbers.next().unwrap()), numbers.next().unwrap());
    let limit = format!("<= {} ms, <= {MEMORY_MAX_MB} MB", OPEN_MAX.as_millis());
    let result = format!("{} ms, peak {peak} MB", took.as_millis());
    let held = row("open, resume the last run to its next entry", &result, &limit, {
        took <= OPEN_MAX && peak <= MEMORY_MAX_MB
    });
    if met && held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One real run, and its entries again and again.
async fn fill(dir: &Path) -> usize {
    let names: Vec<String> = (0..STEPS).map(|n| format!("await-ready/component-{n}")).collect();
    let steps = names.iter().enumerate().map(|(n, name)| {
        let spec = StepSpec::new(name.as_str(), Value::Null);
        if n == 0 { spec } else { spec.after([names[n - 1].as_str()]) }
    });
    let plan = Plan::new("bench", steps.collect()).unwrap();
    let kept = Journal::in_memory();
    let ending = engine(&kept).start(plan.clone()).await.unwrap();
    let bodies: Vec<String> = kept.reader().entries(ending.run).map(|entry| entry.unwrap().body).collect();
    assert_eq!(bodies.len(), RUN_ENTRIES);

    let journal = Journal::open(dir, "bench").unwrap();
    let commit = Commit::of(&bodies).with_blob(serde_json::to_vec(&plan).unwrap());
    let mut tasks = JoinSet::new();
    for writer in 0..WRITERS {
        let (journal, commit) = (journal.clone(), commit.clone());
        tasks.spawn(async move {
            for _ in (writer..RUNS).step_by(WRITERS) {
                journal.begin("bench", commit.clone()).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let cut = Commit { bodies: bodies[..CUT_AFTER].to_vec(), ..commit };
    journal.begin("bench", cut).await.unwrap();
    RUNS * RUN_ENTRIES + CUT_AFTER
}

/// The real command: until its first line is there, and until it has told everything.
fn history(dir: &Path, what: &str) -> bool {
    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_fulcrum"))
        .args(["history", "--state-dir"])
        .arg(dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut buffer = vec![0; 1024 * 1024];
    let (mut first, mut bytes, mut peak) = (None, 0, 0);
    loop {
        let read = out.read(&mut buffer).unwrap();
        if read == 0 {
            break;
        }
        first.get_or_insert_with(|| begun.elapsed());
        bytes += read;
        // It only grows, and is gone with the process.
        peak = memory_mb(child.id()).unwrap_or(peak);
    }
    assert!(child.wait().unwrap().success() && bytes > RUNS * RUN_ENTRIES);
    let first = first.unwrap();
    let limit = format!("<= {} ms, <= {MEMORY_MAX_MB} MB", FIRST_LINE_MAX.as_millis());
    let whole = begun.elapsed().as_secs_f64();
    let result = format!("{} ms, peak {peak} MB (all of it: {whole:.1} s)", first.as_millis());
    row(&format!("{what}: first line"), &result, &limit, first <= FIRST_LINE_MAX && peak <= MEMORY_MAX_MB)
}

/// Opens the journal and takes its last run up. Prints the microseconds until an entry of its own is durable, and
/// the most memory in MB by then. What is left of the run is then done, and has its end.
async fn resume(dir: &Path) {
    let begun = Instant::now();
    let journal = Journal::open(dir, "bench").unwrap();
    let run = journal.reader().runs().unwrap().last().unwrap().run;
    let next = CUT_AFTER as u64 + 1;
    let watched = journal.clone();
    let work = tokio::spawn({
        let engine = engine(&journal);
        async move { engine.resume(run).await.unwrap() }
    });
    while watched.reader().header(run).unwrap().unwrap().head.seq < next {
        tokio::task::yield_now().await;
    }
    println!("{} {}", begun.elapsed().as_micros(), memory_mb(std::process::id()).unwrap());
    let ending = work.await.unwrap();
    assert!(matches!(ending.phase, Phase::Ended(Outcome::Completed, _)), "{ending:?}");
}

fn engine(journal: &Journal) -> Engine {
    let library = |_: &StepSpec| -> Result<Arc<dyn Step>, String> { Ok(Arc::new(Trivial)) };
    Engine::new(journal.clone(), library, Session::current("bench").unwrap())
}

struct Trivial;

#[async_trait]
impl Step for Trivial {
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }

    async fn run(&self, _cx: &Context) -> Result<Value, StepError> {
        Ok(Value::Null)
    }

    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Ok(())
    }
}

/// The most that a process ever had in memory.
fn memory_mb(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1024)
}

fn row(what: &str, result: &str, limit: &str, met: bool) -> bool {
    println!("{what:<46} {result:<46} {limit:<24} {}", if met { "met" } else { "MISSED" });
    met
}
