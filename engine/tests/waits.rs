//! Waiting without a process: timers, decisions, and what a kill around them leaves. Deadlines and reports of
//! steps, which go by the clock, too.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "it is a test, and the child of one")]

#[path = "../../tests/harness/mod.rs"]
mod harness;

use fulcrum_engine::history::{AttemptResult, History};
use fulcrum_engine::state::{Journal, Options, Reader, RunId, Timestamp};
use fulcrum_engine::{
    Backoff, Ending, Engine, EngineError, Outcome, Phase, Plan, Policy, ProbeResult, Question, Session,
    StepError, StepSpec, Steps, Verdict, step,
};
use harness::{Talker, test_as_child};
use serde_json::Value;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

const KEY: &str = "order 7";
const HOUR: Duration = Duration::from_secs(3600);

type Log = Arc<Mutex<Vec<String>>>;

fn session() -> Session {
    Session::new("boot", 1, "waits")
}

/// `before`, `ask` with this question, `after`. Each says what it did; an attempt is all that a step has.
fn steps(log: &Log, question: Question) -> Steps {
    let say = |log: &Log, what: &str| log.lock().unwrap().push(what.to_owned());
    let made = |name: &'static str| {
        let (run, undo) = (Arc::clone(log), Arc::clone(log));
        step(name)
            .run(move |_| {
                say(&run, name);
                async { Ok(()) }
            })
            .undo(move |_| {
                say(&undo, &format!("undo {name}"));
                async { Ok(()) }
            })
    };
    let (asked, undone) = (Arc::clone(log), Arc::clone(log));
    let ask = step("ask")
        .run(move |cx| {
            let (log, question) = (Arc::clone(&asked), question.clone());
            async move {
                let approval = cx.approval(&question)?;
                say(&log, &approval.to_string());
                Ok(approval.by)
            }
        })
        .undo(move |_| {
            say(&undone, "undo ask");
            async { Ok(()) }
        });
    Steps::new().with(made("before")).with(ask).with(made("after"))
}

fn chain() -> Plan {
    let once = |name: &str| StepSpec::new(name, Value::Null).policy(Policy::once(HOUR));
    Plan::new("order", vec![once("before"), once("ask").after(["before"]), once("after").after(["ask"])])
        .unwrap()
}

fn is(ending: &Ending, outcome: Outcome) -> bool {
    matches!(&ending.phase, Phase::Ended(found, _) if *found == outcome)
}

fn entries(journal: &Journal, run: RunId) -> usize {
    journal.reader().entries(run).count()
}

#[tokio::test]
async fn a_run_waits_for_a_decision_without_a_process_and_goes_on_with_it() {
    let (journal, log) = (Journal::in_memory(), Log::default());
    let engine = Engine::new(journal.clone(), steps(&log, Question::new("ship it?")), session());
    let ending = engine.run_or_resume(KEY, chain()).await.unwrap();
    let run = ending.run;
    assert_eq!(ending.phase, Phase::Waiting { until: None });
    // The entries of a chain, and one commit for the wait: begun and the first intent, a result and the next
    // intent, the wait.
    assert_eq!(journal.syncs(), 3);
    let written = entries(&journal, run);
    for _ in 0..3 {
        assert_eq!(engine.run_or_resume(KEY, chain()).await.unwrap(), ending, "it still waits");
    }
    assert_eq!(entries(&journal, run), written, "a look is not journalled");

    // Somebody who knows none of the steps, and is no part of the engine that works.
    let desk = Engine::new(journal.clone(), Steps::new(), Session::new("boot", 2, "desk"));
    desk.approve(run, "ask", "ann", "all is well").await.unwrap();
    let again = desk.reject(run, "ask", "bob", "").await.unwrap_err().to_string();
    assert!(
        again.contains("step ask") && again.contains("as that is decided: approved by ann (all is well)"),
        "{again}"
    );
    let ending = engine.run_or_resume(KEY, chain()).await.unwrap();
    assert!(is(&ending, Outcome::Completed), "{ending:?}");
    assert_eq!(*log.lock().unwrap(), ["before", "approved by ann (all is well)", "after"]);

    let history = History::read(&journal.reader(), run).unwrap();
    let [wait] = history.waits.as_slice() else { panic!("{history:#?}") };
    let decided = wait.decision.as_ref().unwrap();
    assert_eq!((decided.decision.verdict, decided.decision.by.as_str()), (Verdict::Approved, "ann"));
    assert_eq!((decided.session.pid, decided.session.program.as_str()), (2, "desk"));
    assert!(wait.since <= decided.time && !wait.is_open);
    assert_eq!(history.attempts[1].result, AttemptResult::Waits);
    assert_eq!(history.attempts.len(), 4, "the step that waited has two attempts, the others one");
}

