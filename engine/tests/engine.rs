//! The engine's six rules, each shown on a journal in memory.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

mod world;

use fulcrum_engine::event::Outcome;
use fulcrum_engine::history::{AttemptResult, Direction, History};
use fulcrum_engine::load::load;
use fulcrum_engine::run::{Action, Phase};
use fulcrum_engine::state::{Commit, Digest, Journal, MemoryDisk, Options, RunId, Timestamp};
use fulcrum_engine::{
    Backoff, Context, Durability, Ending, Engine, EngineError, Event, Observer, PauseCause, Plan, Policy,
    ProbeResult, Run, Session, Step, StepError, StepId, StepSpec, Wait,
};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use world::*;

const EIO: i32 = 5;

fn outcome(ending: &Ending) -> Outcome {
    match &ending.phase {
        Phase::Ended(outcome, _) => *outcome,
        other => panic!("not ended: {other:?}"),
    }
}

fn reason(ending: &Ending) -> String {
    match &ending.phase {
        Phase::Ended(_, reason) | Phase::Paused { reason, .. } => reason.clone(),
        other => panic!("neither ended nor paused: {other:?}"),
    }
}

/// A new journal with the first `count` entries of a run, as a crash after them leaves it.
async fn cut_after(journal: &Journal, run: RunId, count: usize, plan: &Plan) -> (Journal, RunId) {
    let copy = Journal::in_memory();
    let bodies = journal.reader().entries(run).take(count).map(|entry| entry.unwrap().body);
    let commit = Commit::of(bodies).with_blob(serde_json::to_vec(plan).unwrap()).with_blob(vec![7; 10_000]);
    let run = copy.begin("diamond", commit).await.unwrap().run();
    (copy, run)
}

#[tokio::test]
async fn a_chain_of_n_steps_costs_n_plus_one_syncs() {
    let (journal, world) = (Journal::in_memory(), Shared::default());
    let names: Vec<String> = (0..20).map(|n| format!("s{n:02}")).collect();
    let steps = names.iter().enumerate().map(|(n, name)| match n {
        0 => step(name, &[]),
        _ => step(name, &[&names[n - 1]]),
    });
    let plan = Plan::new("chain", steps.collect()).unwrap();
    let before = journal.syncs();
    let ending = engine(&journal, &world).start(plan).await.unwrap();
    assert_eq!(outcome(&ending), Outcome::Completed);
    assert_eq!(journal.syncs() - before, 21);
}

#[tokio::test]
async fn a_failure_undoes_what_was_started_in_reverse_order() {
    let (journal, world) = (Journal::in_memory(), Shared::default());
    script(&world, "d", &[Script::FailAfter, Script::Fatal]);
    let ending = engine(&journal, &world).parallelism(1).start(diamond()).await.unwrap();
    assert_eq!(outcome(&ending), Outcome::RolledBack);
    assert!(reason(&ending).contains("step d failed: as told, for good"), "{}", reason(&ending));
    assert!(marks(&world).is_empty());
    let expected = ["run a", "run b", "run c", "run d", "run d", "undo d", "undo c", "undo b", "undo a"];
    assert_eq!(calls(&world), expected);
}

#[tokio::test]
async fn failures_and_panics_and_hangs_are_tried_again_or_undone() {
    for (scripts, expected) in [
        (&[Script::Fail, Script::FailAfter][..], Outcome::Completed),
        (&[Script::Fail, Script::Fail, Script::Fail], Outcome::RolledBack),
        (&[Script::Panic], Outcome::RolledBack),
        (&[Script::Hang], Outcome::Completed),
    ] {
        let (journal, world) = (Journal::in_memory(), Shared::default());
        script(&world, "b", scripts);
        let ending = engine(&journal, &world).start(diamond()).await.unwrap();
        assert_eq!(outcome(&ending), expected, "{scripts:?}: {}", reason(&ending));
        assert_eq!(marks(&world).len(), if expected == Outcome::Completed { 4 } else { 0 });
    }
}

