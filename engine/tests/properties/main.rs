//! Random plans on random schedules, against a small model that knows sets of steps and no state machine.
//!
//! Most of it drives the pure state machine, where thousands of runs with crashes, pauses and failures take
//! seconds and nothing depends on a clock. Some hundred runs are on the real executor.
//!
//! * `FULCRUM_PROPERTIES_SEED=<n>`: the seed to use; it is printed, and told with every failure.
//! * `FULCRUM_PROPERTIES_CASES=<n>`: how many cases of each property.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "it is a test: it fails, and tells its seed")]

mod executor;
mod model;
mod shape;
mod simulation;

use fulcrum_engine::event::{Failure, FailureKind, PauseCause, Session};
use fulcrum_engine::run::Action;
use fulcrum_engine::state::{Digest, RunId, Timestamp};
use fulcrum_engine::status::Status;
use fulcrum_engine::wait::{Decision, Verdict, Wait};
use fulcrum_engine::{Event, Outcome, Plan, ProbeResult, Run, StepId};
use model::Model;
use proptest::prelude::*;
use serde_json::Value;
use shape::{STEPS_MAX, holds, name, shape};
use simulation::{Simulation, Tally};
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

/// Crashes, pauses, failures of every kind at every moment: nothing runs before what it depends on is done,
/// nothing is undone before what depends on it is, nothing runs to be undone, what is read back is what was,
/// and the run ends as the model says with the effects that the end promises.
#[test]
fn every_schedule_comes_to_the_end_that_the_model_says() {
    let tally = RefCell::new(Tally::new());
    holds(10_000, (shape(), prop::collection::vec(any::<u8>(), 0..120)), |(shape, luck)| {
        let plan = shape.plan(Duration::from_secs(1));
        Simulation::new(plan, shape.parallelism, &luck, &mut tally.borrow_mut()).carry_on()
    });
    let tally = tally.into_inner();
    println!("{tally:?}");
    for what in [
        "completed",
        "rolled back",
        "needs a person",
        "a crash",
        "a step failed",
        "two failures at once",
        "a failure on the way back",
        "a volatile effect lost",
        "a step waits",
        "a run waits",
        "a decision on a run that waits",
        "a run that waits is rolled back",
    ] {
        assert!(tally.get(what).is_some_and(|times| *times > 10), "it hardly ever came to this: {what}");
    }
}

/// Events in any order, most of them illegal: no panic, an error leaves the run as it was, and what is
/// accepted is what the model accepts.
#[test]
fn what_cannot_follow_is_an_error_and_changes_nothing() {
    let event = (0..36_u8, 0..=STEPS_MAX, 0..4_u32, any::<u8>());
    let accepted = RefCell::new([0_u32; 2]);
    holds(5_000, (shape(), prop::collection::vec(event, 0..60)), |(shape, events)| {
        let plan = Arc::new(shape.plan(Duration::from_secs(1)));
        let (mut run, mut model) = (Run::new(Arc::clone(&plan)), Model::default());
        for (kind, step, attempt, variant) in events {
            let event = event_of(kind, name(step), attempt, variant, &run);
            let before = run.clone();
            match run.apply(&event) {
                Ok(()) => model.take(&event, &plan)?,
                Err(_) if run != before => return Err(format!("refused {event:?} and changed {before:#?}")),
                Err(_) => stands(&model, &event, &plan)?,
            }
            accepted.borrow_mut()[usize::from(run == before)] += 1;
            let _ = run.next_actions();
        }
        Ok(())
    });
    let [accepted, refused] = accepted.into_inner();
    assert!(accepted > 10_000 && refused > 10_000, "{accepted} accepted, {refused} refused");
}

/// What the run refuses, the model refuses.
fn stands(model: &Model, event: &Event, plan: &Plan) -> Result<(), String> {
    match model.clone().take(event, plan) {
        Ok(()) => Err(format!("refused {event:?}, which may follow on {model:#?}")),
        Err(_) => Ok(()),
    }
}

