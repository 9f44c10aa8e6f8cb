//! Steps that are bound to a machine, with workers on several.

use crate::server::Server;
use crate::{MOST, is_completed, ledger, wait_for, work_dir, worker};
use fulcrum_engine::postgres::{Options, Postgres, Worker};
use fulcrum_engine::state::{Journal, RunId};
use fulcrum_engine::{
    Durability, Engine, EngineError, Event, Outcome, Phase, Plan, Session, StepError, StepSpec, Steps, step,
};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A worker that was killed in the midst of a step that only its machine may carry out: the worker of the other machine
/// leaves the step alone, and the run waits until a worker is there again.
#[tokio::test(flavor = "multi_thread")]
async fn a_bound_step_goes_on_at_its_machine_only() {
    let Some(server) = Server::start() else { return };
    let dir = work_dir(&server);
    let store = server.open(worker::options()).await;
    let (journal, config) = (store.journal(), server.config());
    let engine = worker::engine(&journal, &dir);
    let spec = |name: &str, machine: &str| StepSpec::new(name, Value::Null).bound_to(machine);
    let steps = vec![
        spec("work/0", "one"),
        spec("hold/1", "two").after(["work/0"]),
        spec("work/2", "one").after(["hold/1"]),
        StepSpec::new("work/3", Value::Null).after(["work/2"]),
    ];
    let run = engine.submit("one", Plan::new("bound", steps).unwrap()).await.unwrap();
    let one = worker::start_on("one", &config, &dir);
    wait_for("the run waits for machine two", async || waits_for(&store, run).await == ["two"]).await;
    let first = worker::start_on("two", &config, &dir);
    let has_begun = |process| ledger::read(&dir, &run.to_string()).iter().any(|line| line.process == process);
    wait_for("the step has begun", async || has_begun(first.id())).await;
    let killed = first.id();
    first.kill();
    wait_for("the run waits again", async || waits_for(&store, run).await == ["two"]).await;
    std::fs::write(dir.join(worker::GO), "").unwrap();
    let second = worker::start_on("two", &config, &dir);
    wait_for("the run is completed", async || is_completed(&journal.reader(), run)).await;
    let lines = ledger::read(&dir, &run.to_string());
    ledger::check(&lines);
    for line in &lines {
        let on_two = [killed, second.id()].contains(&line.process);
        assert!(
            line.step == "work/3" || on_two == (line.step == "hold/1"),
            "{} and {killed}, {} are at work: {lines:#?}",
            one.id(),
            second.id()
        );
    }
    assert!(store.elsewhere().await.unwrap().is_empty());
}

async fn waits_for(store: &Postgres, run: RunId) -> Vec<String> {
    let elsewhere = store.elsewhere().await.unwrap();
    elsewhere
        .into_iter()
        .find(|waiting| waiting.run == run)
        .map(|waiting| waiting.machines)
        .unwrap_or_default()
}

/// What was done, and on which machine.
type Done = Arc<Mutex<Vec<String>>>;

fn engine(journal: &Journal, machine: &'static str, done: &Done) -> Engine {
    let note = move |done: &Done, verb: &str, step: &str| {
        done.lock().unwrap().push(format!("{verb} {step} on {machine}"));
    };
    let (ran, undone) = (done.clone(), done.clone());
    let press = step("press")
        .run(move |cx| {
            note(&ran, "run", cx.step().as_str());
            async { Ok(()) }
        })
        .undo(move |cx| {
            note(&undone, "undo", cx.step().as_str());
            async { Ok(()) }
        });
    let fail = step("fail")
        .run(|_| async { Err::<(), _>(StepError::fatal("as the test wants")) })
        .undo(|_| async { Ok(()) });
    let session = Session::current("a test").unwrap().with_machine(machine);
    Engine::new(journal.clone(), Steps::new().with(press).with(fail), session)
}

