//! Events are frozen: what was once written to a journal is read for ever. Every kind of event, and every
//! value of the enums within, has a file in `tests/golden`, compared byte for byte.
//!
//! A new kind does not compile here until it is named below, and fails until there is a file. A file that is
//! there is never changed: journals on disks are like it.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use fulcrum_engine::event::{Failure, FailureKind, Finding, Outcome, Session};
use fulcrum_engine::state::Digest;
use fulcrum_engine::{Event, StepId};
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
    AttemptFailed => "attempt-failed", AttemptCut => "attempt-cut", Probed => "probed",
    UnwindStarted => "unwind-started", UndoStarted => "undo-started", UndoDone => "undo-done",
    UndoFailed => "undo-failed", UndoCut => "undo-cut", Paused => "paused", Ended => "ended");
variants!(Finding, FINDINGS, finding_name,
    Absent => "absent", Partial => "partial", Done => "done", Foreign => "foreign", Unknown => "unknown");
variants!(FailureKind, FAILURES, failure_name, Retry => "retry", Fatal => "fatal");
variants!(Outcome, OUTCOMES, outcome_name,
    Completed => "completed", RolledBack => "rolled-back", NeedsOperator => "needs-operator");

/// An event of every kind, by the name of its file.
fn samples() -> BTreeMap<String, Event> {
    let step = StepId::from("retire-static/a");
    let attempt = 2;
    let session = || Session { boot_id: "b00t".into(), pid: 4711, program: "fulcrum 0.1.0".into() };
    let image = Digest::of(b"what was there");
    let mut all = vec![
        Event::Begun { workflow: "pivot".into(), plan: Digest::of(b"a plan"), session: session() },
        Event::Resumed { session: session() },
        Event::AttemptStarted { step: step.clone(), attempt, pre_image: Some(image) },
        Event::AttemptDone { step: step.clone(), attempt, output: json!({ "uid": "7", "ports": [6443] }) },
        Event::AttemptCut { step: step.clone(), attempt },
        Event::UnwindStarted { reason: "step \"x\" failed: ä".into() },
        Event::UndoStarted { step: step.clone(), attempt },
        Event::UndoDone { step: step.clone(), attempt },
        Event::UndoCut { step: step.clone(), attempt },
        Event::Paused { reason: "SIGINT".into() },
    ];
    for kind in [FailureKind::Retry, FailureKind::Fatal] {
        let failure = Failure { kind, error: "no answer within 5s".into() };
        all.push(Event::AttemptFailed { step: step.clone(), attempt, failure: failure.clone() });
        all.push(Event::UndoFailed { step: step.clone(), attempt, failure });
    }
    let why = || "a file that is not ours".to_owned();
    for finding in [
        Finding::Absent,
        Finding::Partial(why()),
        Finding::Done,
        Finding::Foreign(why()),
        Finding::Unknown(why()),
    ] {
        all.push(Event::Probed { step: step.clone(), finding });
    }
    for outcome in [Outcome::Completed, Outcome::RolledBack, Outcome::NeedsOperator] {
        all.push(Event::Ended { outcome, reason: "every step is done".into() });
    }
    let mut samples: BTreeMap<_, _> = all.into_iter().map(|event| (file_name(&event), event)).collect();
    let bare = Event::AttemptStarted { step: step.clone(), attempt: 1, pre_image: None };
    samples.insert("attempt-started-without-pre-image".into(), bare);
    let bare = Event::AttemptDone { step, attempt: 1, output: Value::Null };
    samples.insert("attempt-done-without-output".into(), bare);
    samples
}

fn file_name(event: &Event) -> String {
    let kind = event_name(event);
    match event {
        Event::Probed { finding, .. } => format!("{kind}-{}", finding_name(finding)),
        Event::AttemptFailed { failure, .. } | Event::UndoFailed { failure, .. } => {
            format!("{kind}-{}", failure_name(&failure.kind))
        }
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
    for (kind, variants) in
        [("probed", FINDINGS), ("attempt-failed", FAILURES), ("undo-failed", FAILURES), ("ended", OUTCOMES)]
    {
        for variant in variants {
            assert!(samples.contains_key(&format!("{kind}-{variant}")), "{kind}-{variant}");
        }
    }
    for event in samples.values() {
        assert_eq!(event.kind(), event_name(event));
        assert_eq!(serde_json::to_value(event).unwrap()["event"], event.kind());
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
