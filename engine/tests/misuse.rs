//! What a program can do wrong with the engine, and what the world can do to it: each ends well, or is refused by
//! name.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

mod world;

use async_trait::async_trait;
use fulcrum_engine::history::{AttemptResult, History};
use fulcrum_engine::load::load;
use fulcrum_engine::state::{Commit, Journal, MemoryDisk, Options, RunId, Timestamp};
use fulcrum_engine::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use world::{diamond, engine, step};

/// A step made of functions.
struct Made {
    run: Box<dyn Fn(&Context) -> Result<Value, StepError> + Send + Sync>,
    probe: ProbeResult,
    output: Value,
    saves: Box<dyn Fn() -> bool + Send + Sync>,
    save: Vec<u8>,
    hangs: bool,
}

impl Made {
    fn new(run: impl Fn(&Context) -> Result<Value, StepError> + Send + Sync + 'static) -> Self {
        let (run, saves) = (Box::new(run), Box::new(|| false));
        Self { run, probe: ProbeResult::Absent, output: Value::Null, saves, save: Vec::new(), hangs: false }
    }
}

#[async_trait]
impl Step for Made {
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(self.probe.clone())
    }
    async fn output(&self, _cx: &Context) -> Result<Value, StepError> {
        Ok(self.output.clone())
    }
    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let result = (self.run)(cx);
        if self.hangs {
            cx.stopped().await;
            return Err(StepError::stopped());
        }
        result
    }
    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Ok(())
    }
    fn saves(&self) -> bool {
        (self.saves)()
    }
    async fn save(&self, _cx: &Context) -> Result<Vec<u8>, StepError> {
        Ok(self.save.clone())
    }
}

/// An engine on these steps; it knows no others.
fn with_steps(journal: &Journal, steps: Vec<(&str, Made)>) -> Engine {
    let steps: BTreeMap<String, Arc<dyn Step>> =
        steps.into_iter().map(|(id, step)| (id.to_owned(), Arc::new(step) as _)).collect();
    let registry = move |spec: &StepSpec| -> Result<Arc<dyn Step>, String> {
        steps.get(spec.id.as_str()).cloned().ok_or_else(|| format!("no {}", spec.id))
    };
    let session =
        Session { boot_id: "boot-1".into(), pid: 1, program: "test 1".into(), role: Role::default() };
    Engine::new(journal.clone(), registry, session)
}

fn one(id: &str) -> Plan {
    Plan::new("one", vec![step(id, &[])]).unwrap()
}

fn chain(names: &[&str]) -> Plan {
    let after = |n: usize| if n == 0 { vec![] } else { vec![names[n - 1]] };
    Plan::new("chain", names.iter().enumerate().map(|(n, name)| step(name, &after(n))).collect()).unwrap()
}

fn ended(ending: &Ending) -> (Outcome, String) {
    match &ending.phase {
        Phase::Ended(outcome, reason) => (*outcome, reason.clone()),
        other => panic!("not ended: {other:?}"),
    }
}

fn bodies(journal: &Journal, run: RunId) -> Vec<String> {
    journal.reader().entries(run).map(|entry| entry.unwrap().body).collect()
}

/// A journal with the entries of another, as a crash after the first `count` of them leaves it.
async fn cut_after(journal: &Journal, run: RunId, count: usize, plan: &Plan) -> (Journal, RunId) {
    let copy = Journal::in_memory();
    let entries = bodies(journal, run).into_iter().take(count);
    let commit = Commit::of(entries).with_blob(serde_json::to_vec(plan).unwrap());
    let run = copy.begin(plan.workflow(), commit).await.unwrap().run();
    (copy, run)
}