fn work(store: &Postgres, engine: Engine) -> (oneshot::Sender<()>, JoinHandle<()>) {
    let (stop, stopped) = oneshot::channel::<()>();
    let worker = Worker::new(store.clone(), engine);
    (stop, tokio::spawn(async move { worker.serve(async { _ = stopped.await }).await }))
}

fn phase(journal: &Journal, run: RunId) -> Phase {
    fulcrum_engine::load::load(&journal.reader(), run).unwrap().phase().clone()
}

/// A machine that is not there is waited for by name, also on the way back. What waits costs no entries.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_waits_for_a_machine_that_does_not_come_and_its_undo_does_too() {
    let Some(server) = Server::start() else { return };
    let (one, two) = (server.open(Options::default()).await, server.open(Options::default()).await);
    let (journal, done) = (one.journal(), Done::default());
    let steps = vec![
        StepSpec::new("press/a", Value::Null).bound_to("two").durability(Durability::Process),
        StepSpec::new("press/b", Value::Null)
            .bound_to("one")
            .after(["press/a"])
            .durability(Durability::Process),
        StepSpec::new("fail", Value::Null).bound_to("one").after(["press/b"]),
    ];
    let on_one = engine(&journal, "one", &done);
    let run = on_one.submit("one", Plan::new("bound", steps).unwrap()).await.unwrap();
    let (stop_one, working_one) = work(&one, on_one.clone());
    wait_for("the run waits for machine two", async || waits_for(&one, run).await == ["two"]).await;
    let waiting = fulcrum_engine::load::load(&journal.reader(), run).unwrap();
    let machines: Vec<_> = waiting.machines().into_iter().map(|(step, on)| (step.to_string(), on)).collect();
    assert_eq!(machines, [("press/a".to_owned(), "two")]);
    let head = journal.reader().header(run).unwrap().unwrap().head;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(journal.reader().header(run).unwrap().unwrap().head, head);
    assert!(done.lock().unwrap().is_empty());
    let [waiting] = &one.elsewhere().await.unwrap()[..] else { panic!("one run waits") };
    assert!(waiting.workflow == "bound" && waiting.waited >= Duration::from_secs(3), "{waiting:?}");

    let (stop_two, working_two) = work(&two, engine(&two.journal(), "two", &done));
    let is_back = async || matches!(phase(&journal, run), Phase::Ended(Outcome::RolledBack, _));
    tokio::time::timeout(MOST, wait_for("the run is rolled back", is_back)).await.unwrap();
    let expected = ["run press/a on two", "run press/b on one", "undo press/b on one", "undo press/a on two"];
    assert_eq!(*done.lock().unwrap(), expected);
    for (stop, working) in [(stop_one, working_one), (stop_two, working_two)] {
        stop.send(()).unwrap();
        working.await.unwrap();
    }
    let moves = journal.reader().entries(run).map(Result::unwrap);
    let moves =
        moves.filter(|entry| matches!(fulcrum_engine::load::decode(entry).unwrap(), Event::Waiting { .. }));
    assert_eq!(moves.count(), 3, "to two, to one, and back to two");
}

/// A program that is no worker takes a run as far as its machine goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_where_the_run_goes_on_elsewhere() -> Result<(), EngineError> {
    let Some(server) = Server::start() else { return Ok(()) };
    let store = server.open(Options::default()).await;
    let (journal, done) = (store.journal(), Done::default());
    let steps = vec![
        StepSpec::new("press/a", Value::Null),
        StepSpec::new("press/b", Value::Null).bound_to("two").after(["press/a"]),
    ];
    let ending = engine(&journal, "one", &done).start(Plan::new("bound", steps).unwrap()).await?;
    assert_eq!(ending.phase, Phase::Waiting { until: None });
    assert_eq!(engine(&journal, "one", &done).resume(ending.run).await?, ending);
    let ending = engine(&journal, "two", &done).resume(ending.run).await?;
    assert!(matches!(ending.phase, Phase::Ended(Outcome::Completed, _)), "{ending:?}");
    assert_eq!(*done.lock().unwrap(), ["run press/a on one", "run press/b on two"]);
    Ok(())
}
