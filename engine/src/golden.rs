//! Events are frozen: what was once written to a journal is read for ever. Every kind of event, and every
//! value of the enums within, has a file in `tests/golden`, compared byte for byte.
//!
//! A new kind does not compile here until it is named below, and fails until there is a file. A file that is
//! there is never changed: journals on disks are like it.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use crate::event::{Event, Failure, FailureKind, Outcome, PauseCause, ProbeResult, Role, Session};
use crate::load::decode;
use crate::plan::StepId;
use crate::wait::{Decision, Verdict, Wait};
use fulcrum_state::{Digest, Entry, Timestamp};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Names all variants of an enum: `$all` lists them, `$name` finds that of a value.
macro_rules! variants {
    ($of:ident, $all:ident, $name:ident, $($variant:ident => $text:literal),+ $(,)?) => {
        const $all: &[&str] = &[$($text),+];
        fn $name(value: &$of) -> &'static str {
            match value { $($of::$variant { .. } => $text),+ }
        }
    };
}

variants!(Event, EVENTS, event_name,
    Begun => "begun", Resumed => "resumed", AttemptStarted => "attempt-started", AttemptDone => "attempt-done",
    AttemptFailed => "attempt-failed", AttemptCut => "attempt-cut", AttemptWaits => "attempt-waits", Decided => "decided", Reported => "reported", Probed => "probed",
    RollbackStarted => "unwind-started", UndoStarted => "undo-started", UndoDone => "undo-done",
    UndoFailed => "undo-failed", UndoCut => "undo-cut", Paused => "paused", Waiting => "waiting", Adopted => "adopted", Abandoned => "abandoned", Ended => "ended");
variants!(ProbeResult, PROBE_RESULTS, result_name,
    Absent => "absent", Partial => "partial", Done => "done", Foreign => "foreign", Unknown => "unknown");
variants!(PauseCause, CAUSES, cause_name,
    Person => "person", Signal => "signal", Breakpoint => "breakpoint", Queued => "queued", Above => "above",
    Unknown => "unknown");
variants!(Wait, WAITS, wait_name, Time => "time", Decision => "decision", Run => "run");
variants!(Verdict, VERDICTS, verdict_name,
    Approved => "approved", Rejected => "rejected", Expired => "expired");
variants!(FailureKind, FAILURES, failure_name, Retry => "retry", Fatal => "fatal");
variants!(Outcome, OUTCOMES, outcome_name,
    Completed => "completed", RolledBack => "rolled-back", NeedsOperator => "needs-operator", Abandoned => "abandoned");

const KNOWN_CAUSES: [PauseCause; 5] =
    [PauseCause::Person, PauseCause::Signal, PauseCause::Breakpoint, PauseCause::Queued, PauseCause::Above];