/// Issue: two calls at once made a run unloadable for ever.
#[tokio::test]
async fn a_second_call_on_a_run_is_refused_by_name() {
    let journal = Journal::in_memory();
    let hanging = Made { hangs: true, ..Made::new(|_| Ok(Value::Null)) };
    let (told, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let observer = Arc::new(Tell(Box::new(move |run, _| _ = told.send(run))));
    let first = with_steps(&journal, vec![("a", hanging)]).observer(observer);
    let control = first.control();
    let policy = Policy::once(Duration::from_secs(60));
    let plan = Plan::new("one", vec![step("a", &[]).policy(policy)]).unwrap();
    let first = tokio::spawn(async move { first.start(plan).await });
    let run = begun.recv().await.unwrap();
    let other = with_steps(&journal, vec![("a", Made::new(|_| Ok(Value::Null)))]);
    let (resumed, rolled_back) = tokio::join!(other.resume(run), other.roll_back(run, "now"));
    for error in [resumed.unwrap_err(), rolled_back.unwrap_err()] {
        assert!(matches!(error, EngineError::AtWork { run: at } if at == run), "{error}");
    }
    control.pause("enough", PauseCause::Person);
    assert!(matches!(first.await.unwrap().unwrap().phase, Phase::Paused { .. }));
    assert_eq!(ended(&other.resume(run).await.unwrap()).0, Outcome::Completed);
    load(&journal.reader(), run).unwrap();
}

/// Issue: a `start` that was dropped, and a `resume` at once: what the first had in flight ran beside the second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_drop_nothing_of_the_first_call_runs_beside_the_second() {
    for round in 0..30 {
        let journal = Journal::in_memory();
        let (busy, overlaps) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let step = || {
            let (busy, overlaps) = (Arc::clone(&busy), Arc::clone(&overlaps));
            Made::new(move |_| {
                if busy.fetch_add(1, Ordering::SeqCst) > 0 {
                    overlaps.store(true, Ordering::SeqCst);
                }
                // Blocks its thread: dropping it does not end it.
                std::thread::sleep(Duration::from_millis(20));
                busy.fetch_sub(1, Ordering::SeqCst);
                Ok(Value::Null)
            })
        };
        let first = with_steps(&journal, vec![("a", step()), ("b", step())]);
        let time = Duration::from_micros(200 + 1500 * round);
        let _ = tokio::time::timeout(time, first.start(chain(&["a", "b"]))).await;
        let Some(run) = journal.reader().runs().unwrap().first().map(|header| header.run) else { continue };
        let second = with_steps(&journal, vec![("a", step()), ("b", step())]);
        match second.resume(run).await {
            Ok(ending) => assert_eq!(ended(&ending).0, Outcome::Completed, "round {round}"),
            Err(EngineError::Over { .. }) => {}
            Err(error) => panic!("round {round}: {error}"),
        }
        assert!(!overlaps.load(Ordering::SeqCst), "round {round}: two attempts at once");
        load(&journal.reader(), run).unwrap();
    }
}

struct Tell(Box<dyn Fn(RunId, &Event) + Send + Sync>);

impl Observer for Tell {
    fn event(&self, run: RunId, _time: Timestamp, event: &Event) {
        (self.0)(run, event);
    }
}

/// Issue: an output nested 127 deep was written, and could not be read.
#[tokio::test]
async fn an_output_that_could_not_be_read_back_fails_its_step() {
    for (depth, expected) in
        [(100, Outcome::Completed), (101, Outcome::RolledBack), (127, Outcome::RolledBack)]
    {
        let journal = Journal::in_memory();
        let nested = (0..depth).fold(json!(1), |inner, _| json!([inner]));
        let engine = with_steps(&journal, vec![("a", Made::new(move |_| Ok(nested.clone())))]);
        let ending = engine.start(one("a")).await.unwrap();
        assert_eq!(ended(&ending).0, expected, "{depth}");
        load(&journal.reader(), ending.run).unwrap();
    }
}

/// Nothing is begun then.
#[tokio::test]
async fn a_value_that_cannot_be_kept_is_refused_before_the_first_effect() {
    let journal = Journal::in_memory();
    let made = || vec![("a", Made::new(|_| Ok(Value::Null)))];
    let deep = (0..125).fold(json!(1), |inner, _| json!([inner]));
    let error = with_steps(&journal, made()).start(one("a").with_shared(deep)).await.unwrap_err();
    assert!(matches!(error, EngineError::Limit(_)), "{error}");
    let session = Session { boot_id: "b".into(), pid: 1, program: "p".repeat(600), role: Role::default() };
    let registry = |_: &StepSpec| Err::<Arc<dyn Step>, _>("none".to_owned());
    let error = Engine::new(journal.clone(), registry, session).start(one("a")).await.unwrap_err();
    assert!(error.to_string().contains("the program of a session: 600 bytes"), "{error}");
    assert!(journal.reader().runs().unwrap().is_empty());
    let ending = with_steps(&journal, made()).start(one("a")).await.unwrap();
    let long = Rollback::new("r".repeat(100_000)).with_mode("m".repeat(129));
    let error = with_steps(&journal, made()).roll_back(ending.run, long).await.unwrap_err();
    assert!(matches!(error, EngineError::Limit(_)), "{error}");
    let long = Rollback::new("r".repeat(100_000));
    let ending = with_steps(&journal, made()).roll_back(ending.run, long).await.unwrap();
    assert_eq!(ended(&ending).0, Outcome::RolledBack);
}