#[tokio::test]
async fn an_attempt_out_of_time_says_what_it_was_waiting_for() {
    let (journal, world) = (Journal::in_memory(), Shared::default());
    script(&world, "a", &[Script::Hang, Script::Hang, Script::Hang]);
    let plan = Plan::new("one", vec![step("a", &[])]).unwrap();
    let ending = engine(&journal, &world).start(plan).await.unwrap();
    assert!(reason(&ending).contains("no result within 1s: waiting for nothing"), "{}", reason(&ending));
}

/// What is to be saved may not be there yet: the pause between attempts is for that, too.
#[tokio::test]
async fn a_save_that_fails_is_tried_again_after_a_pause() {
    struct Late(AtomicU32);
    #[async_trait::async_trait]
    impl Step for Late {
        async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
            Ok(ProbeResult::Absent)
        }
        async fn run(&self, cx: &Context) -> Result<Value, StepError> {
            Ok(cx.pre_image().map(<[u8]>::len).into())
        }
        async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
            Ok(())
        }
        fn saves(&self) -> bool {
            true
        }
        async fn save(&self, _cx: &Context) -> Result<Vec<u8>, StepError> {
            match self.0.fetch_add(1, Ordering::SeqCst) {
                0 | 1 => Err(StepError::retry("not there yet")),
                _ => Ok(vec![7; 9]),
            }
        }
    }
    let pause = Duration::from_millis(80);
    let policy = Policy::default().with_backoff(Backoff { initial: pause, max: pause });
    let plan = Plan::new("one", vec![step("late", &[]).policy(policy)]).unwrap();
    let late: Arc<dyn Step> = Arc::new(Late(AtomicU32::new(0)));
    let registry = move |_: &StepSpec| -> Result<Arc<dyn Step>, String> { Ok(Arc::clone(&late)) };
    let session = Session::new("boot-1", 1, "test 1");
    let (journal, begun) = (Journal::in_memory(), std::time::Instant::now());
    let ending = Engine::new(journal.clone(), registry, session).start(plan).await.unwrap();
    assert_eq!(outcome(&ending), Outcome::Completed);
    assert_eq!(load(&journal.reader(), ending.run).unwrap().output(&"late".into()), Some(&9.into()));
    assert!(begun.elapsed() >= pause, "two pauses of at least a half each: {:?}", begun.elapsed());
}

#[tokio::test]
async fn side_by_side_is_bounded() {
    for (limit, most) in [(1, 1), (3, 3), (64, 8)] {
        let (journal, world) = (Journal::in_memory(), Shared::default());
        let wide = Plan::new("wide", (0..8).map(|n| step(&format!("w{n}"), &[])).collect()).unwrap();
        let ending = engine(&journal, &world).parallelism(limit).start(wide).await.unwrap();
        assert_eq!(outcome(&ending), Outcome::Completed);
        assert_eq!(world.lock().unwrap().busy_max, most);
    }
}

/// While one step blocks its thread, the journal fails. When the engine has returned, nothing of the run goes
/// on: the caller may take it up at once, and no two methods of a step are ever in flight.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_journal_fails_nothing_goes_on_behind_the_callers_back() {
    struct Slow(Arc<AtomicBool>, bool, MemoryDisk);
    #[async_trait::async_trait]
    impl Step for Slow {
        async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
            Ok(ProbeResult::Absent)
        }
        async fn run(&self, _cx: &Context) -> Result<Value, StepError> {
            if self.1 {
                self.0.store(true, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(200));
                self.0.store(false, Ordering::SeqCst);
            } else {
                while !self.0.load(Ordering::SeqCst) {
                    tokio::task::yield_now().await;
                }
                self.2.fail(1, u64::MAX, EIO);
            }
            Ok(Value::Null)
        }
        async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
            Ok(())
        }
    }
    let disk = MemoryDisk::new();
    let journal = Journal::on(Arc::new(disk.clone()), Options::default()).unwrap();
    let busy = Arc::new(AtomicBool::new(false));
    let registry = {
        let (busy, disk) = (Arc::clone(&busy), disk.clone());
        move |spec: &StepSpec| -> Result<Arc<dyn Step>, String> {
            Ok(Arc::new(Slow(Arc::clone(&busy), spec.id.as_str() == "slow", disk.clone())))
        }
    };
    let session = Session::new("boot-1", 1, "test 1");
    let plan = Plan::new("two", vec![step("slow", &[]), step("quick", &[])]).unwrap();
    let error = Engine::new(journal, registry, session).start(plan).await.unwrap_err();
    assert!(matches!(error, EngineError::Journal(_)), "{error:?}");
    assert!(!busy.load(Ordering::SeqCst), "a step is still at work");
}

