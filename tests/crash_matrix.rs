//! SIGKILL at every point of a pivot and of the way back: after each commit of the journal (the intent is
//! durable, nothing of it done) and after each effect (it is done, its result not journalled). Then the run
//! is taken up by another process, forward or back, and must end as if nothing had happened.
//!
//! The process that dies is real: this test binary, run again as a child. The cluster lives on in the parent.

use crate::support::{SOON, World, engine, outcome, reason, settings_of, site};
use async_trait::async_trait;
use fulcrum_engine::state::{Journal, RunId, Timestamp};
use fulcrum_engine::{
    Context, Engine, Event, Finding, Library, Observer, Outcome, Plan, Session, Step, StepError, StepSpec,
};
use fulcrum_steps::cluster::Cluster;
use fulcrum_steps::plan;
use fulcrum_steps::rehearsal::Rehearsal;
use fulcrum_steps::site::{Settings, Site};
use fulcrum_steps::step::library;
use rustix::process::{Pid, Signal, getpid, kill_process};
use serde_json::Value;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Where a child dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    /// After its n-th commit.
    Commit(u32),
    /// After its n-th effect, run or undo.
    Effect(u32),
    Never,
}

/// What a child does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Pivot,
    Resume,
    Rollback,
}

/// Cases side by side, over all tests here: each is mostly waiting, but none may starve.
static ROOM: Semaphore = Semaphore::const_new(6);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_pivot_killed_anywhere_is_resumed_or_undone() {
    let (commits, effects) = count(Verb::Pivot).await;
    assert!(commits > 15 && effects == 18, "{commits} commits, {effects} effects");
    let deaths = (1..commits).map(Death::Commit).chain((1..=effects).map(Death::Effect));
    let cases = deaths.flat_map(|death| [(death, Verb::Resume), (death, Verb::Rollback)]);
    all(cases.collect(), |(death, then)| async move {
        let world = World::boot().await;
        let context = format!("killed at {death:?}, then {then:?}");
        let killed = child(&world, Verb::Pivot, death).await;
        take_up(&world, then, &context).await;
        killed
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rollback_killed_anywhere_is_rolled_back() {
    let (commits, effects) = count(Verb::Rollback).await;
    assert!(commits > 10 && effects == 18, "{commits} commits, {effects} effects");
    let deaths = (1..commits).map(Death::Commit).chain((1..=effects).map(Death::Effect));
    all(deaths.collect(), |death| async move {
        let world = World::boot().await;
        let context = format!("rollback killed at {death:?}");
        assert_eq!(outcome(&world.pivot(&world.journal()).await), Outcome::Completed);
        let killed = child(&world, Verb::Rollback, death).await;
        take_up(&world, Verb::Rollback, &context).await;
        killed
    })
    .await;
}

/// Killed on the way forward, on the way back, and again: three processes, one run.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_again_and_again() {
    let cases = (2..18).map(|n| (Death::Commit(n), Death::Effect(1 + n % 3), Death::Commit(2 + n % 4)));
    all(cases.collect(), |(first, second, third)| async move {
        let world = World::boot().await;
        let context = format!("killed at {first:?}, {second:?}, {third:?}");
        let killed = child(&world, Verb::Pivot, first).await;
        child(&world, Verb::Resume, second).await;
        child(&world, Verb::Rollback, third).await;
        take_up(&world, Verb::Rollback, &context).await;
        killed
    })
    .await;
}

/// Runs every case, some at a time; the first that fails fails the test. A case says whether its child was
/// killed. Not every one is: on a busy machine more results share a commit, and there are fewer of them than
/// were counted. So few may live that the points of death are still all but covered.
async fn all<C: Send + 'static, F>(cases: Vec<C>, check: impl Fn(C) -> F + Copy)
where
    F: Future<Output = bool> + Send + 'static,
{
    let (count, mut killed) = (cases.len(), 0);
    let mut running = tokio::task::JoinSet::new();
    assert!(!cases.is_empty());
    for case in cases {
        let permit = ROOM.acquire().await.unwrap();
        let checked = check(case);
        running.spawn(async move {
            let killed = checked.await;
            drop(permit);
            killed
        });
    }
    while let Some(result) = running.join_next().await {
        killed += usize::from(result.unwrap());
    }
    assert!(killed * 10 >= count * 8, "only {killed} of {count} children were killed");
}

/// Another process takes the run up and brings it to its end.
async fn take_up(world: &World, then: Verb, context: &str) {
    let journal = world.journal();
    let run = journal.runs().unwrap()[0].run;
    journal.verify(run).unwrap();
    let over = fulcrum_engine::load::load(&journal, run).unwrap();
    let ending = match then {
        // How many commits there are varies a little: the last one may have been that of the run's end.
        Verb::Rollback if over.is_rolled_back() => return world.assert_static(context).await,
        Verb::Resume if over.is_over() => return world.assert_pivoted(context).await,
        Verb::Rollback => world.rollback(&journal, run).await,
        _ => world.resume(&journal, run).await,
    };
    if then == Verb::Rollback {
        assert_eq!(outcome(&ending), Outcome::RolledBack, "{context}: {}", reason(&ending));
        world.assert_static(context).await;
    } else {
        assert_eq!(outcome(&ending), Outcome::Completed, "{context}: {}", reason(&ending));
        world.assert_pivoted(context).await;
    }
}

/// How many commits and effects the whole of it has.
async fn count(verb: Verb) -> (u32, u32) {
    let world = World::boot().await;
    let journal = world.journal();
    let counter = Arc::new(Counter::default());
    let mortal = |settings: Settings| mortal_engine(&journal, world.site(settings), &counter);
    let settings = world.preflight().await.unwrap().settings;
    let plan = plan::pivot(&settings, SOON).unwrap();
    let pivoted = match verb {
        Verb::Rollback => world.pivot(&journal).await,
        _ => mortal(settings).await.start(plan).await.unwrap(),
    };
    assert_eq!(outcome(&pivoted), Outcome::Completed, "{}", reason(&pivoted));
    if verb == Verb::Rollback {
        let back =
            mortal(settings_of(&journal, pivoted.run)).await.unwind(pivoted.run, "count").await.unwrap();
        assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    }
    (counter.commits.load(Ordering::SeqCst), counter.effects.load(Ordering::SeqCst))
}

/// Runs a child to its death or its end; whether it was killed. The cluster is served to it over TCP.
async fn child(world: &World, verb: Verb, death: Death) -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = world.rehearsal.serve_on(listener).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "crash_matrix::the_child", "--nocapture", "--test-threads=1"]);
    let (kind, n) = match death {
        Death::Commit(n) => ("commit", n),
        Death::Effect(n) => ("effect", n),
        Death::Never => ("never", 0),
    };
    let settings = world.dir().join("settings.json");
    if verb == Verb::Pivot {
        let report = world.preflight().await.unwrap();
        std::fs::write(&settings, serde_json::to_vec(&report.settings).unwrap()).unwrap();
    }
    command.env("FULCRUM_CHILD", format!("{verb:?} {kind} {n}"));
    command.env("FULCRUM_CHILD_API", address.to_string());
    command.env("FULCRUM_CHILD_STATE", world.state_dir());
    command.env("FULCRUM_CHILD_SETTINGS", settings);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut leash = Leash(Pid::from_raw(child.id().try_into().unwrap()));
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output());
    let output = tokio::time::timeout(SOON * 4, ended).await.expect("a child ends within its deadlines");
    leash.0 = None;
    let output = output.unwrap().unwrap();
    let killed = output.status.signal() == Some(Signal::KILL.as_raw());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(killed || output.status.success(), "{verb:?} {death:?}: {}: {said}", output.status);
    killed
}