/// Issue: the reason listed 300 steps in flight, did not fit, and the run erred at each resume again.
#[tokio::test]
async fn a_deadline_with_300_steps_in_flight_rolls_the_run_back() {
    let journal = Journal::in_memory();
    let names: Vec<String> = (0..300).map(|n| format!("a-step-with-quite-a-long-name-{n:03}")).collect();
    let steps =
        names.iter().map(|name| (name.as_str(), Made { hangs: true, ..Made::new(|_| Ok(Value::Null)) }));
    let plan = Plan::new("wide", names.iter().map(|name| step(name, &[])).collect()).unwrap();
    let engine = with_steps(&journal, steps.collect()).parallelism(300);
    let ending = engine.start(plan.with_deadline(Duration::from_millis(50))).await.unwrap();
    let (outcome, reason) = ended(&ending);
    assert_eq!(outcome, Outcome::RolledBack);
    assert!(reason.contains("in flight: a-step") && reason.ends_with(" more"), "{reason}");
    assert!(bodies(&journal, ending.run).iter().all(|body| body.len() <= 4096));
}

/// Issue: such an error became an empty text.
#[tokio::test]
async fn a_long_error_keeps_its_head_and_its_tail() {
    let journal = Journal::in_memory();
    let failing = Made::new(|_| Err(StepError::fatal(format!("head {} tail", "\"".repeat(1_000_000)))));
    let ending = with_steps(&journal, vec![("a", failing)]).start(one("a")).await.unwrap();
    let mut history = History::default();
    journal.reader().entries(ending.run).for_each(|entry| history.push(&entry.unwrap()).unwrap());
    let detail = history.attempts[0].detail.clone().unwrap();
    assert!(detail.starts_with("head \"\"") && detail.ends_with("\"\" tail"), "{detail}");
    assert!(detail.len() > 600);
}

/// Issue: it looped hot, 6,500 entries in a second.
#[tokio::test]
async fn a_stop_that_was_not_asked_for_is_a_failure() {
    let journal = Journal::in_memory();
    let stopping = Made::new(|_| Err(StepError::stopped()));
    let ending = with_steps(&journal, vec![("a", stopping)]).start(one("a")).await.unwrap();
    let (outcome, reason) = ended(&ending);
    assert_eq!(outcome, Outcome::RolledBack);
    assert!(reason.contains("asked to stop, which it was not"), "{reason}");
    let failed = |body: &&String| body.contains("attempt-failed");
    assert_eq!(
        bodies(&journal, ending.run).iter().filter(failed).count(),
        3,
        "its policy has three attempts"
    );
}

/// Issue: such a step had no output, and its breakpoint was skipped.
#[tokio::test]
async fn a_step_that_a_probe_found_done_has_its_output_and_its_breakpoint() {
    let whole = Journal::in_memory();
    let plan = chain(&["a", "b"]);
    let made = || {
        let a = Made {
            probe: ProbeResult::Done,
            output: json!({ "made": "by a" }),
            ..Made::new(|_| Ok(json!({ "made": "by a" })))
        };
        let b = Made::new(|cx| match cx.output("a") {
            Some(output) if output["made"] == "by a" => Ok(Value::Null),
            other => Err(StepError::fatal(format!("a has returned {other:?}"))),
        });
        vec![("a", a), ("b", b)]
    };
    let ending = with_steps(&whole, made()).start(plan.clone()).await.unwrap();
    assert_eq!(ended(&ending).0, Outcome::Completed);
    let (journal, run) = cut_after(&whole, ending.run, 2, &plan).await; // a was started
    let ending = with_steps(&journal, made()).pause_after(["a".into()]).resume(run).await.unwrap();
    let expected = Phase::Paused { reason: "breakpoint after a".into(), cause: PauseCause::Breakpoint };
    assert_eq!(ending.phase, expected);
    let ending = with_steps(&journal, made()).pause_after(["a".into()]).resume(run).await.unwrap();
    assert_eq!(ended(&ending), (Outcome::Completed, "every step is done".into()));
}