#[tokio::test]
async fn a_decision_is_refused_by_name_where_nobody_asks() {
    let (journal, log) = (Journal::in_memory(), Log::default());
    let engine = Engine::new(journal.clone(), steps(&log, Question::new("ship it?")), session());
    let run = engine.run_or_resume(KEY, chain()).await.unwrap().run;
    for (step, why) in [("after", "it has not begun"), ("nowhere", "the run has no such step")] {
        let error = engine.approve(run, step, "ann", "").await.unwrap_err();
        assert!(matches!(error, EngineError::NotAsked { .. }), "{error:?}");
        assert!(error.to_string().contains(step) && error.to_string().contains(why), "{error}");
    }
    let unknown = engine.approve(RunId::new(), "ask", "ann", "").await.unwrap_err();
    assert!(matches!(unknown, EngineError::Load(_)), "{unknown:?}");
    let nameless = engine.approve(run, "ask", &"x".repeat(1000), "").await.unwrap_err();
    assert!(matches!(nameless, EngineError::Limit(_)), "{nameless:?}");
    engine.approve(run, "ask", "ann", "").await.unwrap();
    assert!(is(&engine.resume(run).await.unwrap(), Outcome::Completed));
    let late = engine.approve(run, "ask", "ann", "").await.unwrap_err().to_string();
    assert!(late.contains("the run is completed"), "{late}");
}

#[tokio::test]
async fn a_rejection_and_an_expiry_take_the_run_back() {
    let short = Duration::from_millis(1);
    for (question, expected) in [
        (Question::new("ship it?"), "rejected by bob (no): ship it?"),
        (Question::new("ship it?").expires_in(short), "nobody decided in time: ship it?"),
    ] {
        let (journal, log) = (Journal::in_memory(), Log::default());
        let engine = Engine::new(journal, steps(&log, question), session());
        let mut ending = engine.start(chain()).await.unwrap();
        if let Phase::Waiting { until } = ending.phase {
            match until {
                None => engine.reject(ending.run, "ask", "bob", "no").await.unwrap(),
                Some(until) => {
                    reached(until).await;
                    let late = engine.approve(ending.run, "ask", "ann", "").await.unwrap_err();
                    assert!(late.to_string().contains("its question has expired"), "{late}");
                }
            }
            ending = engine.resume(ending.run).await.unwrap();
        }
        assert!(is(&ending, Outcome::RolledBack), "{ending:?}");
        let Phase::Ended(_, reason) = &ending.phase else { panic!("{ending:?}") };
        assert!(reason.contains(expected), "{reason}");
        assert_eq!(*log.lock().unwrap(), ["before", "undo ask", "undo before"]);
    }
}

/// Returns once the wall clock shows this time.
async fn reached(time: Timestamp) {
    while Timestamp::now() < time {
        tokio::time::sleep(time.since(Timestamp::now())).await;
    }
}

#[tokio::test]
async fn a_run_that_waits_is_rolled_back() {
    let (journal, log) = (Journal::in_memory(), Log::default());
    let engine = Engine::new(journal, steps(&log, Question::new("ship it?")), session());
    let run = engine.start(chain()).await.unwrap().run;
    assert!(is(&engine.roll_back(run, "not wanted").await.unwrap(), Outcome::RolledBack));
    assert_eq!(*log.lock().unwrap(), ["before", "undo ask", "undo before"]);
    let late = engine.approve(run, "ask", "ann", "").await.unwrap_err().to_string();
    assert!(late.contains("the run is rolled-back"), "{late}");
}

/// The waits of one step come one after the other; none of them counts as a failure.
#[tokio::test]
async fn a_timer_is_kept_and_the_run_goes_on_after_it() {
    let journal = Journal::in_memory();
    let sleeper = step("sleep").run(|cx| async move {
        cx.sleep(Duration::from_millis(30))?;
        Ok(cx.attempt())
    });
    let engine = Engine::new(journal.clone(), Steps::new().with(sleeper), session());
    let spec = StepSpec::new("sleep", Value::Null).policy(Policy::once(HOUR));
    let plan = Plan::new("sleep", vec![spec]).unwrap();
    let before = Timestamp::now();
    let ending = engine.start(plan).await.unwrap();
    let Phase::Waiting { until: Some(until) } = ending.phase else { panic!("{ending:?}") };
    assert!(until.since(before) >= Duration::from_millis(30));
    reached(until).await;
    assert!(is(&engine.resume(ending.run).await.unwrap(), Outcome::Completed));
    let history = History::read(&journal.reader(), ending.run).unwrap();
    assert_eq!(history.attempts.len(), 2, "it did not begin to sleep anew: {history:#?}");
    assert_eq!(history.attempts[1].output, Some(2.into()));
}