/// Ends the child if nobody waits for it any more: its cluster is gone then, and it would ask on and on.
struct Leash(Option<Pid>);

impl Drop for Leash {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Not a test of its own: what a child does. Without its orders it has nothing to do.
#[test]
fn the_child() {
    let Ok(orders) = std::env::var("FULCRUM_CHILD") else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(obey(&orders));
}

async fn obey(orders: &str) {
    let words: Vec<&str> = orders.split(' ').collect();
    let n: u32 = words[2].parse().unwrap();
    let death = match words[1] {
        "commit" => Death::Commit(n),
        "effect" => Death::Effect(n),
        _ => Death::Never,
    };
    let variable = |name: &str| std::env::var(name).unwrap();
    let (client, host) = Rehearsal::connect(variable("FULCRUM_CHILD_API").parse().unwrap()).unwrap();
    let state_dir = variable("FULCRUM_CHILD_STATE");
    let journal = Journal::open(&state_dir, "child").unwrap();
    let run = journal.runs().unwrap().first().map(|header| header.run);
    let settings: Settings = match run {
        Some(run) => settings_of(&journal, run),
        None => serde_json::from_slice(&std::fs::read(variable("FULCRUM_CHILD_SETTINGS")).unwrap()).unwrap(),
    };
    let site = site(settings.clone(), Cluster::new(client), host, Path::new(&state_dir));
    let counter = Arc::new(Counter { death: Some(death), ..Counter::default() });
    let engine = mortal_engine(&journal, site, &counter).await;
    let plan: Plan = plan::pivot(&settings, SOON).unwrap();
    let ending = match (words[0], run) {
        ("Pivot", _) => engine.start(plan).await,
        ("Resume", Some(run)) => engine.resume(run).await,
        ("Rollback", Some(run)) => engine.unwind(run, "rollback").await,
        other => panic!("no such orders: {other:?}"),
    };
    // A run that an earlier child had brought to its end is over.
    if let Ok(ending) = ending {
        assert!(outcome(&ending) != Outcome::NeedsOperator, "{}", reason(&ending));
    }
}

/// Counts commits and effects, and kills this process at the one that it was told.
#[derive(Default)]
struct Counter {
    death: Option<Death>,
    commits: AtomicU32,
    effects: AtomicU32,
    last: Mutex<Option<Timestamp>>,
}

impl Counter {
    fn effect(&self) {
        let n = self.effects.fetch_add(1, Ordering::SeqCst) + 1;
        self.die_if(Death::Effect(n));
    }