#[tokio::test]
async fn an_observer_that_panics_does_the_run_no_harm() {
    let journal = Journal::in_memory();
    let noting = Made::new(|cx| {
        cx.note("about to be told");
        Ok(Value::Null)
    });
    struct Panics;
    impl Observer for Panics {
        fn event(&self, _: RunId, _: Timestamp, _: &Event) {
            std::panic::resume_unwind(Box::new("in event"));
        }
        fn note(&self, _: &StepId, _: &str) {
            std::panic::resume_unwind(Box::new("in note"));
        }
    }
    let engine = with_steps(&journal, vec![("a", noting)]).observer(Arc::new(Panics));
    assert_eq!(ended(&engine.start(one("a")).await.unwrap()).0, Outcome::Completed);
}

#[tokio::test]
async fn a_step_that_panics_when_asked_whether_it_saves_has_failed() {
    let journal = Journal::in_memory();
    let saves = Box::new(|| std::panic::resume_unwind(Box::new("in saves")));
    let made = Made { saves, ..Made::new(|_| Ok(Value::Null)) };
    let ending = with_steps(&journal, vec![("a", made)]).start(one("a")).await.unwrap();
    assert_eq!(ended(&ending).0, Outcome::RolledBack);
    assert!(ended(&ending).1.contains("the step panicked: in saves"), "{}", ended(&ending).1);
}

#[tokio::test]
async fn a_breakpoint_after_an_unknown_step_is_refused() {
    let (journal, world) = (Journal::in_memory(), world::Shared::default());
    let error = engine(&journal, &world).pause_after(["nope".into()]).start(diamond()).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no step nope to pause after; the plan has a, b, c, d");
    assert!(journal.reader().runs().unwrap().is_empty());
}

#[tokio::test]
async fn a_control_that_was_used_pauses_no_later_call() {
    let (journal, world) = (Journal::in_memory(), world::Shared::default());
    let engine = engine(&journal, &world);
    engine.control().pause("first", PauseCause::Person);
    let ending = engine.start(diamond()).await.unwrap();
    assert!(matches!(&ending.phase, Phase::Paused { reason, .. } if reason == "first"));
    assert_eq!(ended(&engine.resume(ending.run).await.unwrap()).0, Outcome::Completed);
    engine.control().pause("second", PauseCause::Signal);
    let ending = engine.roll_back(ending.run, "asked to").await.unwrap();
    let expected = Phase::Paused { reason: "second".into(), cause: PauseCause::Signal };
    assert_eq!(ending.phase, expected);
}

/// Nothing can end it; but it is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_blocks_its_thread_is_reported() {
    struct Notes(Mutex<Vec<String>>);
    impl Observer for Notes {
        fn event(&self, _: RunId, _: Timestamp, _: &Event) {}
        fn note(&self, _: &StepId, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }
    let (notes, journal) = (Arc::new(Notes(Mutex::default())), Journal::in_memory());
    let seen = Arc::clone(&notes);
    let blocking = Made::new(move |_| {
        let begun = Instant::now();
        while seen.0.lock().unwrap().is_empty() && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Value::Null)
    });
    let plan =
        Plan::new("one", vec![step("a", &[]).policy(Policy::once(Duration::from_millis(10)))]).unwrap();
    let observer: Arc<dyn Observer> = Arc::<Notes>::clone(&notes);
    let _ = with_steps(&journal, vec![("a", blocking)]).observer(observer).start(plan).await.unwrap();
    let notes = notes.0.lock().unwrap();
    assert!(notes[0].starts_with("a blocks its thread"), "{notes:?}");
    assert_eq!(notes.len(), 1);
}