/// An event of every kind, by the name of its file.
fn samples() -> BTreeMap<String, Event> {
    let step = StepId::from("retire-static/a");
    let attempt = 2;
    let session = || Session::new("b00t", 4711, "fulcrum 0.1.0");
    let image = Digest::of(b"what was there");
    let mut all = vec![
        Event::Begun {
            workflow: "pivot".into(),
            plan: Digest::of(b"a plan"),
            session: session(),
            key: None,
            shape: None,
        },
        Event::Resumed { session: session(), same_process: false },
        Event::AttemptStarted { step: step.clone(), attempt, pre_image: Some(image), deadline: None },
        Event::AttemptDone {
            step: step.clone(),
            attempt,
            output: json!({ "uid": "7", "ports": [6443] }),
            facts: Vec::new(),
        },
        Event::AttemptCut { step: step.clone(), attempt, facts: Vec::new() },
        Event::RollbackStarted { reason: "step \"x\" failed: ä".into(), mode: None },
        Event::UndoStarted { step: step.clone(), attempt },
        Event::UndoDone { step: step.clone(), attempt, facts: Vec::new() },
        Event::UndoCut { step: step.clone(), attempt, facts: Vec::new() },
        Event::Paused { reason: "SIGINT".into(), cause: PauseCause::Unknown },
        Event::Adopted { plan: Digest::of(b"a plan"), reason: "version 2".into(), session: session() },
        Event::Abandoned { reason: "not wanted".into(), session: session() },
    ];
    all.push(Event::Reported { step: step.clone(), attempt, text: "37 of 200".into() });
    for wait in waits() {
        all.push(Event::AttemptWaits { step: step.clone(), attempt, wait, facts: Vec::new() });
    }
    for verdict in [Verdict::Approved, Verdict::Rejected, Verdict::Expired] {
        let decision = Decision::new(verdict, "ann");
        all.push(Event::Decided { step: step.clone(), decision, session: session() });
    }
    all.push(Event::Waiting { until: Some(Timestamp::from_micros(1_700_000_000_000_000)) });
    all.extend(failures(&step, attempt));
    let why = || "a file that is not ours".to_owned();
    for result in [
        ProbeResult::Absent,
        ProbeResult::Partial(why()),
        ProbeResult::Done,
        ProbeResult::Foreign(why()),
        ProbeResult::Unknown(why()),
    ] {
        all.push(Event::Probed { step: step.clone(), result, output: Value::Null, facts: Vec::new() });
    }
    for cause in KNOWN_CAUSES {
        all.push(Event::Paused { reason: "SIGINT".into(), cause });
    }
    for outcome in [Outcome::Completed, Outcome::RolledBack, Outcome::NeedsOperator, Outcome::Abandoned] {
        all.push(Event::Ended { outcome, reason: "every step is done".into() });
    }
    let mut samples: BTreeMap<_, _> = all.into_iter().map(|event| (file_name(&event), event)).collect();
    samples.extend(variations(&step, &session));
    samples
}

/// What an attempt and an undo say that have failed.
fn failures(step: &StepId, attempt: u32) -> Vec<Event> {
    let mut all = Vec::new();
    for kind in [FailureKind::Retry, FailureKind::Fatal] {
        let failure = Failure { kind, error: "no answer within 5s".into() };
        all.push(Event::AttemptFailed {
            step: step.clone(),
            attempt,
            failure: failure.clone(),
            facts: Vec::new(),
        });
        all.push(Event::UndoFailed { step: step.clone(), attempt, failure, facts: Vec::new() });
    }
    all
}

fn waits() -> [Wait; 3] {
    let until = Timestamp::from_micros(1_700_000_000_000_000);
    let run = "0199a0b0-0000-7000-8000-000000000001".parse().unwrap();
    [
        Wait::Time { until },
        Wait::Decision { question: "Drop \"it\"?".into(), expires: Some(until) },
        Wait::Run { run, until: Some(until) },
    ]
}