#[tokio::test]
async fn a_foreign_find_stops_the_run_for_a_person_and_can_be_settled() {
    let (journal, world) = (Journal::in_memory(), Shared::default());
    let full = engine(&journal, &world).parallelism(1).start(diamond()).await.unwrap();
    let (cut, run) = cut_after(&journal, full.run, 2, &diamond()).await; // a was started
    world.lock().unwrap().marks.clear();
    world.lock().unwrap().probes.insert("a".into(), [Ok(ProbeResult::Foreign("not mine".into()))].into());
    let ending = engine(&cut, &world).resume(run).await.unwrap();
    assert_eq!(outcome(&ending), Outcome::NeedsOperator);
    assert!(reason(&ending).contains("step a: not mine"));
    let ending = engine(&cut, &world).resume(run).await.unwrap();
    assert_eq!(outcome(&ending), Outcome::Completed, "the second look found it gone");
}

#[tokio::test]
async fn a_probe_that_fails_is_tried_again_and_then_needs_a_person_but_never_stops_an_undo() {
    let (journal, world) = (Journal::in_memory(), Shared::default());
    let full = engine(&journal, &world).parallelism(1).start(diamond()).await.unwrap();
    for (blind, back, expected) in
        [(2, false, Outcome::Completed), (3, false, Outcome::NeedsOperator), (1, true, Outcome::RolledBack)]
    {
        let (cut, run) = cut_after(&journal, full.run, 2, &diamond()).await;
        let probes = (0..blind).map(|_| Err("the API is down".to_owned())).collect();
        world.lock().unwrap().probes.insert("a".into(), probes);
        let engine = engine(&cut, &world);
        let ending = if back { engine.roll_back(run, "asked to").await } else { engine.resume(run).await };
        assert_eq!(outcome(&ending.unwrap()), expected);
    }
}

#[tokio::test]
async fn volatile_effects_are_looked_at_again() {
    for (durability, same_boot, other_boot) in
        [(Durability::Process, 1, 1), (Durability::Boot, 0, 1), (Durability::Durable, 0, 0)]
    {
        for (boot, probes) in [("boot-1", same_boot), ("boot-2", other_boot)] {
            let (journal, world) = (Journal::in_memory(), Shared::default());
            let steps = vec![volatile(step("a", &[]), durability), step("b", &["a"])];
            let plan = Plan::new("volatile", steps).unwrap();
            let first = engine(&journal, &world).pause_after(["a".into()]);
            let ending = first.start(plan).await.unwrap();
            assert!(reason(&ending).contains("breakpoint after a"));
            world.lock().unwrap().marks.clear();
            let ending = engine_on(&journal, &world, boot).resume(ending.run).await.unwrap();
            assert_eq!(outcome(&ending), Outcome::Completed);
            let probed = calls(&world).iter().filter(|call| *call == "probe a").count();
            assert_eq!(probed, probes, "{durability:?} on {boot}");
            assert_eq!(marks(&world).len(), if probes == 1 { 2 } else { 1 });
        }
    }
}