#[tokio::test]
async fn a_step_that_never_began_and_is_unknown_blocks_no_rollback() {
    let journal = Journal::in_memory();
    let made = |id: &'static str| (id, Made::new(|_| Ok(Value::Null)));
    let engine = with_steps(&journal, vec![made("a"), made("b")]).pause_after(["a".into()]);
    let ending = engine.start(chain(&["a", "b"])).await.unwrap();
    let later = || with_steps(&journal, vec![made("a")]);
    let error = later().resume(ending.run).await.unwrap_err();
    assert!(matches!(error, EngineError::UnknownStep { .. }), "{error}");
    let ending = later().roll_back(ending.run, "asked to").await.unwrap();
    assert_eq!(ended(&ending).0, Outcome::RolledBack);
}

/// Issue: it aborted the run.
#[tokio::test]
async fn a_pre_image_that_finds_no_room_fails_its_step() {
    let disk = MemoryDisk::new();
    let journal = Journal::on(Arc::new(disk.clone()), Options { segment_bytes: 64 * 1024 }).unwrap();
    let before = Made::new({
        let disk = disk.clone();
        move |_| {
            disk.set_room(Some(disk.used()));
            Ok(Value::Null)
        }
    });
    let saving = Made { saves: Box::new(|| true), save: vec![7; 1 << 20], ..Made::new(|_| Ok(Value::Null)) };
    let engine = with_steps(&journal, vec![("a", before), ("b", saving)]);
    let ending = engine.start(chain(&["a", "b"])).await.unwrap();
    let (outcome, reason) = ended(&ending);
    assert_eq!(outcome, Outcome::RolledBack, "{reason}");
    assert!(reason.contains("step b failed: the pre-image cannot be kept"), "{reason}");
    load(&journal.reader(), ending.run).unwrap();
}

