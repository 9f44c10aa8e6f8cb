//! The journal in PostgreSQL, on a server that the test starts: it holds what a store must, and workers that are
//! killed, stopped and cut off with it bring each run to its end.
//!
//! ```text
//! cargo test -p fulcrum-engine --test postgres                             # 60 runs of 5 steps
//! FULCRUM_POSTGRES_RUNS=1000 cargo test -p fulcrum-engine --test postgres workers_and_the_server
//!                                                                          # 1,000 runs of 20 steps
//! FULCRUM_POSTGRES_AT_ONCE=8 cargo test -p fulcrum-engine --test postgres steps_a_second -- --ignored --nocapture
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "what fails here fails the test; children and measurements speak on stdout"
)]

#[path = "../../../tests/harness/mod.rs"]
mod harness;
mod ledger;
mod link;
mod machines;
mod server;
mod worker;

use fulcrum_engine::postgres::tokio_postgres::NoTls;
use fulcrum_engine::postgres::{Options, Postgres, Worker};
use fulcrum_engine::state::{AppendError, Commit, Journal, Reader, RunId, testing};
use fulcrum_engine::{
    ChildRun, Engine, Event, Outcome, Phase, Plan, Question, Session, StepSpec, Steps, step,
};
use link::Link;
use serde_json::Value;
use server::Server;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use worker::Started;

/// The longest wait for anything, on a machine that does other things, too.
const MOST: Duration = Duration::from_secs(120);