    fn die_if(&self, now: Death) {
        if self.death == Some(now) {
            kill_process(getpid(), Signal::KILL).unwrap();
            loop {
                std::thread::park(); // until the signal is delivered
            }
        }
    }
}

impl Observer for Counter {
    /// Events of one commit come with one time.
    fn event(&self, _run: RunId, time: Timestamp, _event: &Event) {
        let mut last = self.last.lock().unwrap();
        if *last != Some(time) {
            *last = Some(time);
            let n = self.commits.fetch_add(1, Ordering::SeqCst) + 1;
            self.die_if(Death::Commit(n));
        }
    }
}

async fn mortal_engine(journal: &Journal, site: Arc<Site>, counter: &Arc<Counter>) -> Engine {
    let boot_id = site.node.host.boot_id().await.unwrap();
    let session = Session { boot_id, pid: std::process::id(), program: "child".to_owned() };
    let (steps, counter) = (library(site), Arc::clone(counter));
    let observer = Arc::clone(&counter);
    let mortal = move |spec: &StepSpec| -> Result<Arc<dyn Step>, String> {
        Ok(Arc::new(Mortal { step: steps.step(spec)?, counter: Arc::clone(&counter) }))
    };
    Engine::new(journal.clone(), mortal, session).observer(observer)
}

/// A step whose process may die right after its effect, before the result is journalled.
struct Mortal {
    step: Arc<dyn Step>,
    counter: Arc<Counter>,
}

#[async_trait]
impl Step for Mortal {
    async fn probe(&self, cx: &Context) -> Result<Finding, StepError> {
        self.step.probe(cx).await
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let value = self.step.run(cx).await?;
        self.counter.effect();
        Ok(value)
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        self.step.undo(cx).await?;
        self.counter.effect();
        Ok(())
    }

    fn saves(&self) -> bool {
        self.step.saves()
    }

    async fn save(&self, cx: &Context) -> Result<Vec<u8>, StepError> {
        self.step.save(cx).await
    }
}

/// `engine` of the support module is what takes the runs up: the plain one.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_nobody_kills_completes_in_a_child() {
    let world = World::boot().await;
    assert!(!child(&world, Verb::Pivot, Death::Never).await);
    world.assert_pivoted("in a child").await;
    let journal = world.journal();
    let run = journal.runs().unwrap()[0].run;
    let again = engine(&journal, world.site(settings_of(&journal, run))).await.resume(run).await;
    assert!(again.is_err(), "a completed run is over");
}