/// Events with the fields that most have not, by the names of their files.
fn variations(step: &StepId, session: &dyn Fn() -> Session) -> BTreeMap<String, Event> {
    let mut samples = BTreeMap::new();
    let step_of = || step.clone();
    let deadline = Some(Timestamp::from_micros(1_700_000_000_000_000));
    let started = Event::AttemptStarted { step: step_of(), attempt: 1, pre_image: None, deadline };
    samples.insert("attempt-started-with-deadline".into(), started);
    let wait = Wait::Decision { question: "Drop it?".into(), expires: None };
    let waits = Event::AttemptWaits { step: step_of(), attempt: 1, wait, facts: Vec::new() };
    samples.insert("attempt-waits-without-expiry".into(), waits);
    let run = "0199a0b0-0000-7000-8000-000000000001".parse().unwrap();
    let wait = Wait::Run { run, until: None };
    samples.insert(
        "attempt-waits-for-a-run-without-end".into(),
        Event::AttemptWaits { step: step_of(), attempt: 1, wait, facts: Vec::new() },
    );
    let decision = Decision::new(Verdict::Approved, "ann").with_note("seen");
    let decided = Event::Decided { step: step_of(), decision, session: session() };
    samples.insert("decided-with-note".into(), decided);
    samples.insert("waiting-without-end".into(), Event::Waiting { until: None });
    let bare = Event::AttemptStarted { step: step.clone(), attempt: 1, pre_image: None, deadline: None };
    samples.insert("attempt-started-without-pre-image".into(), bare);
    let output = json!({ "leader": "x" });
    let probed = Event::Probed { step: step.clone(), result: ProbeResult::Done, output, facts: Vec::new() };
    samples.insert("probed-done-with-output".into(), probed);
    let with_role = session().with_role(Role::new("guard"));
    samples.insert("resumed-with-role".into(), Event::Resumed { session: with_role, same_process: false });
    samples.insert("resumed-with-actor".into(), with_actor(session()));
    let same = Event::Resumed { session: session(), same_process: true };
    samples.insert("resumed-by-the-same-process".into(), same);
    let (reason, mode) = ("asked for".into(), Some("keep-port-sharing".into()));
    samples.insert("unwind-started-with-mode".into(), Event::RollbackStarted { reason, mode });
    let (workflow, plan, key) = ("pivot".into(), Digest::of(b"a plan"), Some("order 7".into()));
    samples.insert(
        "begun-with-key".into(),
        Event::Begun { workflow, plan, session: session(), key, shape: None },
    );
    let shape = Some(Digest::of(b"a shape"));
    let (workflow, plan) = ("pivot".into(), Digest::of(b"a plan"));
    let begun = Event::Begun { workflow, plan, session: session(), key: None, shape };
    samples.insert("begun-with-shape".into(), begun);
    let bare = Event::AttemptDone { step: step.clone(), attempt: 1, output: Value::Null, facts: Vec::new() };
    samples.insert("attempt-done-without-output".into(), bare);
    samples.extend(with_facts(step));
    samples
}

/// What a step has recorded, in every event that has it.
fn with_facts(step: &StepId) -> BTreeMap<String, Event> {
    let (step, attempt, output) = (|| step.clone(), 2, Value::Null);
    let facts = || vec![json!({ "name": "a file", "after": null }), json!("ä")];
    let failure = || Failure { kind: FailureKind::Retry, error: "no answer within 5s".into() };
    let wait = Wait::Time { until: Timestamp::from_micros(1_700_000_000_000_000) };
    let result = ProbeResult::Done;
    let all = [
        Event::AttemptDone { step: step(), attempt, output: output.clone(), facts: facts() },
        Event::AttemptFailed { step: step(), attempt, failure: failure(), facts: facts() },
        Event::AttemptCut { step: step(), attempt, facts: facts() },
        Event::AttemptWaits { step: step(), attempt, wait, facts: facts() },
        Event::Probed { step: step(), result, output, facts: facts() },
        Event::UndoDone { step: step(), attempt, facts: facts() },
        Event::UndoFailed { step: step(), attempt, failure: failure(), facts: facts() },
        Event::UndoCut { step: step(), attempt, facts: facts() },
    ];
    for event in &all {
        assert_eq!(event.facts(), facts());
    }
    all.into_iter().map(|event| (format!("{}-with-facts", event.kind()), event)).collect()
}

/// A session that says who acted with what.
fn with_actor(session: Session) -> Event {
    let actor = [("uid", "0"), ("login-uid", "1000"), ("executable-sha256", "ab12")];
    let actor = actor.map(|(name, fact)| (name.to_owned(), fact.to_owned())).into();
    Event::Resumed { session: session.with_actor(actor), same_process: false }
}

