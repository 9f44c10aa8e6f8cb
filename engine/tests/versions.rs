//! Runs in flight and new versions of their program: each resumes, is refused by name, or is adopted.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

use fulcrum_engine::load::load;
use fulcrum_engine::state::{Journal, RunId};
use fulcrum_engine::testing::plan_is_as_kept;
use fulcrum_engine::{
    AfterRun, Ending, Engine, EngineError, Event, Outcome, Phase, Plan, Question, Session, Status, StepError,
    StepSpec, Steps, step,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const KEY: &str = "the run";

/// One version of the program: its plan, as names with what each comes after, and the versions of its steps.
struct Program {
    plan: &'static [(&'static str, &'static [&'static str])],
    versions: &'static [(&'static str, u32)],
}

/// The version that begins each run.
const FIRST: Program = Program { plan: &[("a", &[]), ("b", &["a"]), ("c", &["b"])], versions: &[] };

/// Where the run is when the other version comes. `a` is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopped {
    /// Paused before `b`.
    BeforeB,
    /// Dead while `b` was at work.
    WithinB,
    /// `b` waits for a decision.
    AtAQuestion,
}

const STOPPED: [Stopped; 3] = [Stopped::BeforeB, Stopped::WithinB, Stopped::AtAQuestion];

/// What `b` does before its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    Nothing,
    Hangs,
    Asks,
}

