//! How long finished runs are kept.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod world;

use fulcrum_engine::state::{Journal, RunId, Told};
use fulcrum_engine::{
    ChildRun, Engine, Phase, Plan, Question, Retention, Session, StepError, StepSpec, Steps, step,
};
use serde_json::Value;
use std::time::Duration;
use world::{Shared, diamond};

const HOUR: Duration = Duration::from_secs(3600);

fn runs(journal: &Journal) -> Vec<RunId> {
    journal.reader().runs().unwrap().iter().map(|header| header.run).collect()
}

/// A run with one child, which asks if the plan says so.
fn with_child(journal: &Journal, asks: bool) -> Engine {
    let session = || Session::new("boot", 1, "above");
    let work = step("work").run(move |cx| async move {
        match asks {
            true => cx.approval(&Question::new("ship it?")).map(drop),
            false => Ok(()),
        }
    });
    let inner = Engine::new(journal.clone(), Steps::new().with(work), session());
    let child = ChildRun::new(inner, |_| {
        Plan::new("child", vec![StepSpec::new("work", Value::Null)]).map_err(StepError::fatal)
    });
    Engine::new(journal.clone(), Steps::new().with_step("child", child), session())
}

fn above() -> Plan {
    Plan::new("above", vec![StepSpec::new("child", Value::Null)]).unwrap()
}

#[tokio::test]
async fn finished_runs_are_kept_by_number_and_age_and_others_always() {
    let (journal, world) = (Journal::in_memory(), Shared::default());
    let engine = world::engine(&journal, &world);
    let waits = with_child(&journal, true);
    // The run above is not over, and the child waits for a person.
    let waiting = waits.start(above()).await.unwrap();
    assert!(matches!(waiting.phase, Phase::Waiting { .. }), "{waiting:?}");
    for n in 0..4 {
        let _ = engine.run_or_resume(&format!("order {n}"), diamond()).await.unwrap();
    }
    let [_, _, one, two, three, four] = runs(&journal)[..] else { panic!("{:?}", runs(&journal)) };
    assert!(engine.retain(Retention::default()).await.unwrap().is_empty());
    assert!(engine.retain(Retention::default().for_time(HOUR).at_most(4)).await.unwrap().is_empty());
    let mut gone = engine.retain(Retention::default().at_most(3)).await.unwrap();
    assert_eq!(gone, [one]);
    gone = engine.retain(Retention::default().for_time(HOUR).at_most(1)).await.unwrap();
    gone.sort();
    assert_eq!(gone.iter().copied().collect::<std::collections::BTreeSet<_>>(), [two, three].into());
    assert_eq!(runs(&journal).len(), 3);
    while engine.retain(Retention::default().for_time(Duration::ZERO)).await.unwrap() != [four] {}
    assert_eq!(runs(&journal), [waiting.run, ChildRun::run_of(waiting.run, &"child".into())]);
    let mut pruned = Vec::new();
    let reader = journal.reader();
    let told = reader.each_record(|record| {
        if let Some(Told::Prune { runs, reason, .. }) = Told::read(record.content) {
            assert_eq!(reason, "retention");
            pruned.extend(runs.iter().map(|gone| gone.run));
        }
    });
    told.unwrap();
    pruned.sort();
    let mut all = vec![one, two, three, four];
    all.sort();
    assert_eq!(pruned, all, "a record names each");
    assert!(engine.run_or_resume("order 0", diamond()).await.is_err(), "it is not started anew");
}

#[tokio::test]
async fn a_child_is_kept_as_long_as_the_run_above_it() {
    let (journal, world) = (Journal::in_memory(), Shared::default());
    let family = with_child(&journal, false);
    let ending = family.start(above()).await.unwrap();
    let child = ChildRun::run_of(ending.run, &"child".into());
    // One finished run besides its child: the child does not count.
    assert!(family.retain(Retention::default().at_most(1)).await.unwrap().is_empty());
    let automatic = world::engine(&journal, &world).retention(Retention::default().at_most(0));
    let newer = automatic.start(diamond()).await.unwrap().run;
    assert_eq!(runs(&journal), [newer], "both are gone, and only what the first call found");
    let next = automatic.start(diamond()).await.unwrap().run;
    assert_eq!(runs(&journal), [newer, next]);
    assert_ne!(child, newer);
}
