//! What an author of a small workflow writes: own types, and steps from closures.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

use fulcrum_engine::state::Journal;
use fulcrum_engine::{
    Context, Engine, Outcome, Phase, Plan, PlanError, ProbeResult, Session, Step, StepError, StepSpec, Steps,
    step,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Book {
    title: String,
    pages: u32,
}

type Shelf = Arc<Mutex<BTreeSet<String>>>;

fn book(title: &str) -> Book {
    Book { title: title.to_owned(), pages: 7 }
}

fn engine(journal: &Journal, steps: Steps) -> Engine {
    Engine::new(journal.clone(), steps, Session::new("boot", 1, "test 1"))
}

/// `put/…` puts the book of its arguments on the shelf.
fn shelving(shelf: &Shelf) -> Steps {
    let (run, undo, probe) = (Arc::clone(shelf), Arc::clone(shelf), Arc::clone(shelf));
    Steps::new().with(
        step("put")
            .run(move |cx| {
                let shelf = Arc::clone(&run);
                async move {
                    let book: Book = cx.args()?;
                    shelf.lock().unwrap().insert(book.title.clone());
                    Ok(book)
                }
            })
            .undo(move |cx| {
                let shelf = Arc::clone(&undo);
                async move {
                    shelf.lock().unwrap().remove(&cx.args::<Book>()?.title);
                    Ok(())
                }
            })
            .probe(move |cx| {
                let there = probe.lock().unwrap().contains(&cx.args::<Book>().unwrap().title);
                async move { Ok(if there { ProbeResult::Done } else { ProbeResult::Absent }) }
            }),
    )
}

struct Count;

#[async_trait::async_trait]
impl Step for Count {
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }
    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let (one, two): (Book, Book) = (cx.output("put/i")?, cx.output("put/ii")?);
        cx.returns(&(one.pages + two.pages))
    }
    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Ok(())
    }
}

#[tokio::test]
async fn closures_and_the_trait_work_on_one_plan_with_the_authors_types() {
    let (journal, shelf) = (Journal::in_memory(), Shelf::default());
    let plan = Plan::new(
        "shelve",
        vec![
            StepSpec::with_args("put/i", &book("i")).unwrap(),
            StepSpec::with_args("put/ii", &book("ii")).unwrap(),
            StepSpec::new("count", Value::Null).after(["put/i", "put/ii"]),
        ],
    );
    let engine = engine(&journal, shelving(&shelf).with_step("count", Count));
    let ending = engine.start(plan.unwrap()).await.unwrap();
    assert!(matches!(ending.phase, Phase::Ended(Outcome::Completed, _)), "{:?}", ending.phase);
    assert_eq!(shelf.lock().unwrap().len(), 2);
    let run = fulcrum_engine::load::load(&journal.reader(), ending.run).unwrap();
    assert_eq!(run.output(&"count".into()), Some(&json!(14)));
    let ending = engine.roll_back(ending.run, "not wanted").await.unwrap();
    assert!(matches!(ending.phase, Phase::Ended(Outcome::RolledBack, _)), "{:?}", ending.phase);
    assert!(shelf.lock().unwrap().is_empty(), "the closures took their work back");
}

/// Neither is tried again: what is stored stays as it is.
#[tokio::test]
async fn what_is_stored_and_is_not_the_authors_type_fails_the_step_by_name() {
    for (args, reader, expected) in [
        (
            json!({ "title": "i" }),
            None,
            "the stored arguments of step put/i are not understood: missing field `pages`",
        ),
        (json!(book("i")), Some(()), "step count reads the output of step put/ii: invalid type: null"),
    ] {
        let (journal, shelf) = (Journal::in_memory(), Shelf::default());
        let mut steps = vec![StepSpec::new("put/i", args)];
        steps.extend(reader.map(|()| StepSpec::new("count", Value::Null).after(["put/i"])));
        let engine = engine(&journal, shelving(&shelf).with_step("count", Count));
        let ending = engine.start(Plan::new("shelve", steps).unwrap()).await.unwrap();
        let Phase::Ended(_, reason) = ending.phase else { panic!("{:?}", ending.phase) };
        assert!(reason.contains(expected), "{reason}");
    }
}

#[test]
fn arguments_that_cannot_be_kept_are_refused_where_they_enter() {
    let nested = (0..101).fold(Value::Null, |inner, _| json!([inner]));
    assert!(matches!(StepSpec::with_args("deep", &nested), Err(PlanError::Limit(_))));
    let no_json = std::collections::BTreeMap::from([((1, 2), 3)]);
    let error = StepSpec::with_args("odd", &no_json).unwrap_err().to_string();
    assert!(error.starts_with("the arguments of step odd cannot be written as JSON"), "{error}");
}

/// An output that is too large fails its step before the journal sees it.
#[tokio::test]
async fn a_closures_output_has_the_limits_of_every_output() {
    let journal = Journal::in_memory();
    let steps = Steps::new().with(step("big").run(|_| async { Ok("x".repeat(3001)) }));
    let plan = Plan::new("big", vec![StepSpec::new("big", Value::Null)]).unwrap();
    let ending = engine(&journal, steps).start(plan).await.unwrap();
    let Phase::Ended(Outcome::RolledBack, reason) = ending.phase else { panic!("{:?}", ending.phase) };
    assert!(reason.contains("the step's output: 3003 bytes as JSON; at most 3000 can be kept"), "{reason}");
}