/// What the children do.
#[test]
#[ignore = "a child of other tests"]
fn a_worker() {
    worker::work();
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_holds_what_a_store_must() {
    let Some(server) = Server::start() else { return };
    let store = server.open(Options::default()).await;
    testing::conforms(|| store.journal()).await.unwrap();
    let other = server.open(Options::default()).await;
    testing::conforms_for_two(&store.journal(), &other.journal()).await.unwrap();
    what_was_changed_is_found(&server, &store.journal()).await;
    tables_of_format_1_are_carried_over(&server).await;
    refuses_what_does_not_fit(&server).await;
}

/// They had no machines.
async fn tables_of_format_1_are_carried_over(server: &Server) {
    let runs = server.open(Options::default()).await.journal().reader().runs().unwrap();
    sql(server, "ALTER TABLE fulcrum.runs DROP COLUMN machines, DROP COLUMN machines_since").await;
    sql(server, "UPDATE fulcrum.format SET version = 1").await;
    let store = server.open(Options::default()).await;
    assert_eq!(store.journal().reader().runs().unwrap(), runs);
    assert!(store.elsewhere().await.unwrap().is_empty());
}

/// Also for a program whose runtime has one thread: reading blocks it, and comes back.
#[tokio::test(flavor = "current_thread")]
async fn postgres_holds_it_for_a_program_of_one_thread() {
    let Some(server) = Server::start() else { return };
    let store = server.open(Options::default().schema("another_one")).await;
    testing::conforms(|| store.journal()).await.unwrap();
    a_claim_is_renewed(&server, &store).await;
    a_writer_whose_claim_has_followed_is_refused(&server, &store).await;
}

async fn a_claim_is_renewed(server: &Server, store: &Postgres) {
    let short = server.open(worker::options().schema("another_one")).await;
    let mut writer = short.journal().begin("kind", Commit::of(["1"])).await.unwrap();
    tokio::time::sleep(worker::LEASE * 2).await;
    let error = store.journal().continue_run(writer.run()).err().unwrap();
    assert!(matches!(&error, AppendError::Held { by, .. } if by == short.holder()), "{error}");
    writer.append(Commit::of(["2"])).await.unwrap();
}

async fn what_was_changed_is_found(server: &Server, journal: &Journal) {
    let mut writer = journal.begin("kind", Commit::of(["1", "2", "3"])).await.unwrap();
    let run = writer.run();
    writer.append(Commit::of(["4"])).await.unwrap();
    let changes = [
        ("UPDATE fulcrum.entries SET body = '5' WHERE run = $1 AND seq = 2", "entry 2, in", "its hash is"),
        ("DELETE FROM fulcrum.entries WHERE run = $1 AND seq = 4", "entry 2, in", "its hash is"),
        ("UPDATE fulcrum.entries SET body = '2' WHERE run = $1 AND seq = 2", "entry 4, in", "it is missing"),
    ];
    for (change, place, why) in changes {
        sql(server, &change.replace("$1", &format!("'{run}'"))).await;
        let error = journal.reader().verify(run).unwrap_err();
        assert!(error.is_damage(), "{error}");
        let text = error.to_string();
        assert!(text.contains(place) && text.contains(why), "{text}");
    }
}

async fn refuses_what_does_not_fit(server: &Server) {
    let open = async |options| {
        Postgres::open_with(server.config().parse().unwrap(), NoTls, options).await.err().unwrap()
    };
    let error = open(Options::default().schema("No; DROP")).await;
    assert!(error.source.to_string().contains("a schema is named by"), "{error:?}");
    sql(server, "UPDATE fulcrum.format SET version = 3").await;
    let error = open(Options::default()).await;
    assert!(error.source.to_string().contains("its tables have format 3, this version knows 2"), "{error:?}");
}

async fn a_writer_whose_claim_has_followed_is_refused(server: &Server, store: &Postgres) {
    let mut old = store.journal().begin("kind", Commit::of(["1"])).await.unwrap();
    let (run, lease) = (old.run(), old.lease().unwrap().clone());
    sql(server, "UPDATE another_one.runs SET lease_until = clock_timestamp() - interval '1 s'").await;
    let other = server.open(Options::default().schema("another_one")).await;
    let mut new = other.journal().continue_run(run).unwrap();
    assert_eq!((lease.token(), new.lease().unwrap().token()), (1, 2));
    let error = old.append(Commit::of(["2"])).await.unwrap_err();
    assert!(matches!(error, AppendError::Fenced { token: 1, latest: 2, .. }), "{error}");
    new.append(Commit::of(["2"])).await.unwrap();
    tokio::time::timeout(MOST, lease.lost()).await.expect("the old writer is told at its next renewal");
    drop((old, lease));
    new.append(Commit::of(["3"])).await.expect("the old writer's end releases nothing of the new one's");
    assert_eq!(store.journal().reader().verify(run).unwrap().seq, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_to_a_server_that_is_gone_fails_and_says_so() {
    let Some(server) = Server::start() else { return };
    let store = server.open(Options::default().patience(Duration::from_millis(500))).await;
    let mut writer = store.journal().begin("kind", Commit::of(["1"])).await.unwrap();
    drop(server);
    let error = writer.append(Commit::of(["2"])).await.unwrap_err();
    assert!(matches!(&error, AppendError::Store(_)) && !error.is_poisoned(), "{error}");
    let text = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(text.contains("append to postgres database postgres on "), "{error}: {text}");
}

async fn sql(server: &Server, text: &str) {
    let config: fulcrum_engine::postgres::tokio_postgres::Config = server.config().parse().unwrap();
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(text).await.unwrap();
}

/// A person decides on one machine, the run goes on at another.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_carries_on_what_waits_and_what_has_children() {
    let Some(server) = Server::start() else { return };
    let store = server.open(worker::options()).await;
    let engine = with_children(&store.journal());
    let plan = Plan::new(
        "above",
        vec![StepSpec::new("child/a", Value::Null), StepSpec::new("child/b", Value::Null)],
    );
    let run = engine.submit("one", plan.unwrap()).await.unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = Worker::new(store, engine);
    let working = tokio::spawn(async move { worker.serve(async { _ = stopped.await }).await });

    let office = server.open(Options::default()).await;
    let engine = with_children(&office.journal());
    for child in ["child/a", "child/b"] {
        let child = ChildRun::run_of(run, &child.into());
        let approve = async || engine.approve(child, "ask", "ann", "").await;
        wait_for("the child asks", async || approve().await.is_ok()).await;
    }
    let reader = office.journal().reader();
    wait_for("the run is completed", async || is_completed(&reader, run)).await;
    stop.send(()).unwrap();
    working.await.unwrap();
    assert!(reader.open_runs().unwrap().is_empty());
}

fn with_children(journal: &Journal) -> Engine {
    let session = || Session::current("a test").unwrap();
    let ask =
        step("ask").run(|cx| async move { cx.approval(&Question::new("go on?")) }).undo(|_| async { Ok(()) });
    let children = Engine::new(journal.clone(), Steps::new().with(ask), session());
    let plan = |_: &_| Ok(Plan::new("child", vec![StepSpec::new("ask", Value::Null)]).unwrap());
    Engine::new(journal.clone(), Steps::new().with_step("child", ChildRun::new(children, plan)), session())
}

async fn wait_for(what: &str, is_so: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < MOST, "not within {MOST:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn is_completed(reader: &Reader, run: RunId) -> bool {
    let phase = fulcrum_engine::load::load(reader, run).map(|run| run.phase().clone());
    matches!(phase, Ok(Phase::Ended(Outcome::Completed, _)))
}

/// A process that stands still for longer than its lease: it is replaced, and its next append is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_stood_still_is_refused() {
    let Some(server) = Server::start() else { return };
    let dir = work_dir(&server);
    let store = server.open(worker::options()).await;
    let mut writer = store.journal().begin("kind", Commit::of(["1"])).await.unwrap();
    let run = writer.run();
    writer.append(Commit::of(["2"])).await.unwrap();
    drop(writer);
    wait_for("the run is released", async || store.journal().continue_run(run).is_ok()).await;
    let mut child = worker::start_appending(&server.config(), &dir, run);
    let mut lines = child.lines();
    assert!(lines.any(|line| line.ends_with("continued")));
    signal(child.id(), rustix::process::Signal::STOP);
    let error = store.journal().continue_run(run).err().unwrap();
    assert!(
        matches!(&error, AppendError::Held { by, .. } if by.contains(&child.id().to_string())),
        "{error}"
    );
    wait_for("the lease is over", async || store.journal().continue_run(run).is_ok()).await;
    std::fs::write(dir.join(worker::GO), "").unwrap();
    signal(child.id(), rustix::process::Signal::CONT);
    let line = lines.next().unwrap();
    assert!(line.starts_with(&format!("refused: run {run} was taken over")), "{line}");
    assert_eq!(store.journal().reader().verify(run).unwrap().seq, 2);
}

/// A worker that stands still in the midst of a step: another one takes the run up, and brings it to its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_worker_stands_still_is_taken_up_by_another() {
    let Some(server) = Server::start() else { return };
    let dir = work_dir(&server);
    let store = server.open(worker::options()).await;
    let journal = store.journal();
    let engine = worker::engine(&journal, &dir);
    let first = worker::start(&server.config(), &dir);
    let run = engine.submit("one", worker::chain("hold", 3)).await.unwrap();
    wait_for("the step has begun", async || !ledger::read(&dir, &run.to_string()).is_empty()).await;
    signal(first.id(), rustix::process::Signal::STOP);
    std::fs::write(dir.join(worker::GO), "").unwrap();
    let second = worker::start(&server.config(), &dir);
    wait_for("the run is completed", async || is_completed(&journal.reader(), run)).await;
    signal(first.id(), rustix::process::Signal::CONT);
    // It goes on: the next run may be either's.
    let next = engine.submit("two", worker::chain("work", 3)).await.unwrap();
    wait_for("the next run is completed", async || is_completed(&journal.reader(), next)).await;
    wait_for("the first worker gives up", async || {
        engine.submit("three", worker::chain("work", 1)).await.is_ok()
            && journal.open_runs().is_ok_and(|runs| runs.is_empty())
    })
    .await;
    let stood_still = first.id();
    first.kill();
    let lines = ledger::read(&dir, &run.to_string());
    ledger::check(&lines);
    assert!(lines.iter().any(|line| line.process == second.id() && line.what == "end"), "{lines:#?}");
    let refused = |line: &&ledger::Line| line.what == "refused";
    assert!(lines.iter().filter(refused).all(|line| line.process == stood_still), "{lines:#?}");
    assert_eq!(journal.reader().verify(run).unwrap(), journal.reader().header(run).unwrap().unwrap().head);
}

