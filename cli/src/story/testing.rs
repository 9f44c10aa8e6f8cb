//! A run that was cut, failed, went on after a reboot and was undone, with a text of the test's in every
//! place that has a text.

use super::{Change, Moment, Story};
use fulcrum_engine::state::{Digest, Entry, Head, RunHeader, RunId, Timestamp};
use fulcrum_engine::{
    Event, Failure, FailureKind, Outcome, PauseCause, Plan, ProbeResult, Session, StepSpec,
};
use serde_json::{Value, json};

/// The steps of the plan.
pub(crate) const STEPS: [&str; 4] =
    ["lock", "share-port/kube-apiserver", "share-port/kube-scheduler", "verify"];

fn plan(text: &str) -> Plan {
    let hostile = format!("step-{text}");
    let step = |id: &str, after: &[&str]| StepSpec::new(id, Value::Null).after(after.iter().copied());
    let steps = vec![
        step(STEPS[0], &[]),
        step(STEPS[1], &STEPS[..1]),
        step(STEPS[2], &STEPS[..1]),
        step(STEPS[3], &STEPS[1..3]),
        step(&hostile, &STEPS[3..]),
    ];
    Plan::new("pivot", steps).unwrap().with_shared(json!({ "why": text }))
}

fn events(text: &str) -> Vec<Event> {
    let session = |boot: &str, pid: u32| -> Session {
        let (boot, program) = (format!("{boot}{text}"), format!("fulcrum {text}"));
        serde_json::from_value(json!({ "boot_id": boot, "pid": pid, "program": program })).unwrap()
    };
    let failure = Failure { kind: FailureKind::Retry, error: text.to_owned() };
    let start = |step: &str, attempt| Event::AttemptStarted {
        step: step.into(),
        attempt,
        pre_image: None,
        deadline: None,
    };
    let done = |step: &str, attempt, output| Event::AttemptDone {
        step: step.into(),
        attempt,
        output,
        facts: Vec::new(),
    };
    let [lock, api, scheduler, _] = STEPS;
    let undo = |step: &str| {
        let step = step.to_owned();
        let started = Event::UndoStarted { step: step.as_str().into(), attempt: 1 };
        [started, Event::UndoDone { step: step.as_str().into(), attempt: 1, facts: Vec::new() }]
    };
    let mut events = vec![
        Event::Begun {
            workflow: "pivot".into(),
            plan: Digest::of(b"plan"),
            session: session("b1", 7),
            key: None,
            shape: None,
        },
        start(lock, 1),
        done(lock, 1, json!({ text: text })),
        start(api, 1),
        start(scheduler, 1),
        Event::AttemptFailed { step: api.into(), attempt: 1, failure, facts: Vec::new() },
        Event::Resumed { session: session("b2", 8), same_process: false },
        Event::Probed {
            step: scheduler.into(),
            result: ProbeResult::Partial(text.into()),
            output: Value::Null,
            facts: Vec::new(),
        },
        start(api, 2),
        done(api, 2, json!(text)),
        Event::Paused { reason: text.into(), cause: PauseCause::Person },
        Event::Resumed { session: session("b2", 9), same_process: false },
        Event::RollbackStarted { reason: text.into(), mode: None },
    ];
    events.extend([scheduler, api, lock].into_iter().flat_map(undo));
    events.push(Event::Ended { outcome: Outcome::RolledBack, reason: text.into() });
    events
}

/// The run, with `text` wherever a text can be.
pub(crate) fn story(text: &str) -> Story {
    let run = RunId::from_bytes([7; 16]);
    let created = Timestamp::from_micros(1_800_000_000_000_000);
    let head = Head { seq: 0, hash: Digest::of(b"head") };
    let header =
        RunHeader { run, kind: "pivot".into(), created, after: None, head, over: false, damage: None };
    let plan = serde_json::to_vec(&plan(text)).unwrap();
    let mut story = Story::new(&header);
    for (event, seq) in events(text).iter().zip(1..) {
        let time = Timestamp::from_micros(created.as_micros() + seq * 700_000);
        let body = serde_json::to_string(event).unwrap();
        let entry =
            Entry { run, seq, time, prev: head.hash, hash: head.hash, over: false, blobs: vec![], body };
        story.push(&entry, |_| Ok(plan.clone())).unwrap();
    }
    story
}

#[test]
fn a_run_is_told_as_it_was() {
    let story = story("why");
    let cut = story.attempts().iter().find(|attempt| attempt.step.as_str() == STEPS[2]).unwrap();
    let after = story.end(cut).since(story.header.created);
    assert_eq!(after.as_millis(), 4200, "its process was last heard of with entry 6");
    assert_eq!(story.standing(), super::Standing::RolledBack);
    assert!(story.failed(), "it went back without having been completed");
    let changes: Vec<Change> = story
        .moments
        .iter()
        .filter_map(|moment| match moment {
            Moment::Session { change, .. } => Some(*change),
            _ => None,
        })
        .collect();
    assert_eq!(changes, [Change::Begun, Change::Rebooted, Change::Resumed]);
    assert_eq!(story.counts(), super::Counts { done: 2, undone: 3, failed: 1, cut: 1 });
}
