//! Steps that are bound to a machine, in a journal that stays on its own.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use fulcrum_engine::run::Action;
use fulcrum_engine::state::{Digest, Journal};
use fulcrum_engine::{
    ChildRun, Durability, Engine, EngineError, Event, Outcome, Phase, Plan, ProbeResult, Run, Session,
    Status, StepId, StepSpec, Steps, step,
};
use serde_json::Value;
use std::sync::Arc;

fn session(machine: Option<&str>) -> Session {
    let session = Session::new(format!("boot of {machine:?}"), 1, "a test");
    match machine {
        Some(machine) => session.with_machine(machine),
        None => session,
    }
}

fn engine(journal: &Journal, machine: Option<&str>) -> Engine {
    let press = step("press").run(|_| async { Ok(()) }).undo(|_| async { Ok(()) });
    Engine::new(journal.clone(), Steps::new().with(press), session(machine))
}

fn plan(machine: &str) -> Plan {
    Plan::new("bound", vec![StepSpec::new("press", Value::Null).bound_to(machine)]).unwrap()
}

fn is_refused(result: Result<impl std::fmt::Debug, EngineError>, here: Option<&str>) {
    let error = result.unwrap_err();
    assert!(
        matches!(&error, EngineError::OtherMachine { step, machine, here: found, .. }
            if step.as_str() == "press" && machine == "one" && found.as_deref() == here),
        "{error}"
    );
    assert!(error.to_string().contains("is bound to machine \"one\", and this process is on "), "{error}");
}

#[tokio::test]
async fn a_journal_that_stays_refuses_what_is_bound_elsewhere_before_anything_is_done() {
    let journal = Journal::in_memory();
    for here in [None, Some("two")] {
        is_refused(engine(&journal, here).start(plan("one")).await, here);
        is_refused(engine(&journal, here).submit("key", plan("one")).await, here);
    }
    assert!(journal.reader().runs().unwrap().is_empty());
    let ending = engine(&journal, Some("one")).start(plan("one")).await.unwrap();
    assert!(matches!(ending.phase, Phase::Ended(Outcome::Completed, _)), "{ending:?}");
    is_refused(engine(&journal, Some("two")).roll_back(ending.run, "the test").await, Some("two"));
    let ending = engine(&journal, Some("one")).roll_back(ending.run, "the test").await.unwrap();
    assert!(matches!(ending.phase, Phase::Ended(Outcome::RolledBack, _)), "{ending:?}");
}

#[tokio::test]
async fn another_plan_may_bind_a_step_elsewhere_only_before_it_starts() {
    let journal = Journal::in_memory();
    let one = engine(&journal, Some("one"));
    let run = one.submit("key", plan("one")).await.unwrap();
    let error = one.run_or_resume("key", plan("two")).await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("this process is on one") || error.contains("is bound to one in the run"),
        "{error}"
    );
    let two = engine(&journal, Some("two"));
    two.adopt(run, plan("two"), "the press has moved").await.unwrap();
    assert!(matches!(two.resume(run).await.unwrap().phase, Phase::Ended(Outcome::Completed, _)));
    let error = two.adopt(run, plan("one"), "too late").await.unwrap_err().to_string();
    assert!(error.contains("completed") || error.contains("bound to two"), "{error}");
}

#[tokio::test]
async fn the_run_of_a_step_is_carried_out_where_the_step_is() {
    let journal = Journal::in_memory();
    let child = ChildRun::new(engine(&journal, Some("two")), |_| Ok(plan("one")));
    let above = Engine::new(journal.clone(), Steps::new().with_step("child", child), session(Some("two")));
    let plan = Plan::new("above", vec![StepSpec::new("child", Value::Null)]).unwrap();
    let ending = above.start(plan).await.unwrap();
    let Phase::Ended(Outcome::RolledBack, why) = ending.phase else { panic!("{ending:?}") };
    assert!(why.contains("step press is bound to machine \"one\""), "{why}");
}

/// Two steps, one on each machine.
fn two_machines() -> Run {
    let spec = |name: &str| StepSpec::new(name, Value::Null).bound_to(name).durability(Durability::Process);
    let plan = Plan::new("bound", vec![spec("one"), spec("two").after(["one"])]).unwrap();
    let mut run = Run::new(Arc::new(plan));
    let begun = Event::Begun {
        workflow: "bound".to_owned(),
        plan: Digest::of(b""),
        session: session(Some("one")),
        key: None,
        shape: None,
    };
    run.apply(&begun).unwrap();
    done(&mut run, "one");
    run
}

fn done(run: &mut Run, step: &str) {
    start(run, step);
    let (step, output) = (step.into(), Value::Null);
    run.apply(&Event::AttemptDone { step, attempt: 1, output, facts: vec![] }).unwrap();
}

fn start(run: &mut Run, step: &str) {
    let step = step.into();
    run.apply(&Event::AttemptStarted { step, attempt: 1, pre_image: None, deadline: None }).unwrap();
}

fn resume(run: &mut Run, machine: &str) {
    run.apply(&Event::Resumed { session: session(Some(machine)), same_process: false }).unwrap();
}

const WAITING: Event = Event::Waiting { until: None };

#[test]
fn an_effect_is_looked_at_on_its_own_machine_only() {
    let mut run = two_machines();
    run.apply(&WAITING).unwrap();
    assert_eq!(run.machines(), [(&StepId::from("two"), "two")]);
    resume(&mut run, "two");
    assert!(run.machines().is_empty());
    assert_eq!(run.state(&"one".into()).unwrap().status, Status::Done, "it is not two's to look at");
    assert!(run.apply(&WAITING).is_err(), "there is something to do here");
    start(&mut run, "two");
    assert!(run.apply(&WAITING).is_err(), "something is in flight");
    resume(&mut run, "one");
    assert_eq!(run.next_actions(), [Action::Probe("one".into())], "what goes before is looked at first");
    let (step, result, output) = ("one".into(), ProbeResult::Done, Value::Null);
    run.apply(&Event::Probed { step, result, output, facts: vec![] }).unwrap();
    assert_eq!(run.next_actions(), [Action::Probe("two".into())]);
    run.apply(&WAITING).unwrap();
    assert_eq!(run.machines(), [(&StepId::from("two"), "two")]);
}

/// A step that kills its process each time is stopped, also if processes of another machine look at the run meanwhile.
#[test]
fn deaths_on_a_machine_are_counted_through_sessions_on_another() {
    let mut run = two_machines();
    run.apply(&WAITING).unwrap();
    resume(&mut run, "two");
    start(&mut run, "two");
    for death in 1..=5 {
        // The process on two has died of it, and that on one can only wait.
        resume(&mut run, "one");
        assert_eq!(run.state(&"two".into()).unwrap().deaths, death);
        let (step, result, output) = ("one".into(), ProbeResult::Done, Value::Null);
        run.apply(&Event::Probed { step, result, output, facts: vec![] }).unwrap();
        if death < 5 {
            run.apply(&WAITING).unwrap();
            resume(&mut run, "two");
        }
    }
    let actions = run.next_actions();
    assert!(
        matches!(&actions[..], [Action::End(Outcome::NeedsOperator, why)] if why.contains("two")),
        "{actions:?}"
    );
}
