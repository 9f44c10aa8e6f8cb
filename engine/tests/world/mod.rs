//! One world for all tests of the engine: steps that leave marks, and fail as they are told to.

#![allow(dead_code, reason = "each test uses a part of it")]

use async_trait::async_trait;
use fulcrum_engine::state::Journal;
use fulcrum_engine::{
    Backoff, Context, Durability, Engine, Plan, Policy, ProbeResult, Session, Step, StepError, StepId,
    StepRegistry, StepSpec,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the steps have done to the world, and what they shall do wrong.
#[derive(Default)]
pub(crate) struct World {
    /// Steps whose effect is there.
    pub marks: BTreeSet<StepId>,
    /// Every call, in order: `run a`, `undo a`, `probe a`.
    pub calls: Vec<String>,
    /// For each step, what its next runs shall do.
    pub runs: BTreeMap<StepId, VecDeque<Script>>,
    /// For each step, what its next undos shall do.
    pub undos: BTreeMap<StepId, VecDeque<Script>>,
    /// For each step, what its next probes shall find instead of what is there.
    pub probes: BTreeMap<StepId, VecDeque<Result<ProbeResult, String>>>,
    /// Steps in flight now, and the most there ever were.
    pub busy: usize,
    pub busy_max: usize,
}

/// What a call shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    /// Its work.
    Work,
    /// Fail, having done nothing.
    Fail,
    /// Fail after having done its work: the effect is there, the result is not.
    FailAfter,
    /// Fail for good.
    Fatal,
    /// Panic.
    Panic,
    /// Never come back, unless asked to stop.
    Hang,
}

pub(crate) type Shared = Arc<Mutex<World>>;

struct Mark {
    id: StepId,
    saves: bool,
    world: Shared,
}

#[async_trait]
impl Step for Mark {
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        let mut world = self.world.lock().unwrap();
        world.calls.push(format!("probe {}", self.id));
        match world.probes.get_mut(&self.id).and_then(VecDeque::pop_front) {
            Some(scripted) => scripted.map_err(StepError::retry),
            None if world.marks.contains(&self.id) => Ok(ProbeResult::Done),
            None => Ok(ProbeResult::Absent),
        }
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        assert_eq!(cx.pre_image().is_some(), self.saves, "what was saved is there before the first effect");
        self.act(cx, "run", |world| &mut world.runs, |world, id| _ = world.marks.insert(id.clone())).await?;
        Ok(json!({ "made": self.id }))
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        self.act(cx, "undo", |world| &mut world.undos, |world, id| _ = world.marks.remove(id)).await
    }

    fn saves(&self) -> bool {
        self.saves
    }

    async fn save(&self, _cx: &Context) -> Result<Vec<u8>, StepError> {
        Ok(vec![7; 10_000])
    }
}

impl Mark {
    async fn act(
        &self,
        cx: &Context,
        verb: &str,
        scripts: impl Fn(&mut World) -> &mut BTreeMap<StepId, VecDeque<Script>>,
        work: impl Fn(&mut World, &StepId),
    ) -> Result<(), StepError> {
        let script = {
            let mut world = self.world.lock().unwrap();
            world.calls.push(format!("{verb} {}", self.id));
            world.busy += 1;
            world.busy_max = world.busy_max.max(world.busy);
            scripts(&mut world).get_mut(&self.id).and_then(VecDeque::pop_front).unwrap_or(Script::Work)
        };
        tokio::task::yield_now().await;
        let mut stopped = false;
        if script == Script::Hang {
            cx.note("waiting for nothing; last seen: nothing");
            cx.stopped().await;
            stopped = true;
        }
        let mut world = self.world.lock().unwrap();
        world.busy -= 1;
        if matches!(script, Script::Work | Script::FailAfter) {
            work(&mut world, &self.id);
        }
        drop(world);
        match script {
            Script::Work => Ok(()),
            Script::Fail | Script::FailAfter => Err(StepError::retry("as told")),
            Script::Fatal => Err(StepError::fatal("as told, for good")),
            Script::Panic => panic!("as told"),
            Script::Hang if stopped => Err(StepError::stopped()),
            Script::Hang => Ok(()),
        }
    }
}

/// Steps that mark `world`. A spec's args may say `{"saves": true}`.
pub(crate) fn registry(world: &Shared) -> impl StepRegistry + 'static {
    let world = Arc::clone(world);
    move |spec: &StepSpec| -> Result<Arc<dyn Step>, String> {
        let saves = spec.args["saves"].as_bool().unwrap_or(false);
        Ok(Arc::new(Mark { id: spec.id.clone(), saves, world: Arc::clone(&world) }))
    }
}

/// A step with quick policies: three runs, two undos, a second each.
pub(crate) fn step(id: &str, after: &[&str]) -> StepSpec {
    let backoff = Backoff { initial: Duration::from_millis(1), max: Duration::from_millis(2) };
    let policy = |attempts| Policy { attempts, backoff: backoff.clone(), timeout: Duration::from_secs(1) };
    StepSpec::new(id, Value::Null).after(after.iter().copied()).policy(policy(3)).undo_policy(policy(2))
}

pub(crate) fn saving(mut step: StepSpec) -> StepSpec {
    step.args = json!({ "saves": true });
    step
}

pub(crate) fn volatile(step: StepSpec, durability: Durability) -> StepSpec {
    step.durability(durability)
}

/// `a`, then `b` and `c` side by side, then `d`. `b` saves.
pub(crate) fn diamond() -> Plan {
    let steps = vec![step("a", &[]), saving(step("b", &["a"])), step("c", &["a"]), step("d", &["b", "c"])];
    Plan::new("diamond", steps).unwrap()
}

pub(crate) fn engine(journal: &Journal, world: &Shared) -> Engine {
    engine_on(journal, world, "boot-1")
}

pub(crate) fn engine_on(journal: &Journal, world: &Shared, boot: &str) -> Engine {
    let session = Session {
        boot_id: boot.to_owned(),
        pid: 1,
        program: "test 1".to_owned(),
        role: fulcrum_engine::Role::default(),
        actor: fulcrum_engine::Actor::new(),
    };
    Engine::new(journal.clone(), registry(world), session)
}

pub(crate) fn marks(world: &Shared) -> Vec<String> {
    world.lock().unwrap().marks.iter().map(ToString::to_string).collect()
}

pub(crate) fn calls(world: &Shared) -> Vec<String> {
    std::mem::take(&mut world.lock().unwrap().calls)
}

pub(crate) fn script(world: &Shared, step: &str, runs: &[Script]) {
    world.lock().unwrap().runs.insert(step.into(), runs.iter().copied().collect());
}

pub(crate) fn script_undo(world: &Shared, step: &str, undos: &[Script]) {
    world.lock().unwrap().undos.insert(step.into(), undos.iter().copied().collect());
}
