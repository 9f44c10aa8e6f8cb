//! Values that are too large, or many.

use crate::*;

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
    let session = Session {
        boot_id: "b".into(),
        pid: 1,
        program: "p".repeat(600),
        role: Role::default(),
        actor: fulcrum_engine::Actor::new(),
    };
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

/// Issue: every step got a copy of all outputs: 16 s for 4,000 steps with 2.9 KB each.
#[tokio::test]
async fn outputs_are_shared_and_not_copied() {
    let places = Arc::new(Mutex::new(Vec::new()));
    let looking = || {
        let places = Arc::clone(&places);
        Made::new(move |cx| {
            let output = cx.output("a").ok_or_else(|| StepError::fatal("a has no output"))?;
            places.lock().unwrap().push(std::ptr::from_ref(output).addr());
            Ok(Value::Null)
        })
    };
    let giving = Made::new(|_| Ok(json!("x".repeat(2900))));
    let engine = with_steps(&Journal::in_memory(), vec![("a", giving), ("b", looking()), ("c", looking())]);
    let ending = engine.start(chain(&["a", "b", "c"])).await.unwrap();
    assert_eq!(ended(&ending).0, Outcome::Completed);
    let places = places.lock().unwrap();
    assert_eq!((places.len(), places[0]), (2, places[1]), "each step sees the same value");
}