/// What must become of the run.
#[derive(Clone, Copy)]
enum Expected {
    Resumes,
    /// Refused with this in the text; adopted, the run completes with these steps done.
    RefusedThenAdopted(&'static str, &'static [&'static str]),
    /// Refused with the first text, and not adopted either, with the second.
    Refused(&'static str, &'static str),
}

/// How often each step was run and undone.
type Calls = Arc<Mutex<BTreeMap<String, i32>>>;

impl Program {
    fn plan(&self) -> Plan {
        let spec = |(name, after): &(&str, &[&str])| {
            StepSpec::new(*name, json!({ "made for": self.plan.len() })).after(after.iter().copied())
        };
        Plan::new("work", self.plan.iter().map(spec).collect()).unwrap()
    }

    fn engine(&self, journal: &Journal, calls: &Calls, first: First) -> Engine {
        let mut steps = Steps::new();
        for name in ["a", "b", "c", "d", "x"] {
            let (run, undo) = (Arc::clone(calls), Arc::clone(calls));
            let version = self.versions.iter().find(|(step, _)| *step == name).map_or(1, |(_, v)| *v);
            let work = step(name).run(move |cx| {
                let calls = Arc::clone(&run);
                async move {
                    match first {
                        First::Hangs if cx.step().as_str() == "b" => std::future::pending().await,
                        First::Asks if cx.step().as_str() == "b" => {
                            cx.approval(&Question::new("go on?"))?;
                        }
                        _ => {}
                    }
                    *calls.lock().unwrap().entry(cx.step().to_string()).or_default() += 1;
                    cx.args::<Value>()
                }
            });
            steps = steps.with(work.version(version).undo(move |cx| {
                let calls = Arc::clone(&undo);
                async move {
                    *calls.lock().unwrap().entry(cx.step().to_string()).or_default() -= 1;
                    Ok(())
                }
            }));
        }
        Engine::new(
            journal.clone(),
            steps,
            Session::new("boot", 1, format!("program {}", self.versions.len())),
        )
    }
}

/// A run of the first version that has stopped there.
async fn begun(journal: &Journal, calls: &Calls, stopped: Stopped) -> RunId {
    let run = Engine::run_of(KEY);
    let status =
        |step: &str| load(&journal.reader(), run).ok()?.state(&step.into()).map(|s| s.status.clone());
    match stopped {
        Stopped::BeforeB => {
            let engine = FIRST.engine(journal, calls, First::Nothing).pause_after(["a".into()]);
            let ending = engine.run_or_resume(KEY, FIRST.plan()).await.unwrap();
            assert!(matches!(ending.phase, Phase::Paused { .. }), "{:?}", ending.phase);
        }
        Stopped::WithinB => {
            let engine = FIRST.engine(journal, calls, First::Hangs);
            let begins = async {
                while status("b") != Some(Status::Running) {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                ending = engine.run_or_resume(KEY, FIRST.plan()) => panic!("{ending:?}"),
                () = begins => {}
            }
        }
        Stopped::AtAQuestion => {
            let engine = FIRST.engine(journal, calls, First::Asks);
            let ending = engine.run_or_resume(KEY, FIRST.plan()).await.unwrap();
            assert_eq!(ending.phase, Phase::Waiting { until: None });
        }
    }
    assert_eq!(status("a"), Some(Status::Done));
    run
}

const MATRIX: &[(&str, Program, Expected)] = &[
    ("as it was", FIRST, Expected::Resumes),
    (
        "in another order, where nothing depends on it",
        Program { plan: &[("c", &["b"]), ("b", &["a"]), ("a", &[])], versions: &[] },
        Expected::Resumes,
    ),
    (
        "a step more",
        Program { plan: &[("a", &[]), ("b", &["a"]), ("c", &["b"]), ("d", &["c"])], versions: &[] },
        Expected::RefusedThenAdopted("step d of the plan is not in the run", &["a", "b", "c", "d"]),
    ),
    (
        "a step less",
        Program { plan: &[("a", &[]), ("b", &["a"])], versions: &[] },
        Expected::RefusedThenAdopted("step c of the run is not in the plan", &["a", "b"]),
    ),
    (
        "a step renamed",
        Program { plan: &[("a", &[]), ("b", &["a"]), ("x", &["b"])], versions: &[] },
        Expected::RefusedThenAdopted(
            "step c of the run is not in the plan, where x is in its place",
            &["a", "b", "x"],
        ),
    ),
    (
        "a step between two others",
        Program { plan: &[("a", &[]), ("b", &["a"]), ("d", &["b"]), ("c", &["d"])], versions: &[] },
        Expected::RefusedThenAdopted("step d of the plan is not in the run", &["a", "b", "c", "d"]),
    ),
    (
        "a step renamed that is done",
        Program { plan: &[("x", &[]), ("b", &["x"]), ("c", &["b"])], versions: &[] },
        Expected::Refused(
            "step a of the run is not in the plan, where x is in its place",
            "step a has started and is not in the plan",
        ),
    ),
    (
        "other dependencies",
        Program { plan: &[("a", &[]), ("b", &["a"]), ("c", &["a"])], versions: &[] },
        Expected::RefusedThenAdopted(
            "step c comes after b in the run, after a in the plan",
            &["a", "b", "c"],
        ),
    ),
    (
        "another version of a step to come",
        Program { plan: FIRST.plan, versions: &[("c", 2)] },
        Expected::RefusedThenAdopted("step c has version 1 in the run, 2 in this program", &["a", "b", "c"]),
    ),
    (
        "another version of a step that is done",
        Program { plan: FIRST.plan, versions: &[("a", 7)] },
        Expected::RefusedThenAdopted("step a has version 1 in the run, 7 in this program", &["a", "b", "c"]),
    ),
    (
        "without a step that is done",
        Program { plan: &[("b", &[]), ("c", &["b"])], versions: &[] },
        Expected::Refused(
            "step a of the run is not in the plan",
            "step a has started and is not in the plan",
        ),
    ),
    (
        "a step before one that is done",
        Program { plan: &[("d", &[]), ("a", &["d"]), ("b", &["a"]), ("c", &["b"])], versions: &[] },
        Expected::Refused(
            "step d of the plan is not in the run",
            "step d has not started and would come before a, which has",
        ),
    ),
];

/// Every row, wherever the run has stopped.
#[tokio::test]
async fn a_run_in_flight_resumes_is_refused_by_name_or_is_adopted() {
    for (change, program, expected) in MATRIX {
        for stopped in STOPPED {
            becomes(&format!("{change}, {stopped:?}"), program, stopped, *expected).await;
        }
    }
}

async fn becomes(what: &str, program: &Program, stopped: Stopped, expected: Expected) {
    let (journal, calls) = (Journal::in_memory(), Calls::default());
    let run = begun(&journal, &calls, stopped).await;
    let asks = stopped == Stopped::AtAQuestion;
    let first = if asks { First::Asks } else { First::Nothing };
    let entries = journal.reader().entries(run).count();
    let engine = program.engine(&journal, &calls, first);
    if let (Expected::Resumes, true) = (expected, asks) {
        engine.approve(run, "b", "ann", "").await.unwrap();
    }
    let result = engine.run_or_resume(KEY, program.plan()).await;
    let (refusal, then) = match expected {
        Expected::Resumes => return is_completed(what, &result.unwrap()),
        Expected::RefusedThenAdopted(refusal, steps) => (refusal, Ok(steps)),
        Expected::Refused(refusal, why) => (refusal, Err(why)),
    };
    let error = result.unwrap_err();
    assert!(matches!(error, EngineError::OtherPlan { .. }), "{what}: {error:?}");
    assert!(error.to_string().contains(refusal), "{what}: {error}");
    assert!(error.to_string().contains("begun by program 0"), "{what}: {error}");
    assert_eq!(journal.reader().entries(run).count(), entries, "{what}: nothing was done");
    let adopted = engine.adopt(run, program.plan(), "looked at by a person").await;
    let steps = match then {
        Err(why) => {
            let error = adopted.unwrap_err();
            assert!(error.to_string().contains(why), "{what}: {error}");
            assert_eq!(journal.reader().entries(run).count(), entries, "{what}: nothing was done");
            return;
        }
        Ok(steps) => steps,
    };
    adopted.unwrap();
    is_adopted(what, &journal, run);
    if asks {
        engine.approve(run, "b", "ann", "").await.unwrap();
    }
    is_completed(what, &engine.run_or_resume(KEY, program.plan()).await.unwrap());
    let done: BTreeMap<_, _> = steps.iter().map(|step| ((*step).to_owned(), 1)).collect();
    assert_eq!(*calls.lock().unwrap(), done, "{what}: each step once");
    let _ = engine.roll_back(run, "all of it").await.unwrap();
    assert!(calls.lock().unwrap().values().all(|left| *left == 0), "{what}");
}

fn is_completed(what: &str, ending: &Ending) {
    assert!(matches!(ending.phase, Phase::Ended(Outcome::Completed, _)), "{what}: {:?}", ending.phase);
}

/// The adoption is audited. What has started keeps its arguments.
fn is_adopted(what: &str, journal: &Journal, run: RunId) {
    let last = journal.reader().entries(run).last().unwrap().unwrap();
    match fulcrum_engine::load::decode(&last).unwrap() {
        Event::Adopted { reason, session, .. } => {
            assert_eq!((reason.as_str(), session.pid), ("looked at by a person", 1), "{what}");
        }
        other => panic!("{what}: {other:?}"),
    }
    let loaded = load(&journal.reader(), run).unwrap();
    assert_eq!(loaded.plan().step(&"a".into()).unwrap().args, json!({ "made for": 3 }), "{what}");
}

/// A bare resume has no plan to compare: the versions are compared all the same, also on the way back.
#[tokio::test]
async fn a_step_of_another_version_is_refused_also_without_a_plan_and_on_the_way_back() {
    let (journal, calls) = (Journal::in_memory(), Calls::default());
    let run = begun(&journal, &calls, Stopped::BeforeB).await;
    let second = Program { plan: FIRST.plan, versions: &[("a", 2)] };
    let engine = second.engine(&journal, &calls, First::Nothing);
    for result in [engine.resume(run).await, engine.roll_back(run, "asked to").await] {
        let error = result.unwrap_err().to_string();
        assert!(error.contains("step a has version 1 in the run, 2 in this program"), "{error}");
    }
    engine.adopt(run, None, "version 2 undoes version 1").await.unwrap();
    let ending = engine.roll_back(run, "asked to").await.unwrap();
    assert!(matches!(ending.phase, Phase::Ended(Outcome::RolledBack, _)), "{:?}", ending.phase);
    let old = FIRST.engine(&journal, &calls, First::Nothing);
    let error = old.resume(run).await.unwrap_err();
    assert!(matches!(error, EngineError::Over { .. }), "{error:?}");
}

/// The ends that the engine told of.
#[derive(Default)]
struct Told(Mutex<Vec<Phase>>);

#[async_trait::async_trait]
impl AfterRun for Told {
    async fn ended(&self, _journal: &Journal, _run: RunId, phase: &Phase) {
        self.0.lock().unwrap().push(phase.clone());
    }
}

#[tokio::test]
async fn an_abandoned_run_is_over_as_it_is_and_says_why() {
    let (journal, calls) = (Journal::in_memory(), Calls::default());
    let run = begun(&journal, &calls, Stopped::BeforeB).await;
    let told = Arc::new(Told::default());
    let engine = FIRST.engine(&journal, &calls, First::Nothing).after(told.clone());
    let ending = engine.abandon(run, "the machine is gone").await.unwrap();
    let expected = Phase::Ended(Outcome::Abandoned, "the machine is gone".to_owned());
    assert_eq!(
        *told.0.lock().unwrap(),
        std::slice::from_ref(&expected),
        "what signs ends signs this one, too"
    );
    assert_eq!(ending.phase, expected);
    assert_eq!(load(&journal.reader(), run).unwrap().phase(), &expected);
    assert!(journal.open_runs().unwrap().is_empty(), "the journal knows that the run is over");
    assert_eq!(engine.run_or_resume(KEY, FIRST.plan()).await.unwrap(), ending);
    for error in [
        engine.resume(run).await.unwrap_err(),
        engine.adopt(run, None, "back to life").await.unwrap_err(),
        engine.abandon(run, "again").await.unwrap_err(),
        engine.roll_back(run, "asked to").await.unwrap_err(),
    ] {
        assert!(matches!(error, EngineError::Over { .. } | EngineError::NotAdopted { .. }), "{error:?}");
    }
    assert_eq!(*calls.lock().unwrap(), BTreeMap::from([("a".to_owned(), 1)]), "nothing was undone");
}

#[test]
fn a_plan_that_differs_from_its_kept_file_is_named_step_by_step() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("work.json");
    let steps =
        |version| Steps::new().with(step("a").run(|_| async { Ok::<_, StepError>(()) }).version(version));
    let plan = Plan::new("work", vec![StepSpec::new("a", Value::Null)]).unwrap();
    let missing = plan_is_as_kept(&path, &plan, &steps(1)).unwrap_err().to_string();
    let (_, kept) = missing.split_once("it holds:\n").unwrap();
    std::fs::write(&path, kept).unwrap();
    plan_is_as_kept(&path, &plan, &steps(1)).unwrap();
    let error = plan_is_as_kept(&path, &plan, &steps(2)).unwrap_err().to_string();
    assert!(error.contains("step a has version 1 in the run, 2 in this program"), "{error}");
}