/// A worker that is cut off from the server in the midst of a step, and goes on otherwise: it stops the step before
/// another worker may take the run up. Once the way is mended, it works again.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_cut_off_stops_before_another_takes_its_run_up() {
    let Some(server) = Server::start() else { return };
    let dir = work_dir(&server);
    let store = server.open(worker::options()).await;
    let journal = store.journal();
    let engine = worker::engine(&journal, &dir);
    let link = Link::to(&server);
    let cut_off = worker::start(&link.config(), &dir);
    let run = engine.submit("one", worker::chain("hold", 3)).await.unwrap();
    wait_for("the step has begun", async || !ledger::read(&dir, &run.to_string()).is_empty()).await;
    link.cut();
    let other = worker::start(&server.config(), &dir);
    let begun_by = |id: u32| ledger::read(&dir, &run.to_string()).iter().any(|line| line.process == id);
    wait_for("the other worker takes the run up", async || begun_by(other.id())).await;
    // A step that had not been stopped would now come to its end.
    std::fs::write(dir.join(worker::GO), "").unwrap();
    wait_for("the run is completed", async || is_completed(&journal.reader(), run)).await;
    let lines = ledger::read(&dir, &run.to_string());
    ledger::check(&lines);
    assert!(lines.iter().all(|line| line.what != "refused"), "{lines:#?}");
    link.mend();
    let _ = other.kill();
    let next = engine.submit("two", worker::chain("work", 3)).await.unwrap();
    wait_for("the next run is completed", async || is_completed(&journal.reader(), next)).await;
    let by = ledger::read(&dir, &next.to_string());
    assert!(by.iter().all(|line| line.process == cut_off.id()), "{by:#?}");
    assert_eq!(ledger::read(&dir, &run.to_string()), lines, "what arrived late has changed nothing");
    assert_eq!(journal.reader().verify(run).unwrap(), journal.reader().header(run).unwrap().unwrap().head);
    let _ = cut_off.kill();
}

