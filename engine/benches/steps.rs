//! What durability costs: `cargo bench -p fulcrum-engine`.
//!
//! A step of a chain is one commit. It may take 1.3 times as long as a write and an `fdatasync` into blocks that
//! were written before, on the same file system, in turns. A step that saves a pre-image of 4 KiB costs as many
//! syncs as one that does not. And a thousand steps side by side.
//!
//! Prints a table with the limit beside each figure, and exits with 1 if one is missed.
//!
//! `FULCRUM_BENCH_DIR` is where it writes; the build's own directory for temporary files if it is not set.
//! The limits mean nothing on a file system that does not sync (tmpfs): it says so and exits with 2.

#![expect(clippy::print_stdout, reason = "it is a program that talks to a person")]

use async_trait::async_trait;
use fulcrum_engine::event::Outcome;
use fulcrum_engine::run::Phase;
use fulcrum_engine::state::{Commit, CommitOn, Journal, OpenError, Options, RunId, Timestamp};
use fulcrum_engine::{
    Context, Engine, Event, Observer, Plan, ProbeResult, Session, Step, StepError, StepSpec,
};
use serde_json::Value;
use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
const CHAIN: usize = 200;
const WIDE: usize = 1000;
const PARALLELISM: usize = 8;
/// What a commit of a chain writes: two entries of some 250 bytes and a header.
const RAW_BYTES: usize = 600;
/// A disk does not sync in less.
const RAW_MIN: Duration = Duration::from_micros(5);

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let dir = std::env::var_os("FULCRUM_BENCH_DIR").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    let dir = tempfile::tempdir_in(PathBuf::from(dir))?;
    // One run has use for one thread. A runtime of several wakes an idle one for every step.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut raw, mut written, mut appends, mut syncs_taken) = (vec![], vec![], vec![], vec![]);
    let (mut steps, mut saving) = (vec![], vec![]);
    for round in 0..ROUNDS {
        raw.extend(raw_appends(&dir.path().join(format!("raw-{round}")))?);
        written.extend(written_blocks(&dir.path().join(format!("written-{round}")))?);
        appends.extend(runtime.block_on(journal_appends(&dir.path().join(format!("journal-{round}"))))?);
        for (saves, times) in [(false, &mut steps), (true, &mut saving)] {
            let dir = dir.path().join(format!("chain-{round}-{saves}"));
            let (taken, syncs) = runtime.block_on(chain(&dir, saves))?;
            times.extend(taken);
            syncs_taken.push(syncs);
        }
    }
    let (wide_time, wide_syncs) = runtime.block_on(wide(&dir.path().join("wide")))?;

    let (raw, written) = (Spread::of(raw), Spread::of(written));
    if raw.p50 < RAW_MIN {
        println!("{}: a sync takes {:?}: this is no disk", dir.path().display(), raw.p50);
        return Ok(ExitCode::from(2));
    }
    let (append, step, saving) = (Spread::of(appends), Spread::of(steps), Spread::of(saving));
    let limit = written.p50.mul_f64(1.3);
    let wide_rate = WIDE as f64 / wide_time.as_secs_f64();
    let most_syncs = syncs_taken.iter().max().copied().unwrap_or_default();
    let rows = [
        row("raw append + fdatasync, p50", &micros(raw.p50), "", true),
        row("raw append + fdatasync, p99", &micros(raw.p99), "", true),
        row("write + fdatasync into written blocks, p50", &micros(written.p50), "", true),
        row("journal: two entries, p50", &micros(append.p50), "", true),
        row("chain: a step, p50", &micros(step.p50), &format!("<= {}", micros(limit)), step.p50 <= limit),
        row("chain: a step, p99", &micros(step.p99), "", true),
        row("chain: a step that saves 4 KiB, p50", &micros(saving.p50), "", true),
        row("chain: syncs, with saves and without", &most_syncs.to_string(), &format!("= {}", CHAIN + 1), {
            syncs_taken.iter().all(|syncs| *syncs == CHAIN as u64 + 1)
        }),
        row("wide: total", &format!("{wide_time:.1?}"), "", true),
        row("wide: steps a second", &format!("{wide_rate:.0}"), "", true),
        row(
            "wide: syncs",
            &wide_syncs.to_string(),
            &format!("<= {}", WIDE + 1),
            wide_syncs <= WIDE as u64 + 1,
        ),
    ];
    println!("{CHAIN} steps in a chain, {ROUNDS} times; {WIDE} steps side by side, {PARALLELISM} at once");
    Ok(if rows.into_iter().all(|held| held) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn row(what: &str, figure: &str, limit: &str, held: bool) -> bool {
    println!("{what:44} {figure:>12}   {limit:14}{}", if held { "" } else { "MISSED" });
    held
}

fn micros(time: Duration) -> String {
    format!("{} µs", time.as_micros())
}

struct Spread {
    p50: Duration,
    p99: Duration,
}

impl Spread {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
        Self { p50: at(50), p99: at(99) }
    }
}

