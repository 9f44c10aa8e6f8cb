//! A step that carries out a run of its own: [`ChildRun`].

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod world;

use fulcrum_engine::history::History;
use fulcrum_engine::load::load;
use fulcrum_engine::state::{Journal, RunId, Timestamp};
use fulcrum_engine::{
    ChildRun, Control, Ending, Engine, Event, Observer, Outcome, PauseCause, Phase, Plan, Policy, Question,
    Session, StepError, StepId, StepSpec, Steps, step,
};
use serde_json::Value;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use world::{Script, Shared, calls, diamond, script, script_undo};

fn is(ending: &Ending, outcome: Outcome) -> bool {
    matches!(&ending.phase, Phase::Ended(found, _) if *found == outcome)
}

/// `first`, then `child/1`, whose run is the diamond of the world.
fn above(journal: &Journal, world: &Shared) -> Engine {
    let child = ChildRun::new(world::engine(journal, world), |_| Ok(diamond()));
    let first = step("first").run(|_| async { Ok(()) });
    let steps = Steps::new().with(first).with_step("child", child);
    Engine::new(journal.clone(), steps, Session::new("boot", 1, "above"))
}

fn plan() -> Plan {
    let child = StepSpec::new("child/1", Value::Null).policy(Policy::once(Duration::from_secs(60)));
    Plan::new("above", vec![StepSpec::new("first", Value::Null), child.after(["first"])]).unwrap()
}

fn child_of(run: RunId) -> RunId {
    ChildRun::run_of(run, &"child/1".into())
}

#[tokio::test]
async fn a_step_is_done_when_its_run_is_and_undone_by_rolling_that_back() {
    let (journal, world) = (Journal::in_memory(), Shared::default());
    let engine = above(&journal, &world);
    let ending = engine.start(plan()).await.unwrap();
    assert!(is(&ending, Outcome::Completed), "{ending:?}");
    assert_eq!(world.lock().unwrap().marks.len(), 4);
    let child = child_of(ending.run);
    let history = History::read(&journal.reader(), ending.run).unwrap();
    assert_eq!(history.attempts[1].output, Some(child.to_string().into()));
    assert_eq!(History::read(&journal.reader(), child).unwrap().outcome, Some(Outcome::Completed));
    let ending = engine.roll_back(ending.run, "asked to").await.unwrap();
    assert!(is(&ending, Outcome::RolledBack), "{ending:?}");
    assert!(world.lock().unwrap().marks.is_empty());
    assert!(load(&journal.reader(), child).unwrap().is_rolled_back());
    assert_eq!(calls(&world).iter().filter(|call| call.starts_with("run")).count(), 4, "each step ran once");
}

#[tokio::test]
async fn a_run_whose_child_fails_or_gets_stuck_is_rolled_back_with_it() {
    let (journal, world) = (Journal::in_memory(), Shared::default());
    script(&world, "d", &[Script::Fatal]);
    let ending = above(&journal, &world).start(plan()).await.unwrap();
    let Phase::Ended(Outcome::RolledBack, reason) = &ending.phase else { panic!("{ending:?}") };
    assert!(
        reason.contains("step child/1 failed") && reason.contains("rolled-back: step d failed"),
        "{reason}"
    );

    let (journal, world) = (Journal::in_memory(), Shared::default());
    script(&world, "d", &[Script::Fatal]);
    script_undo(&world, "b", &[Script::Fail, Script::Fail, Script::Fail, Script::Fail]);
    let engine = above(&journal, &world);
    let ending = engine.start(plan()).await.unwrap();
    let Phase::Ended(Outcome::NeedsOperator, reason) = &ending.phase else { panic!("{ending:?}") };
    assert!(reason.contains(&child_of(ending.run).to_string()), "{reason}");
    assert!(is(&engine.resume(ending.run).await.unwrap(), Outcome::RolledBack), "a person has looked");
    assert!(world.lock().unwrap().marks.is_empty());
}

/// Pauses the run above once this step of the child says something.
struct PauseAt(StepId, Arc<OnceLock<Control>>);

impl Observer for PauseAt {
    fn event(&self, _run: RunId, _time: Timestamp, _event: &Event) {}

    fn note(&self, step: &StepId, _text: &str) {
        if *step == self.0 {
            self.1.get().unwrap().pause("asked to", PauseCause::Person);
        }
    }
}

#[tokio::test]
async fn a_pause_of_the_run_above_pauses_the_child_and_both_go_on() {
    let (journal, world) = (Journal::in_memory(), Shared::default());
    script(&world, "b", &[Script::Hang]);
    let control = Arc::new(OnceLock::new());
    let observer = Arc::new(PauseAt("b".into(), Arc::clone(&control)));
    let child = ChildRun::new(world::engine(&journal, &world).observer(observer), |_| Ok(diamond()));
    let steps = Steps::new().with(step("first").run(|_| async { Ok(()) })).with_step("child", child);
    let engine = Engine::new(journal.clone(), steps, Session::new("boot", 1, "above"));
    assert!(control.set(engine.control()).is_ok());
    let ending = engine.start(plan()).await.unwrap();
    assert!(matches!(ending.phase, Phase::Paused { cause: PauseCause::Person, .. }), "{ending:?}");
    let child = load(&journal.reader(), child_of(ending.run)).unwrap();
    assert!(matches!(child.phase(), Phase::Paused { cause: PauseCause::Above, .. }), "{child:?}");
    let ending = above(&journal, &world).resume(ending.run).await.unwrap();
    assert!(is(&ending, Outcome::Completed), "{ending:?}");
}

#[tokio::test]
async fn a_run_waits_as_long_as_its_child_does() {
    let journal = Journal::in_memory();
    let ask = step("ask").run(|cx| async move { Ok(cx.approval(&Question::new("ship it?"))?.by) });
    let session = || Session::new("boot", 1, "above");
    let inner = Engine::new(journal.clone(), Steps::new().with(ask), session());
    let child = ChildRun::new(inner, |_| {
        Plan::new("child", vec![StepSpec::new("ask", Value::Null)]).map_err(StepError::fatal)
    });
    let steps = Steps::new().with(step("first").run(|_| async { Ok(()) })).with_step("child", child);
    let engine = Engine::new(journal.clone(), steps, session());
    let ending = engine.start(plan()).await.unwrap();
    assert_eq!(ending.phase, Phase::Waiting { until: None });
    let entries = || journal.reader().entries(ending.run).count();
    let before = entries();
    assert_eq!(engine.resume(ending.run).await.unwrap(), ending);
    assert_eq!(entries(), before, "a look at the child is not journalled");
    engine.approve(child_of(ending.run), "ask", "ann", "").await.unwrap();
    let ending = engine.resume(ending.run).await.unwrap();
    assert!(is(&ending, Outcome::Completed), "{ending:?}");
}