/// An event of a kind. Half of the kinds do what the run asks for. So the run gets somewhere.
fn event_of(kind: u8, step: StepId, attempt: u32, variant: u8, run: &Run) -> Event {
    let session = Session::new((variant % 2).to_string(), 1, "random");
    let kind_of_failure = if variant.is_multiple_of(4) { FailureKind::Fatal } else { FailureKind::Retry };
    let failure = Failure { kind: kind_of_failure, error: "as told".into() };
    let outcomes = [Outcome::Completed, Outcome::RolledBack, Outcome::NeedsOperator];
    let outcome = outcomes[usize::from(variant) % 3];
    let result = match variant % 8 {
        0 => ProbeResult::Foreign(String::new()),
        1 => ProbeResult::Unknown(String::new()),
        2 => ProbeResult::Partial(String::new()),
        3 => ProbeResult::Absent,
        _ => ProbeResult::Done,
    };
    let reason = String::new();
    match kind {
        0 => Event::Begun { workflow: String::new(), plan: Digest::of(b""), session, key: None, shape: None },
        1 => Event::Resumed { session, same_process: variant.is_multiple_of(3) },
        2 => Event::AttemptStarted { step, attempt, pre_image: None, deadline: None },
        3 => Event::AttemptDone { step, attempt, output: Value::Null, facts: Vec::new() },
        4 => Event::AttemptFailed { step, attempt, failure, facts: Vec::new() },
        5 => Event::AttemptCut { step, attempt, facts: Vec::new() },
        6 => Event::Probed { step, result, output: Value::Null, facts: Vec::new() },
        7 => Event::RollbackStarted { reason, mode: None },
        8 => Event::UndoStarted { step, attempt },
        9 => Event::UndoDone { step, attempt, facts: Vec::new() },
        10 => Event::UndoFailed { step, attempt, failure, facts: Vec::new() },
        11 => Event::UndoCut { step, attempt, facts: Vec::new() },
        12 => Event::Paused { reason, cause: PauseCause::Person },
        13 => Event::Ended { outcome, reason },
        14 => Event::AttemptWaits { step, attempt, wait: wait(variant), facts: Vec::new() },
        15 => Event::Decided { step, decision: decision(variant), session },
        16 => Event::Waiting { until: None },
        17 => Event::Reported { step, attempt, text: String::new() },
        _ => asked_for(run, variant, result, failure),
    }
}

pub(crate) fn wait(variant: u8) -> Wait {
    let until = Timestamp::from_micros(u64::from(variant));
    match variant % 3 {
        0 => Wait::Time { until },
        1 => Wait::Decision { question: String::new(), expires: None },
        _ => Wait::Run { run: RunId::of_key("another"), until: Some(until) },
    }
}

pub(crate) fn decision(variant: u8) -> Decision {
    Decision::new([Verdict::Approved, Verdict::Rejected, Verdict::Expired][usize::from(variant) % 3], "ann")
}

/// What ends the wait of a step.
pub(crate) fn end_of_wait(run: &Run, step: StepId, variant: u8, session: Session) -> Event {
    match run.state(&step) {
        Some(state) if matches!(&state.status, Status::Suspended(wait) if !wait.is_for_a_decision()) => {
            Event::AttemptStarted { attempt: state.attempts + 1, step, pre_image: None, deadline: None }
        }
        _ => Event::Decided { step, decision: decision(variant), session },
    }
}

/// The next thing that the run asks for or waits for.
fn asked_for(run: &Run, variant: u8, result: ProbeResult, failure: Failure) -> Event {
    let session = Session::new("0", 1, "random");
    let open = run.steps().find_map(|(spec, state)| {
        let (step, failure) = (spec.id.clone(), failure.clone());
        match (&state.status, variant % 4) {
            (Status::Running, 3) => Some(Event::AttemptWaits {
                step,
                attempt: state.attempts,
                wait: wait(variant / 4),
                facts: Vec::new(),
            }),
            (Status::Running, 0) => {
                Some(Event::AttemptFailed { step, attempt: state.attempts, failure, facts: Vec::new() })
            }
            (Status::Running, _) => Some(Event::AttemptDone {
                step,
                attempt: state.attempts,
                output: Value::Null,
                facts: Vec::new(),
            }),
            (Status::Undoing, 0) => {
                Some(Event::UndoFailed { step, attempt: state.undos, failure, facts: Vec::new() })
            }
            (Status::Undoing, _) => Some(Event::UndoDone { step, attempt: state.undos, facts: Vec::new() }),
            _ => None,
        }
    });
    if let (Some(open), true) = (open, variant.is_multiple_of(2)) {
        return open;
    }
    match run.next_actions().into_iter().next() {
        Some(Action::Run { step, attempt, .. }) => {
            Event::AttemptStarted { step, attempt, pre_image: None, deadline: None }
        }
        Some(Action::Await { .. }) if variant.is_multiple_of(5) => Event::Waiting { until: None },
        Some(Action::Await { step, .. }) => end_of_wait(run, step, variant, session),
        Some(Action::Undo { step, attempt, .. }) => Event::UndoStarted { step, attempt },
        Some(Action::Probe(step)) => Event::Probed { step, result, output: Value::Null, facts: Vec::new() },
        Some(Action::RollBack(reason)) => Event::RollbackStarted { reason, mode: None },
        Some(Action::End(outcome, reason)) => Event::Ended { outcome, reason },
        Some(Action::Stop) | None if run.session().is_some() => {
            Event::Resumed { session, same_process: false }
        }
        Some(Action::Stop) | None => {
            Event::Begun { workflow: String::new(), plan: Digest::of(b""), session, key: None, shape: None }
        }
    }
}
