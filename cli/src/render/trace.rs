//! Runs as a trace in the JSON format of Chrome, which Perfetto reads: a process for each run, a thread for
//! each step, a slice for each attempt.

use super::history::{fields, name, word};
use super::time::rfc3339;
use crate::story::{Actor, Change, Moment, Story};
use fulcrum_engine::StepId;
use fulcrum_engine::history::Attempt;
use fulcrum_engine::state::Timestamp;
use fulcrum_steps::plan;
use fulcrum_steps::step_name::shown;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The whole trace. Times are microseconds since 1970.
pub(crate) fn trace(stories: &[Story]) -> Value {
    let events: Vec<Value> = stories.iter().zip(1..).flat_map(|(story, pid)| run(story, pid)).collect();
    json!({ "displayTimeUnit": "ms", "traceEvents": events })
}

/// A run. Thread 0 has what happened to the run itself.
fn run(story: &Story, pid: u64) -> Vec<Value> {
    let kind = plan::shown(&story.header.kind);
    let mut events = vec![
        named("process_name", pid, 0, json!({ "name": format!("{kind} {}", story.header.run) })),
        named("process_sort_index", pid, 0, json!({ "sort_index": pid })),
        named("thread_name", pid, 0, json!({ "name": "run" })),
    ];
    let threads = threads(story);
    for (step, thread) in &threads {
        events.push(named("thread_name", pid, *thread, json!({ "name": shown(step) })));
        events.push(named("thread_sort_index", pid, *thread, json!({ "sort_index": thread })));
    }
    for moment in &story.moments {
        match moment {
            Moment::Attempt(place) => {
                let attempt = &story.attempts()[*place];
                let thread = threads.get(&attempt.step).copied().unwrap_or(0);
                events.push(slice(story, attempt, pid, thread));
            }
            other => events.extend(instant(other, pid)),
        }
    }
    events
}

/// A number for each step: its place in the plan, from 1.
fn threads(story: &Story) -> BTreeMap<StepId, u64> {
    let planned = story.plan().into_iter().flat_map(|plan| plan.steps().iter().map(|spec| &spec.id));
    let mut threads = BTreeMap::new();
    for step in planned.chain(story.attempts().iter().map(|attempt| &attempt.step)) {
        let next = threads.len() as u64 + 1;
        threads.entry(step.clone()).or_insert(next);
    }
    threads
}

fn named(what: &str, pid: u64, tid: u64, args: Value) -> Value {
    json!({ "ph": "M", "name": what, "pid": pid, "tid": tid, "args": args })
}

fn slice(story: &Story, attempt: &Attempt, pid: u64, tid: u64) -> Value {
    let end = story.end(attempt);
    let mut args = Map::new();
    let mut arg = |name: &str, value: Value| args.insert(name.to_owned(), value);
    arg("attempt", json!(attempt.attempt));
    arg("result", json!(word(attempt.result)));
    arg("entry", json!(attempt.seq));
    arg("by", json!(format!("{}, pid {}", Actor::of(&attempt.session), attempt.session.pid)));
    if let Some(detail) = &attempt.detail {
        arg("detail", json!(detail));
    }
    for (field, value) in attempt.output.iter().flat_map(fields) {
        arg(&format!("output.{field}"), json!(value));
    }
    json!({
        "ph": "X", "cat": attempt.direction, "name": name(attempt), "pid": pid, "tid": tid,
        "ts": attempt.started.as_micros(), "dur": end.since(attempt.started).as_micros() as u64, "args": args,
    })
}

fn instant(moment: &Moment, pid: u64) -> Option<Value> {
    let mark = |time: &Timestamp, name: String, args: Value| {
        json!({
            "ph": "i", "s": "p", "cat": "run", "name": name, "pid": pid, "tid": 0,
            "ts": time.as_micros(), "args": args,
        })
    };
    Some(match moment {
        Moment::Attempt(_) => return None,
        Moment::Session { time, session, change } => {
            let word = match change {
                Change::Begun => "begun",
                Change::Resumed => "resumed",
                Change::Rebooted => "resumed after a reboot",
            };
            let by = format!("{}, pid {}", Actor::of(session), session.pid);
            let args = json!({ "by": by, "program": session.program, "time": rfc3339(*time) });
            mark(time, word.to_owned(), args)
        }
        Moment::RollbackStarted { time, reason } => {
            mark(time, "rollback started".to_owned(), json!({ "reason": reason }))
        }
        Moment::Paused { time, reason } => mark(time, "paused".to_owned(), json!({ "reason": reason })),
        Moment::Ended { time, outcome, reason } => {
            mark(time, outcome.to_string(), json!({ "reason": reason }))
        }
    })
}
