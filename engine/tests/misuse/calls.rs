//! Calls that the engine refuses, or keeps apart.

use crate::*;

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

/// The first run has answered the request before the second one took it in.
#[tokio::test]
async fn each_run_that_a_control_pauses_has_the_cause() {
    let journal = Journal::in_memory();
    let made = |id| (id, Made::new(|_| Ok(Value::Null)));
    let engine = with_steps(&journal, vec![made("a"), made("b")]);
    // The journal's thread may be so quick that a run has ended at the first look.
    let second = loop {
        let mut run = Box::pin(engine.start(chain(&["a", "b"])));
        if futures::poll!(run.as_mut()).is_pending() {
            break run;
        }
    };
    engine.control().pause("SIGTERM", PauseCause::Signal);
    let first = engine.start(chain(&["a", "b"])).await.unwrap();
    for ending in [first, second.await.unwrap()] {
        let expected = Phase::Paused { reason: "SIGTERM".into(), cause: PauseCause::Signal };
        assert_eq!(ending.phase, expected);
    }
}

/// A sibling that fails in each session changes nothing about the step that takes the process down.
#[tokio::test]
async fn a_run_that_takes_its_process_down_at_every_start_needs_a_person_after_five() {
    let plan = Plan::new("two", vec![step("b", &[]), step("c", &[])]).unwrap();
    let made = || ["b", "c"].map(|id| (id, Made::new(|_| Ok(Value::Null)))).into_iter().collect();
    let started = |step: &str, attempt: u32| json!({ "event": "attempt-started", "step": step, "attempt": attempt, "pre_image": null });
    let session = json!({ "boot_id": "x", "pid": 1, "program": "t" });
    let dies = |attempt: u32| {
        let failure = json!({ "kind": "retry", "error": "as told" });
        let failed =
            json!({ "event": "attempt-failed", "step": "c", "attempt": attempt, "failure": failure });
        let probed = json!({ "event": "probed", "step": "b", "finding": "absent" });
        let resumed = [json!({ "event": "resumed", "session": session }), probed];
        let resumed = resumed.into_iter().filter(move |_| attempt > 1);
        resumed.chain([started("b", attempt), started("c", attempt), failed])
    };
    let stored = serde_json::to_vec(&plan).unwrap();
    let begun =
        json!({ "event": "begun", "workflow": "two", "plan": Digest::of(&stored), "session": session });
    for (deaths, expected) in [(4, Outcome::Completed), (5, Outcome::NeedsOperator)] {
        let events = std::iter::once(begun.clone()).chain((1..=deaths).flat_map(&dies));
        let journal = Journal::in_memory();
        let commit = Commit::of(events.map(|event| event.to_string())).with_blob(stored.clone());
        let run = journal.begin("two", commit).await.unwrap().run();
        let ending = with_steps(&journal, made()).resume(run).await.unwrap();
        let (outcome, reason) = ended(&ending);
        assert_eq!(outcome, expected, "after {deaths} deaths: {reason}");
        if outcome == Outcome::NeedsOperator {
            assert!(reason.contains("died 5 times in a row") && reason.ends_with("in flight: b"), "{reason}");
            let ending = with_steps(&journal, made()).resume(run).await.unwrap();
            assert_eq!(ended(&ending).0, Outcome::Completed, "a person has tried again");
        }
    }
}

/// The process is alive: what it dropped is no death.
#[tokio::test]
async fn calls_that_are_dropped_count_as_no_death() {
    let journal = Journal::in_memory();
    for round in 0..7 {
        let (told, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let observer = Tell(Box::new(move |run, event| {
            if matches!(event, Event::AttemptStarted { .. }) {
                let _ = told.send(run);
            }
        }));
        let hanging = Made { hangs: round < 6, ..Made::new(|_| Ok(Value::Null)) };
        let engine = with_steps(&journal, vec![("a", hanging)]).observer(Arc::new(observer));
        let call = async {
            match journal.reader().runs().unwrap().first() {
                None => engine.start(one("a")).await,
                Some(header) => engine.resume(header.run).await,
            }
        };
        tokio::select! {
            ending = call => assert_eq!(ended(&ending.unwrap()), (Outcome::Completed, "every step is done".into())),
            _ = begun.recv(), if round < 6 => {}
        }
    }
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
