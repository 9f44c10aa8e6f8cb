//! The workers of the tests: this program as a child.

use crate::harness::{Talker, test_as_child};
use crate::{ledger, server};
use fulcrum_engine::postgres::{Options, Worker};
use fulcrum_engine::state::{Commit, RunId, Timestamp};
use fulcrum_engine::{
    Backoff, Context, Engine, Event, Observer, Plan, Policy, ProbeResult, Session, StepError, StepSpec,
    Steps, step,
};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

const CONFIG: &str = "FULCRUM_POSTGRES";
const DIR: &str = "FULCRUM_POSTGRES_DIR";
const MACHINE: &str = "FULCRUM_POSTGRES_MACHINE";
const APPENDS_TO: &str = "FULCRUM_POSTGRES_RUN";

/// Short, so that a test does not wait for long. Longer than this machine stands still.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// What a step takes.
const WORK: Duration = Duration::from_millis(80);

/// A file that ends the steps named `hold`.
pub(crate) const GO: &str = "go";

/// A worker, and what it says is durable.
pub(crate) struct Started {
    child: Talker,
    said: JoinHandle<Vec<String>>,
}

impl Started {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, and returns what it has said.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill();
        self.child.wait();
        self.said.join().unwrap()
    }
}

/// Starts a worker.
pub(crate) fn start(config: &str, dir: &Path) -> Started {
    started(Talker::start(test_as_child("a_worker").env(CONFIG, config).env(DIR, dir)))
}

/// Starts a worker on a machine of this name.
pub(crate) fn start_on(machine: &str, config: &str, dir: &Path) -> Started {
    let mut command = test_as_child("a_worker");
    started(Talker::start(command.env(CONFIG, config).env(DIR, dir).env(MACHINE, machine)))
}

fn started(mut child: Talker) -> Started {
    let lines = child.lines();
    // The harness of the tests writes on the same line.
    let durable = |line: String| line.split_once(SAYS).map(|(_, said)| said.to_owned());
    let said = std::thread::spawn(move || lines.filter_map(durable).collect());
    Started { child, said }
}

const SAYS: &str = "durable: ";

/// A process that continues this run, and appends to it once the file is there.
pub(crate) fn start_appending(config: &str, dir: &Path, run: RunId) -> Talker {
    let mut command = test_as_child("a_worker");
    Talker::start(command.env(CONFIG, config).env(DIR, dir).env(APPENDS_TO, run.to_string()))
}

/// The work of the child.
pub(crate) fn work() {
    let (Ok(config), Some(dir)) = (std::env::var(CONFIG), std::env::var_os(DIR)) else { return };
    let dir = PathBuf::from(dir);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = server::open(&config, options()).await;
        match std::env::var(APPENDS_TO) {
            Ok(run) => append(&store.journal(), run.parse().unwrap(), &dir).await,
            Err(_) => {
                let engine = engine(&store.journal(), &dir).observer(Arc::new(Says));
                let worker =
                    Worker::new(store, engine).at_once(at_once()).look_every(Duration::from_millis(200));
                worker.serve(std::future::pending()).await;
            }
        }
    });
}

async fn append(journal: &fulcrum_engine::state::Journal, run: RunId, dir: &Path) {
    let mut writer = loop {
        match journal.continue_run(run) {
            Ok(writer) => break writer,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    println!("continued");
    until(&dir.join(GO)).await;
    match writer.append(Commit::of(["{}"])).await {
        Ok(head) => println!("appended {}", head.seq),
        Err(error) => println!("refused: {error}"),
    }
}

/// Waits for a file that another process makes.
async fn until(file: &Path) {
    while !file.exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How many runs a worker has at once.
fn at_once() -> usize {
    std::env::var("FULCRUM_POSTGRES_AT_ONCE").map_or(2, |runs| runs.parse().unwrap())
}

pub(crate) fn options() -> Options {
    Options::default().lease(LEASE)
}

/// Says each durable event on a line.
struct Says;

impl Observer for Says {
    fn event(&self, run: RunId, time: Timestamp, event: &Event) {
        println!("{SAYS}{}", said(run, time, event));
    }
}

/// A durable event as text.
pub(crate) fn said(run: RunId, time: Timestamp, event: &Event) -> String {
    format!("{run} {} {}", time.as_micros(), serde_json::to_string(event).unwrap())
}

pub(crate) fn engine(journal: &fulcrum_engine::state::Journal, dir: &Path) -> Engine {
    let (works, holds, looks) = (dir.to_owned(), dir.to_owned(), dir.to_owned());
    let steps = Steps::new()
        .with(
            step("work")
                .run(move |cx| effect(works.clone(), cx, false))
                .probe(move |cx| std::future::ready(looked(&looks, &cx)))
                .undo(|_| async { Ok(()) }),
        )
        .with(step("nothing").run(|_| async { Ok(()) }).undo(|_| async { Ok(()) }))
        .with(step("hold").run(move |cx| effect(holds.clone(), cx, true)).undo(|_| async { Ok(()) }));
    let session = Session::current("a test").unwrap();
    let session = match std::env::var(MACHINE) {
        Ok(machine) => session.with_machine(machine),
        Err(_) => session,
    };
    Engine::new(journal.clone(), steps, session)
}

async fn effect(dir: PathBuf, cx: Context, holds: bool) -> Result<(), StepError> {
    ledger::effect(&dir, &cx, "begin").map_err(StepError::retry)?;
    if holds {
        until(&dir.join(GO)).await;
    }
    tokio::time::sleep(WORK).await;
    ledger::effect(&dir, &cx, "end").map_err(StepError::retry)
}

fn looked(dir: &Path, cx: &Context) -> Result<ProbeResult, StepError> {
    let lines = ledger::read(dir, &cx.run().to_string());
    let is_done = lines.iter().any(|line| line.step == cx.step().as_str() && line.what == "end");
    Ok(if is_done { ProbeResult::Done } else { ProbeResult::Absent })
}

/// A chain of so many steps of one body.
pub(crate) fn chain(body: &str, steps: usize) -> Plan {
    let backoff = Backoff { initial: Duration::from_millis(50), max: Duration::from_millis(200) };
    let policy = Policy::tries(50, Duration::from_secs(60)).with_backoff(backoff);
    let name = |n: usize| format!("{body}/{n}");
    let specs = (0..steps).map(|n| {
        let spec = StepSpec::new(name(n), Value::Null).policy(policy.clone());
        if n == 0 { spec } else { spec.after([name(n - 1)]) }
    });
    Plan::new("chain", specs.collect()).unwrap()
}