/// A volatile effect is lost, and is made again before anything goes on that comes after it: also what comes after a
/// step in between whose own effect is still there.
#[tokio::test]
async fn what_comes_after_a_lost_effect_waits_for_it() {
    let (journal, world) = (Journal::in_memory(), Shared::default());
    let process = |spec| volatile(spec, Durability::Process);
    let steps = vec![
        process(step("begin", &[])),
        step("between", &["begin"]),
        process(step("end", &["between"])),
        step("last", &["end"]),
    ];
    let first = engine(&journal, &world).pause_after(["end".into()]);
    let ending = first.start(Plan::new("volatile", steps).unwrap()).await.unwrap();
    world.lock().unwrap().marks.retain(|mark| mark.as_str() == "between");
    world.lock().unwrap().calls.clear();
    let ending = engine(&journal, &world).resume(ending.run).await.unwrap();
    assert_eq!(outcome(&ending), Outcome::Completed);
    assert_eq!(calls(&world), ["probe begin", "run begin", "probe end", "run end", "run last"]);
}

/// A lost effect waits when it is made again. The step after it, which was in flight, is not looked at meanwhile. So there
/// is nothing to do but to wait.
#[test]
fn a_run_waits_for_a_lost_effect_and_looks_at_nothing_behind_it() {
    let spec = |name: &str| StepSpec::new(name, Value::Null).durability(Durability::Process);
    let plan = Plan::new("lost", vec![spec("lost"), spec("behind").after(["lost"])]).unwrap();
    let mut run = Run::new(Arc::new(plan));
    let (lost, behind) = (|| StepId::from("lost"), || StepId::from("behind"));
    let started = |step, attempt| Event::AttemptStarted { step, attempt, pre_image: None, deadline: None };
    let session = Session::new("boot-1", 1, "test 1");
    let (workflow, plan) = ("lost".to_owned(), Digest::of(b""));
    let until = Timestamp::from(SystemTime::now() + Duration::from_secs(3600));
    for event in [
        Event::Begun { workflow, plan, session: session.clone(), key: None, shape: None },
        started(lost(), 1),
        Event::AttemptDone { step: lost(), attempt: 1, output: Value::Null, facts: vec![] },
        started(behind(), 1),
        Event::Resumed { session, same_process: false },
        Event::Probed { step: lost(), result: ProbeResult::Absent, output: Value::Null, facts: vec![] },
        started(lost(), 2),
        Event::AttemptWaits { step: lost(), attempt: 2, wait: Wait::Time { until }, facts: vec![] },
    ] {
        run.apply(&event).unwrap();
    }
    assert!(matches!(run.next_actions().as_slice(), [Action::Await { .. }]), "{:?}", run.next_actions());
    run.apply(&Event::Waiting { until: Some(until) }).unwrap();
    assert!(matches!(run.phase(), Phase::Waiting { .. }), "{:?}", run.phase());
}

#[tokio::test]
async fn an_undo_that_keeps_failing_needs_a_person_and_can_be_tried_again() {
    let (journal, world) = (Journal::in_memory(), Shared::default());
    let ending = engine(&journal, &world).start(diamond()).await.unwrap();
    script_undo(&world, "b", &[Script::Fail, Script::FailAfter]);
    let ending = engine(&journal, &world).roll_back(ending.run, "asked to").await.unwrap();
    assert_eq!(outcome(&ending), Outcome::NeedsOperator);
    assert!(reason(&ending).contains("step b could not be undone: as told"));
    assert_eq!(marks(&world), ["a"], "what b builds on was left alone");
    let ending = engine(&journal, &world).resume(ending.run).await.unwrap();
    assert_eq!(outcome(&ending), Outcome::RolledBack);
    assert!(marks(&world).is_empty());
}

#[tokio::test]
async fn two_failures_at_once_are_one_rollback() {
    let (journal, world) = (Journal::in_memory(), Shared::default());
    script(&world, "b", &[Script::Fatal]);
    script(&world, "c", &[Script::Fatal]);
    script_undo(&world, "b", &[Script::Fail]);
    let ending = engine(&journal, &world).start(diamond()).await.unwrap();
    assert_eq!(outcome(&ending), Outcome::RolledBack);
    assert!(marks(&world).is_empty());
}

