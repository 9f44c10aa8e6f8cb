//! What a program can do wrong with the engine, and what the world can do to it: each ends well, or is refused by
//! name.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

mod calls;
mod journal;
mod limits;
mod steps;
#[path = "../world/mod.rs"]
mod world;

use async_trait::async_trait;
use fulcrum_engine::history::History;
use fulcrum_engine::load::load;
use fulcrum_engine::state::{Commit, Digest, Journal, MemoryDisk, Options, RunId, Timestamp};
use fulcrum_engine::status::Status;
use fulcrum_engine::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use world::{diamond, engine, step};

type RunFn = dyn Fn(&Context) -> Result<Value, StepError> + Send + Sync;

/// A step made of functions.
struct Made {
    run: Box<RunFn>,
    probe: ProbeResult,
    output: Value,
    saves: Box<dyn Fn() -> bool + Send + Sync>,
    save: Vec<u8>,
    hangs: bool,
    /// How long its probe and its save take.
    looks_for: Duration,
}

impl Made {
    fn new(run: impl Fn(&Context) -> Result<Value, StepError> + Send + Sync + 'static) -> Self {
        let (run, saves) = (Box::new(run), Box::new(|| false));
        Self {
            run,
            probe: ProbeResult::Absent,
            output: Value::Null,
            saves,
            save: Vec::new(),
            hangs: false,
            looks_for: Duration::ZERO,
        }
    }
}

impl Made {
    /// A timer takes a millisecond, even for none.
    async fn look(&self) {
        if !self.looks_for.is_zero() {
            tokio::time::sleep(self.looks_for).await;
        }
    }
}

#[async_trait]
impl Step for Made {
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        self.look().await;
        Ok(self.probe.clone())
    }
    async fn output(&self, _cx: &Context) -> Result<Value, StepError> {
        Ok(self.output.clone())
    }
    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let result = (self.run)(cx);
        if self.hangs {
            cx.stopped().await;
            return Err(StepError::stopped());
        }
        result
    }
    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Ok(())
    }
    fn saves(&self) -> bool {
        (self.saves)()
    }
    async fn save(&self, _cx: &Context) -> Result<Vec<u8>, StepError> {
        self.look().await;
        Ok(self.save.clone())
    }
}

/// An engine on these steps; it knows no others.
fn with_steps(journal: &Journal, steps: Vec<(&str, Made)>) -> Engine {
    let shared = |(id, step)| (id, Arc::new(step) as Arc<dyn Step>);
    with_registry(journal, steps.into_iter().map(shared).collect())
}

fn with_registry(journal: &Journal, steps: Vec<(&str, Arc<dyn Step>)>) -> Engine {
    let steps: BTreeMap<String, Arc<dyn Step>> =
        steps.into_iter().map(|(id, step)| (id.to_owned(), step)).collect();
    let registry = move |spec: &StepSpec| -> Result<Arc<dyn Step>, String> {
        steps.get(spec.id.as_str()).cloned().ok_or_else(|| format!("no {}", spec.id))
    };
    let session = Session {
        boot_id: "boot-1".into(),
        pid: 1,
        program: "test 1".into(),
        role: Role::default(),
        actor: fulcrum_engine::Actor::new(),
    };
    Engine::new(journal.clone(), registry, session)
}

fn one(id: &str) -> Plan {
    Plan::new("one", vec![step(id, &[])]).unwrap()
}

fn chain(names: &[&str]) -> Plan {
    let after = |n: usize| if n == 0 { vec![] } else { vec![names[n - 1]] };
    Plan::new("chain", names.iter().enumerate().map(|(n, name)| step(name, &after(n))).collect()).unwrap()
}

fn ended(ending: &Ending) -> (Outcome, String) {
    match &ending.phase {
        Phase::Ended(outcome, reason) => (*outcome, reason.clone()),
        other => panic!("not ended: {other:?}"),
    }
}

fn bodies(journal: &Journal, run: RunId) -> Vec<String> {
    journal.reader().entries(run).map(|entry| entry.unwrap().body).collect()
}

/// A journal with the entries of another, as a crash after the first `count` of them leaves it.
async fn cut_after(journal: &Journal, run: RunId, count: usize, plan: &Plan) -> (Journal, RunId) {
    let copy = Journal::in_memory();
    let entries = bodies(journal, run).into_iter().take(count);
    let commit = Commit::of(entries).with_blob(serde_json::to_vec(plan).unwrap());
    let run = copy.begin(plan.workflow(), commit).await.unwrap().run();
    (copy, run)
}

type TellFn = dyn Fn(RunId, &Event) + Send + Sync;

struct Tell(Box<TellFn>);

impl Observer for Tell {
    fn event(&self, run: RunId, _time: Timestamp, event: &Event) {
        (self.0)(run, event);
    }
}