fn raw_appends(path: &Path) -> std::io::Result<Vec<Duration>> {
    let mut file = File::create_new(path)?;
    let bytes = [b'x'; RAW_BYTES];
    let timed = |_| {
        let begun = Instant::now();
        file.write_all(&bytes)?;
        file.sync_data()?;
        Ok(begun.elapsed())
    };
    (0..CHAIN).map(timed).collect()
}

/// As an append to a file that has its blocks already: nothing but the content changes.
fn written_blocks(path: &Path) -> std::io::Result<Vec<Duration>> {
    let file = File::create_new(path)?;
    file.write_all_at(&vec![0; RAW_BYTES * CHAIN], 0)?;
    file.sync_all()?;
    let bytes = [b'x'; RAW_BYTES];
    let timed = |n| {
        let begun = Instant::now();
        file.write_all_at(&bytes, (n * RAW_BYTES) as u64)?;
        file.sync_data()?;
        Ok(begun.elapsed())
    };
    (0..CHAIN).map(timed).collect()
}

/// A program that has nothing to do while it waits for the disk.
fn open(dir: &Path) -> Result<Journal, OpenError> {
    let options = Options { commit_on: CommitOn::CallersThread, ..Options::default() };
    Journal::open_with(dir, "bench", options)
}

/// The entries of a chain, without an engine.
async fn journal_appends(dir: &Path) -> Result<Vec<Duration>, Box<dyn Error>> {
    let journal = open(dir)?;
    let mut run = journal.begin("bench", Commit::of(["{}"])).await?;
    let mut times = Vec::new();
    for _ in 0..CHAIN {
        let begun = Instant::now();
        let body = format!("\"{}\"", "x".repeat(70));
        run.append(Commit::of([body.clone(), body])).await?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

/// The time from each step's start to the next one's, and how many syncs the run took.
async fn chain(dir: &Path, saves: bool) -> Result<(Vec<Duration>, u64), Box<dyn Error>> {
    let names: Vec<String> = (0..CHAIN).map(|n| format!("step-{n}")).collect();
    let steps = names.iter().enumerate().map(|(n, name)| {
        // The first has no commit to share: the run is not begun when it saves.
        let spec = StepSpec::new(name.as_str(), (saves && n > 0).into());
        if n == 0 { spec } else { spec.after([names[n - 1].as_str()]) }
    });
    let plan = Plan::new("chain", steps.collect())?;
    let starts = Arc::new(Starts::default());
    let (_, syncs) = run(dir, plan, starts.clone()).await?;
    let starts = starts.0.lock().unwrap_or_else(PoisonError::into_inner);
    Ok((starts.windows(2).map(|pair| pair[1] - pair[0]).collect(), syncs))
}

async fn wide(dir: &Path) -> Result<(Duration, u64), Box<dyn Error>> {
    let steps = (0..WIDE).map(|n| StepSpec::new(format!("step-{n}"), Value::Null)).collect();
    run(dir, Plan::new("wide", steps)?, Arc::new(Starts::default())).await
}

async fn run(dir: &Path, plan: Plan, starts: Arc<Starts>) -> Result<(Duration, u64), Box<dyn Error>> {
    let journal = open(dir)?;
    let engine = Engine::new(journal.clone(), trivial, Session::current("bench")?).observer(starts);
    let (begun, before) = (Instant::now(), journal.syncs());
    let ending = engine.parallelism(PARALLELISM).start(plan).await?;
    let (time, syncs) = (begun.elapsed(), journal.syncs() - before);
    match ending.phase {
        Phase::Ended(Outcome::Completed, _) => Ok((time, syncs)),
        other => Err(format!("the run should have completed, but it is {other}").into()),
    }
}

/// When each attempt was durable.
#[derive(Default)]
struct Starts(Mutex<Vec<Instant>>);

impl Observer for Starts {
    fn event(&self, _run: RunId, _time: Timestamp, event: &Event) {
        if let Event::AttemptStarted { .. } = event {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        }
    }
}

fn trivial(spec: &StepSpec) -> Result<Arc<dyn Step>, String> {
    Ok(Arc::new(Trivial { saves: spec.args == true }))
}

struct Trivial {
    saves: bool,
}

#[async_trait]
impl Step for Trivial {
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }

    fn saves(&self) -> bool {
        self.saves
    }

    async fn save(&self, _cx: &Context) -> Result<Vec<u8>, StepError> {
        Ok(vec![7; 4096])
    }

    async fn run(&self, _cx: &Context) -> Result<Value, StepError> {
        Ok(Value::Null)
    }

    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Ok(())
    }
}