/// Issue: every step got a copy of all outputs: 16 s for 4,000 steps with 2.9 KB each.
#[tokio::test]
async fn outputs_are_shared_and_not_copied() {
    let mut times = Vec::new();
    for output in [Value::Null, json!("x".repeat(2900))] {
        let names: Vec<String> = (0..1500).map(|n| format!("s{n}")).collect();
        let made: Arc<dyn Step> = Arc::new(Made::new(move |_| Ok(output.clone())));
        let registry = move |_: &StepSpec| -> Result<Arc<dyn Step>, String> { Ok(Arc::clone(&made)) };
        let session = Session { boot_id: "b".into(), pid: 1, program: "t".into(), role: Role::default() };
        let plan = chain(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let begun = Instant::now();
        let ending = Engine::new(Journal::in_memory(), registry, session).start(plan).await.unwrap();
        assert_eq!(ended(&ending).0, Outcome::Completed);
        times.push(begun.elapsed());
    }
    // What is written and read is 20 times as much; copies for each step would be 1,000 times as much.
    assert!(times[1] < times[0] * 6, "without outputs and with: {times:?}");
}

#[tokio::test]
async fn a_run_that_takes_its_process_down_at_every_start_needs_a_person_after_five() {
    let whole = Journal::in_memory();
    let plan = chain(&["a", "b"]);
    let made = || {
        ["a", "b"].map(|id| (id, Made::new(|_| Ok(Value::Null)))).into_iter().collect::<Vec<(&str, Made)>>()
    };
    let ending = with_steps(&whole, made()).start(plan.clone()).await.unwrap();
    let entries = bodies(&whole, ending.run);
    let (begun, done, started) = (&entries[..2], &entries[2], &entries[3]);
    assert!(done.contains("attempt-done") && started.contains("attempt-started"));
    let resumed = json!({ "event": "resumed", "session": { "boot_id": "x", "pid": 1, "program": "t" } });
    let dies =
        [resumed.to_string(), json!({ "event": "probed", "step": "b", "finding": "absent" }).to_string()];
    let again = |attempt: u32| {
        let started =
            json!({ "event": "attempt-started", "step": "b", "attempt": attempt, "pre_image": null });
        dies.iter().cloned().chain([started.to_string()])
    };
    for (deaths, expected) in [(4, Outcome::Completed), (5, Outcome::NeedsOperator)] {
        let mut bodies: Vec<String> = begun.to_vec();
        bodies.extend([done.clone(), started.clone()]);
        (1..deaths).for_each(|n| bodies.extend(again(n + 1)));
        let journal = Journal::in_memory();
        let commit = Commit::of(bodies).with_blob(serde_json::to_vec(&plan).unwrap());
        let run = journal.begin("chain", commit).await.unwrap().run();
        let ending = with_steps(&journal, made()).resume(run).await.unwrap();
        let (outcome, reason) = ended(&ending);
        assert_eq!(outcome, expected, "after {deaths} deaths: {reason}");
        if outcome == Outcome::NeedsOperator {
            assert!(reason.contains("died 5 times in a row") && reason.ends_with("unsettled: b"), "{reason}");
            let ending = with_steps(&journal, made()).resume(run).await.unwrap();
            assert_eq!(ended(&ending).0, Outcome::Completed, "a person has tried again");
        }
    }
}

#[tokio::test]
async fn observers_see_the_time_of_the_entry() {
    let (journal, world) = (Journal::in_memory(), world::Shared::default());
    struct Times(Mutex<Vec<Timestamp>>);
    impl Observer for Times {
        fn event(&self, _: RunId, time: Timestamp, _: &Event) {
            self.0.lock().unwrap().push(time);
        }
    }
    let times = Arc::new(Times(Mutex::default()));
    let observer: Arc<dyn Observer> = Arc::<Times>::clone(&times);
    let ending = engine(&journal, &world).observer(observer).start(diamond()).await.unwrap();
    let kept: Vec<Timestamp> =
        journal.reader().entries(ending.run).map(|entry| entry.unwrap().time).collect();
    assert_eq!(*times.0.lock().unwrap(), kept);
}

#[tokio::test]
async fn a_step_that_saves_costs_no_sync_of_its_own() {
    for saves in [false, true] {
        let journal = Journal::in_memory();
        let names: Vec<String> = (0..20).map(|n| format!("s{n}")).collect();
        let made = names.iter().enumerate().map(|(n, name)| {
            let saves = Box::new(move || saves && n > 0);
            (name.as_str(), Made { saves, save: vec![7; 4096], ..Made::new(|_| Ok(Value::Null)) })
        });
        let engine = with_steps(&journal, made.collect());
        let before = journal.syncs();
        let ending =
            engine.start(chain(&names.iter().map(String::as_str).collect::<Vec<_>>())).await.unwrap();
        assert_eq!(ended(&ending).0, Outcome::Completed);
        assert_eq!(journal.syncs() - before, 21, "with saves: {saves}");
    }
}

/// The state that is kept says what the entries say; entries that came on top of it are taken in.
#[tokio::test]
async fn a_long_run_is_loaded_from_its_checkpoint_as_from_its_entries() {
    let journal = Journal::in_memory();
    let names: Vec<String> = (0..600).map(|n| format!("s{n}")).collect();
    let made = |n: usize| Made::new(move |_| Ok(json!({ "n": n })));
    let steps = || names.iter().enumerate().map(|(n, name)| (name.as_str(), made(n))).collect();
    let plan = chain(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let engine = with_steps(&journal, steps()).pause_after(["s590".into()]);
    let ending = engine.start(plan.clone()).await.unwrap();
    let (head, _) = journal.reader().checkpoint(ending.run).expect("a checkpoint after 1000 entries");
    assert!(head.seq > 512 && head.seq < 1184, "{head:?}");
    let loaded = load(&journal.reader(), ending.run).unwrap();
    let mut read = Run::new(Arc::new(plan));
    for entry in journal.reader().entries(ending.run) {
        read.apply(&fulcrum_engine::load::decode(&entry.unwrap()).unwrap()).unwrap();
    }
    assert_eq!(loaded, read);
    assert_eq!(loaded.output(&"s7".into()), Some(&json!({ "n": 7 })));
    // One that is not ours is not believed.
    let mut writer = journal.continue_run(ending.run).unwrap();
    writer
        .append(Commit::of([
            json!({ "event": "resumed", "session": { "boot_id": "x", "pid": 1, "program": "t" } })
                .to_string(),
        ]))
        .await
        .unwrap();
    writer.checkpoint(b"from another version".to_vec());
    drop(writer);
    let ending = with_steps(&journal, steps()).resume(ending.run).await.unwrap();
    assert_eq!(ended(&ending).0, Outcome::Completed);
    let open: Vec<RunId> = journal.open_runs().unwrap().into_iter().map(|header| header.run).collect();
    assert_eq!(open, [], "a run that is over says so");
    let _ = AttemptResult::Open;
}