#[tokio::test]
async fn a_pause_stops_at_a_safe_point_and_the_run_goes_on_later() {
    let (journal, world) = (Journal::in_memory(), Shared::default());
    script(&world, "b", &[Script::Hang]);
    let paused = engine(&journal, &world);
    let control = paused.control();
    let watched = paused.observer(Arc::new(OnEvent(Mutex::new(Box::new(move |event| {
        if matches!(event, Event::AttemptStarted { step, .. } if step.as_str() == "b") {
            control.pause("SIGINT", PauseCause::Person);
        }
    })))));
    let ending = watched.start(diamond()).await.unwrap();
    assert_eq!(ending.phase, Phase::Paused { reason: "SIGINT".to_owned(), cause: PauseCause::Person });
    let ending = engine(&journal, &world).resume(ending.run).await.unwrap();
    assert_eq!(outcome(&ending), Outcome::Completed);
    assert_eq!(calls(&world).iter().filter(|call| *call == "probe b").count(), 1);
}

type Watch = Box<dyn FnMut(&Event) + Send>;

struct OnEvent(Mutex<Watch>);

impl Observer for OnEvent {
    fn event(&self, _run: RunId, _time: fulcrum_engine::state::Timestamp, event: &Event) {
        (self.0.lock().unwrap())(event);
    }
}

#[tokio::test]
async fn a_run_out_of_time_is_undone() {
    let (journal, world) = (Journal::in_memory(), Shared::default());
    script(&world, "c", &[Script::Hang]);
    let plan = diamond().with_deadline(Duration::from_millis(50));
    let ending = engine(&journal, &world).start(plan).await.unwrap();
    assert_eq!(outcome(&ending), Outcome::RolledBack);
    assert!(reason(&ending).contains("not done within 50ms; in flight: c"), "{}", reason(&ending));
    assert!(marks(&world).is_empty());
}

#[tokio::test]
async fn history_lists_every_attempt_with_its_end() {
    let (journal, world) = (Journal::in_memory(), Shared::default());
    script(&world, "a", &[Script::Fail]);
    script(&world, "d", &[Script::Fatal]);
    let ending = engine(&journal, &world).parallelism(1).start(diamond()).await.unwrap();
    let history = History::read(&journal.reader(), ending.run).unwrap();
    let told: Vec<(String, Direction, u32, AttemptResult)> = history
        .attempts
        .iter()
        .map(|attempt| (attempt.step.to_string(), attempt.direction, attempt.attempt, attempt.result))
        .collect();
    let row = |step: &str, direction, attempt, result| (step.to_owned(), direction, attempt, result);
    assert_eq!(told[0], row("a", Direction::Run, 1, AttemptResult::Failed));
    assert_eq!(told[1], row("a", Direction::Run, 2, AttemptResult::Done));
    assert_eq!(told[4], row("d", Direction::Run, 1, AttemptResult::Failed));
    assert_eq!(told[8], row("a", Direction::Undo, 1, AttemptResult::Done));
    assert_eq!(history.outcome, Some(Outcome::RolledBack));
    assert!(history.attempts.iter().all(|attempt| attempt.ended.is_some()));
}

#[tokio::test]
async fn a_step_that_the_program_does_not_know_changes_nothing() {
    let (journal, world) = (Journal::in_memory(), Shared::default());
    let ending = engine(&journal, &world).pause_after(["a".into()]).start(diamond()).await.unwrap();
    let entries = journal.reader().entries(ending.run).count();
    let session = fulcrum_engine::Session::new("b", 2, "test 2");
    let knows_nothing =
        |spec: &fulcrum_engine::StepSpec| Err::<Arc<dyn fulcrum_engine::Step>, _>(format!("no {}", spec.id));
    let other = fulcrum_engine::Engine::new(journal.clone(), knows_nothing, session);
    let error = other.resume(ending.run).await.unwrap_err();
    assert!(error.to_string().contains("no a; use the version that started the run (test 1)"), "{error}");
    assert_eq!(journal.reader().entries(ending.run).count(), entries);
    let _: StepId = "a".into();
}