fn file_name(event: &Event) -> String {
    let kind = event_name(event);
    match event {
        Event::Probed { result, .. } => format!("{kind}-{}", result_name(result)),
        Event::Paused { cause: PauseCause::Unknown, .. } => kind.to_owned(),
        Event::Paused { cause, .. } => format!("{kind}-{}", cause_name(cause)),
        Event::AttemptFailed { failure, .. } | Event::UndoFailed { failure, .. } => {
            format!("{kind}-{}", failure_name(&failure.kind))
        }
        Event::AttemptWaits { wait, .. } => format!("{kind}-{}", wait_name(wait)),
        Event::Decided { decision, .. } => format!("{kind}-{}", verdict_name(&decision.verdict)),
        Event::Ended { outcome, .. } => format!("{kind}-{}", outcome_name(outcome)),
        _ => kind.to_owned(),
    }
}

fn golden() -> BTreeMap<String, String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let files = std::fs::read_dir(dir).unwrap().map(|file| {
        let path = file.unwrap().path();
        assert_eq!(path.extension().unwrap(), "json", "{}", path.display());
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read_to_string(path).unwrap())
    });
    files.collect()
}

#[test]
fn every_event_is_written_and_read_as_ever() {
    let (samples, mut golden) = (samples(), golden());
    for (name, event) in &samples {
        let written = format!("{}\n", serde_json::to_string(event).unwrap());
        let file = golden.remove(name).unwrap_or_else(|| {
            panic!("tests/golden/{name}.json is missing; if the event is new, it holds:\n{written}")
        });
        assert_eq!(written, file, "{name}: journals that are on disks are not like this");
        assert_eq!(serde_json::from_str::<Event>(&file).unwrap(), *event, "{name}");
        let mut with_more: Value = serde_json::from_str(&file).unwrap();
        with_more["of-a-later-version"] = json!(1);
        assert_eq!(serde_json::from_value::<Event>(with_more).unwrap(), *event, "fields may be added");
    }
    assert!(golden.is_empty(), "no event is like {:?}", golden.keys());
}

#[test]
fn every_variant_has_a_golden_file() {
    let samples = samples();
    let kinds: BTreeSet<&str> = samples.values().map(event_name).collect();
    assert_eq!(kinds, EVENTS.iter().copied().collect());
    for (kind, variants) in [
        ("probed", PROBE_RESULTS),
        ("attempt-failed", FAILURES),
        ("undo-failed", FAILURES),
        ("attempt-waits", WAITS),
        ("decided", VERDICTS),
        ("ended", OUTCOMES),
    ] {
        for variant in variants {
            assert!(samples.contains_key(&format!("{kind}-{variant}")), "{kind}-{variant}");
        }
    }
    for cause in CAUSES.iter().filter(|cause| **cause != "unknown") {
        assert!(samples.contains_key(&format!("paused-{cause}")), "paused-{cause}");
    }
    for event in samples.values() {
        assert_eq!(event.kind(), event_name(event));
        assert_eq!(serde_json::to_value(event).unwrap()["event"], event.kind());
    }
}

/// Version 0.1 said it in the reason alone.
#[test]
fn a_pause_of_version_0_1_has_the_cause_that_its_reason_tells() {
    for (reason, expected) in [
        ("SIGTERM", PauseCause::Signal),
        ("SIGINT", PauseCause::Person),
        ("breakpoint after b", PauseCause::Breakpoint),
        ("not done within 5s", PauseCause::Unknown),
    ] {
        let entry = Entry {
            run: "0199a0b0-0000-7000-8000-000000000001".parse().unwrap(),
            seq: 7,
            time: Timestamp::now(),
            prev: Digest::of(b""),
            hash: Digest::of(b""),
            over: false,
            blobs: Vec::new(),
            body: json!({ "event": "paused", "reason": reason }).to_string(),
        };
        let expected = Event::Paused { reason: reason.into(), cause: expected };
        assert_eq!(decode(&entry).unwrap(), expected);
    }
}

/// A journal of a later version is refused, never guessed at.
#[test]
fn an_event_that_is_not_known_is_not_read() {
    for text in [r#"{"event":"teleported","step":"a"}"#, r#"{"event":"ended","outcome":"so-so","reason":""}"#]
    {
        assert!(serde_json::from_str::<Event>(text).is_err(), "{text}");
    }
}