/// While another step is in flight the call does not return: a timer that ends and a decision that is made
/// meanwhile are taken in at once.
#[tokio::test]
async fn a_run_at_work_takes_in_timers_and_decisions() {
    let (journal, log) = (Journal::in_memory(), Log::default());
    let slept = Arc::new(Notify::new());
    let (wake, woken) = (Arc::clone(&slept), Arc::clone(&slept));
    let asked = Arc::new(Notify::new());
    let heard = Arc::clone(&asked);
    let registry = steps(&log, Question::new("ship it?"))
        .with(step("sleep").run(move |cx| {
            let wake = Arc::clone(&wake);
            async move {
                cx.sleep(Duration::from_millis(5))?;
                wake.notify_one();
                Ok(())
            }
        }))
        .with(step("busy").run(move |_| {
            let (woken, asked) = (Arc::clone(&woken), Arc::clone(&asked));
            async move {
                woken.notified().await;
                asked.notified().await;
                Ok(())
            }
        }));
    let engine = Engine::new(journal.clone(), registry, session());
    let spec = |name: &str| StepSpec::new(name, Value::Null).policy(Policy::once(HOUR));
    let plan = vec![spec("sleep"), spec("busy"), spec("ask"), spec("after").after(["ask"])];
    let plan = Plan::new("busy", plan).unwrap();
    let desk = engine.clone();
    let decide = async {
        let run = Engine::run_of(KEY);
        // The step asks as soon as it has begun.
        while let Err(error) = desk.approve(run, "ask", "ann", "").await {
            assert!(matches!(error, EngineError::NotAsked { .. } | EngineError::Load(_)), "{error:?}");
            tokio::task::yield_now().await;
        }
        let other = Engine::new(journal.clone(), Steps::new(), session());
        let error = other.approve(run, "ask", "bob", "").await.unwrap_err();
        assert!(matches!(error, EngineError::AtWork { .. }), "{error:?}");
        heard.notify_one();
    };
    let (ending, ()) = tokio::join!(engine.run_or_resume(KEY, plan), decide);
    assert!(is(&ending.unwrap(), Outcome::Completed));
    assert_eq!(*log.lock().unwrap(), ["approved by ann", "after"]);
}

#[tokio::test]
async fn only_run_may_wait() {
    let later = Timestamp::from_micros(u64::MAX);
    let undo = step("undo")
        .run(|_| async { Ok(()) })
        .undo(move |_| async move { Err(StepError::wait_until(later)) })
        .probe(|_| async { Ok(ProbeResult::Done) });
    let engine = Engine::new(Journal::in_memory(), Steps::new().with(undo), session());
    let spec = StepSpec::new("undo", Value::Null).undo_policy(Policy::once(HOUR));
    let run = engine.start(Plan::new("undo", vec![spec]).unwrap()).await.unwrap().run;
    let ending = engine.roll_back(run, "asked to").await.unwrap();
    assert!(is(&ending, Outcome::NeedsOperator), "{ending:?}");
}

#[tokio::test]
async fn a_deadline_is_over_all_attempts_and_waits_of_a_step() {
    let limit = Duration::from_millis(40);
    let quick = Backoff { initial: Duration::from_millis(1), max: Duration::from_millis(5) };
    let policy = Policy::tries(u32::MAX, HOUR).with_backoff(quick);
    let steps = || {
        Steps::new()
            .with(step("fails").run(|_| async { Err::<(), _>(StepError::retry("not yet")) }))
            .with(step("hangs").run(|_| std::future::pending::<Result<(), StepError>>()))
            .with(step("sleeps").run(|cx| async move { cx.sleep(HOUR) }))
            .with(step("asks").run(|cx| async move { cx.decision(&Question::new("ship it?")).map(drop) }))
    };
    for name in ["fails", "hangs", "sleeps", "asks"] {
        let journal = Journal::in_memory();
        let engine = || Engine::new(journal.clone(), steps(), session());
        let spec = StepSpec::new(name, Value::Null).policy(policy.clone()).within(limit);
        let before = Timestamp::now();
        let mut ending = engine().start(Plan::new("late", vec![spec]).unwrap()).await.unwrap();
        if let Phase::Waiting { until } = ending.phase {
            let until = until.unwrap();
            assert!(until.since(before) >= limit && until.since(before) < HOUR, "{name}: {until:?}");
            reached(until).await;
            ending = engine().resume(ending.run).await.unwrap();
        }
        let Phase::Ended(Outcome::RolledBack, reason) = &ending.phase else { panic!("{name}: {ending:?}") };
        assert!(reason.contains("not done within 40ms, over all its attempts"), "{name}: {reason}");
    }
}