/// Workers and the server are killed at random. Each run ends, no step is at work in two processes at once, and
/// everything that a worker was told is durable is there.
#[test]
fn workers_and_the_server_are_killed() {
    let Some(mut server) = Server::start() else { return };
    let runs: usize = std::env::var("FULCRUM_POSTGRES_RUNS").map_or(60, |runs| runs.parse().unwrap());
    let steps = if runs > 60 { 20 } else { 5 };
    let dir = work_dir(&server);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let store = runtime.block_on(server.open(Options::default()));
    let engine = worker::engine(&store.journal(), &dir);
    let submit = async |n| engine.submit(&format!("run {n}"), worker::chain("work", steps)).await.unwrap();
    let names: BTreeSet<RunId> = (0..runs).map(|n| runtime.block_on(submit(n))).collect();
    let mut workers: Vec<Started> = (0..4).map(|_| worker::start(&server.config(), &dir)).collect();
    let (mut said, mut kills, mut server_kills) = (Vec::new(), 0, 0);
    let begun = Instant::now();
    let most = MOST + Duration::from_secs(2) * u32::try_from(runs).unwrap();
    let left = || runtime.block_on(async { store.journal().open_runs().map_or(runs, |open| open.len()) });
    loop {
        let left = left();
        if left == 0 {
            break;
        }
        assert!(begun.elapsed() < most, "{left} runs are open after {most:?}");
        if left < runs * 2 / 3 && server_kills == 0 || left < runs / 3 && server_kills == 1 {
            server.kill_and_start();
            server_kills += 1;
        } else {
            let victim = fastrand::usize(..workers.len());
            said.extend(workers.swap_remove(victim).kill());
            workers.push(worker::start(&server.config(), &dir));
            kills += 1;
        }
        std::thread::sleep(Duration::from_millis(fastrand::u64(200..800)));
    }
    let took = begun.elapsed();
    said.extend(workers.into_iter().flat_map(Started::kill));
    let refused = judge(&store.journal().reader(), &dir, &names, steps, &said);
    println!(
        "{runs} runs of {steps} steps with {kills} kills of workers and {server_kills} of the server in {took:.1?}; \
         {refused} effects were refused, {} entries were acknowledged",
        said.len()
    );
    assert!(kills > 1 && server_kills > 0, "{kills} and {server_kills}: too fast");
}

/// Returns how many effects were refused.
fn judge(
    reader: &Reader,
    dir: &std::path::Path,
    names: &BTreeSet<RunId>,
    steps: usize,
    said: &[String],
) -> usize {
    let mut refused = 0;
    let mut there: BTreeMap<String, usize> = BTreeMap::new();
    for run in names {
        reader.verify(*run).unwrap();
        assert!(is_completed(reader, *run), "run {run} ended in another way");
        for entry in reader.entries(*run).map(Result::unwrap) {
            let event: Event = fulcrum_engine::load::decode(&entry).unwrap();
            *there.entry(worker::said(*run, entry.time, &event)).or_default() += 1;
        }
        let lines = ledger::read(dir, &run.to_string());
        ledger::check(&lines);
        refused += lines.iter().filter(|line| line.what == "refused").count();
        let done: BTreeSet<_> =
            lines.iter().filter(|line| line.what == "end").map(|line| &line.step).collect();
        assert_eq!(done.len(), steps, "{lines:#?}");
    }
    for line in said {
        let left = there.get_mut(line).filter(|left| **left > 0);
        *left.unwrap_or_else(|| panic!("acknowledged, and not there: {line}")) -= 1;
    }
    refused
}

/// Four workers, and nobody kills them.
#[test]
#[ignore = "a measurement"]
fn steps_a_second() {
    let Some(server) = Server::start() else { return };
    let (runs, steps) = (200, 20);
    let dir = work_dir(&server);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let store = runtime.block_on(server.open(Options::default()));
    let engine = worker::engine(&store.journal(), &dir);
    let submit = async |n| engine.submit(&format!("run {n}"), worker::chain("nothing", steps)).await.unwrap();
    (0..runs).for_each(|n| _ = runtime.block_on(submit(n)));
    let begun = Instant::now();
    let _workers: Vec<Started> = (0..4).map(|_| worker::start(&server.config(), &dir)).collect();
    while runtime.block_on(async { store.journal().open_runs().map_or(1, |open| open.len()) }) > 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let took = begun.elapsed();
    let rate = f64::from(runs * u32::try_from(steps).unwrap()) / took.as_secs_f64();
    println!("{runs} runs of {steps} steps in {took:.2?}: {rate:.0} steps/s, with the start of 4 workers");
}

fn work_dir(server: &Server) -> std::path::PathBuf {
    let dir = server.dir().join("work");
    std::fs::create_dir(&dir).unwrap();
    dir
}

fn signal(process: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}
