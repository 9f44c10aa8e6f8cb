//! Steps and observers that misbehave.

use crate::*;

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
        let b = Made::new(|cx| match cx.output_value("a") {
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

/// The output of an attempt is not that of a later one, which was cut short or has returned nothing.
#[tokio::test]
async fn an_output_is_that_of_the_last_attempt_or_is_not_known() {
    let journal = Journal::in_memory();
    let plan = || {
        let a = world::volatile(step("a", &[]), Durability::Process);
        Plan::new("two", vec![a, step("b", &["a"])]).unwrap()
    };
    let giving = |output: Value| Made::new(move |_| Ok(output.clone()));
    let looking = || Made::new(|cx| Ok(json!({ "a": cx.output_value("a") })));
    let engine = with_steps(&journal, vec![("a", giving(json!("first"))), ("b", looking())]);
    let run = engine.pause_after(["a".into()]).start(plan()).await.unwrap().run;
    assert_eq!(load(&journal.reader(), run).unwrap().output(&"a".into()), Some(&json!("first")));
    let hanging = Made { hangs: true, ..giving(Value::Null) };
    let engine = with_steps(&journal, vec![("a", hanging), ("b", looking())]);
    let control = engine.control();
    let engine = engine.observer(Arc::new(Tell(Box::new(move |_, event| {
        if matches!(event, Event::AttemptStarted { .. }) {
            control.pause("enough", PauseCause::Person);
        }
    }))));
    assert!(matches!(engine.resume(run).await.unwrap().phase, Phase::Paused { .. }));
    assert_eq!(load(&journal.reader(), run).unwrap().output(&"a".into()), None, "its last attempt was cut");
    let engine = with_steps(&journal, vec![("a", giving(Value::Null)), ("b", looking())]);
    assert_eq!(ended(&engine.resume(run).await.unwrap()).0, Outcome::Completed);
    let seen = load(&journal.reader(), run).unwrap().output(&"b".into()).cloned();
    assert_eq!(seen, Some(json!({ "a": null })), "it has returned nothing");
}

/// Another probe came back while a pre-image was being saved, and the run, which had ended in that turn, took it for a
/// bug of the engine.
#[tokio::test]
async fn what_comes_back_in_the_turn_in_which_a_run_ends_is_let_go() {
    let plan = Plan::new("three", vec![step("a", &[]), step("b", &[]), step("c", &[])]).unwrap();
    let fine = || Made::new(|_| Ok(Value::Null));
    let whole = Journal::in_memory();
    let engine = with_steps(&whole, vec![("a", fine()), ("b", fine()), ("c", fine())]);
    let ending = engine.start(plan.clone()).await.unwrap();
    let (journal, run) = cut_after(&whole, ending.run, 3, &plan).await; // a and b were started
    let ms = Duration::from_millis;
    let a = Made { probe: ProbeResult::Foreign("another's".into()), ..fine() };
    let b = Made { probe: ProbeResult::Done, looks_for: ms(2), ..fine() };
    let c = Made { saves: Box::new(|| true), looks_for: ms(50), ..fine() };
    let ending = with_steps(&journal, vec![("a", a), ("b", b), ("c", c)]).resume(run).await.unwrap();
    assert_eq!(ended(&ending).0, Outcome::NeedsOperator, "{}", ended(&ending).1);
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