#[tokio::test]
async fn a_report_is_seen_from_outside_while_its_step_runs_and_many_share_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let seen = Arc::new(Notify::new());
    let wake = Arc::clone(&seen);
    let busy = step("busy").run(move |cx| {
        let seen = Arc::clone(&seen);
        async move {
            (1..=1000).for_each(|n| cx.report(format!("{n} of 2000")));
            seen.notified().await;
            (1001..=2000).for_each(|n| cx.report(format!("{n} of 2000")));
            Ok(())
        }
    });
    let engine = Engine::new(journal.clone(), Steps::new().with(busy), session());
    let plan = Plan::new("busy", vec![StepSpec::new("busy", Value::Null)]).unwrap();
    let reader = Reader::open(dir.path().join("journal")).unwrap();
    let run = Engine::run_of(KEY);
    let report = |reader: &Reader| History::read(reader, run).ok()?.attempts.pop()?.report;
    let watch = async {
        // The step reports, and nothing else is committed meanwhile.
        while report(&reader).is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(report(&reader).as_deref(), Some("1000 of 2000"));
        wake.notify_one();
    };
    let both = async { tokio::join!(engine.run_or_resume(KEY, plan), watch) };
    let (ending, ()) = tokio::time::timeout(HOUR, both).await.unwrap();
    assert!(is(&ending.unwrap(), Outcome::Completed));
    assert_eq!(report(&reader).as_deref(), Some("2000 of 2000"));
    assert_eq!(journal.syncs(), 3, "begun; the first report; the last one with the result");
}

const DIR: &str = "FULCRUM_WAITS_DIR";
const VERB: &str = "FULCRUM_WAITS_VERB";

fn open(dir: &Path) -> Journal {
    let options = Options { segment_bytes: 256 * 1024, ..Options::default() };
    Journal::open_with(dir.join("journal"), "waits", options).unwrap()
}

#[test]
#[ignore = "the child of the other tests"]
fn child() {
    let dir = std::env::var_os(DIR).unwrap();
    let log = Log::default();
    let registry = steps(&log, Question::new("ship it?"));
    let engine = Engine::new(open(Path::new(&dir)), registry, Session::current("waits").unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match std::env::var(VERB).unwrap().as_str() {
        "approve" => match runtime.block_on(engine.approve(Engine::run_of(KEY), "ask", "ann", "")) {
            Ok(()) | Err(EngineError::NotAsked { .. }) => println!("\nended decided"),
            Err(error) => panic!("{error:?}"),
        },
        _ => {
            let ending = runtime.block_on(engine.run_or_resume(KEY, chain())).unwrap();
            println!("\nended {}", ending.phase);
        }
    }
}

/// Each call is a process of its own; one of them is killed, and its call is made again.
#[test]
fn a_kill_around_a_wait_or_a_decision_leaves_a_run_that_goes_on() {
    for (verb, fault) in [
        ("run", "journal/before/attempt-waits@1"),
        ("run", "commit/before-sync@3"),
        ("run", "journal/after/attempt-waits@1"),
        ("run", "journal/after/waiting@1"),
        ("approve", "commit/before-write@1"),
        ("approve", "commit/before-sync@1"),
        ("approve", "commit/before-answer@1"),
        ("run again", "journal/before/resumed@1"),
        ("run again", "journal/after/resumed@1"),
        ("run again", "journal/before/attempt-done@1"),
        ("run again", "journal/after/ended@1"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let process = |verb: &str, fault: Option<&str>| {
            let mut command = test_as_child("child");
            command.env(DIR, dir.path()).env(VERB, verb);
            fault.map(|fault| command.env("FULCRUM_FAULT", fault));
            let mut child = Talker::start(&mut command);
            let ended = child.lines().find_map(|line| Some(line.strip_prefix("ended ")?.to_owned()));
            (child.wait(), ended)
        };
        for (call, expected) in [("run", "waiting"), ("approve", "decided"), ("run again", "completed")] {
            if call == verb {
                assert_eq!(process(call, Some(fault)).0.signal(), Some(9), "{verb}: {fault}");
            }
            assert_eq!(process(call, None).1.as_deref(), Some(expected), "{call} after {verb}: {fault}");
        }
        let reader = Reader::open(dir.path().join("journal")).unwrap();
        let history = History::read(&reader, Engine::run_of(KEY)).unwrap();
        assert_eq!(history.outcome, Some(Outcome::Completed), "{verb}: {fault}");
        let decided = history.waits.iter().filter(|wait| wait.decision.is_some()).count();
        assert_eq!(decided, 1, "{verb}: {fault}: {history:#?}");
    }
}
