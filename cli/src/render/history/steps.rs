//! One run's steps: a line for each attempt, and between them what happened to the run.

use super::{COLUMNS, wrapped};
use crate::render::time::{for_people, took};
use crate::story::{Actor, Change, Moment, Story};
use fulcrum_engine::history::{Attempt, AttemptResult, Direction};
use fulcrum_engine::state::Timestamp;
use fulcrum_steps::step_name::shown;
use serde_json::Value;

/// Where the names of steps begin.
const NAME_AT: usize = 23;

/// The table. With `long`, also what each attempt returned.
pub(crate) fn steps(story: &Story, long: bool) -> Vec<String> {
    let mut lines = vec![format!("{:>7} {:>6} {:7} step", "from", "took", "result")];
    let mut before: Option<Timestamp> = None;
    for moment in &story.moments {
        let time = time_of(story, moment);
        // A pause of hours is worth a word: the times of the table alone do not show one.
        if let Some(idle) = before.map(|before| time.since(before)).filter(|idle| idle.as_secs() >= 60) {
            lines.push(format!("{:>7} {} later", "", took(idle)));
        }
        before = Some(ended(story, moment).unwrap_or(time).max(before.unwrap_or(time)));
        match moment {
            Moment::Attempt(place) => lines.extend(attempt(story, &story.attempts()[*place], long)),
            other => lines.extend(turn(story, other)),
        }
    }
    lines
}

fn time_of(story: &Story, moment: &Moment) -> Timestamp {
    match moment {
        Moment::Attempt(place) => story.attempts()[*place].started,
        Moment::Session { time, .. }
        | Moment::RollbackStarted { time, .. }
        | Moment::Paused { time, .. }
        | Moment::Ended { time, .. } => *time,
    }
}

fn ended(story: &Story, moment: &Moment) -> Option<Timestamp> {
    match moment {
        Moment::Attempt(place) => story.attempts()[*place].ended,
        _ => None,
    }
}

fn seconds(story: &Story, time: Timestamp) -> String {
    format!("{:.1}", time.since(story.header.created).as_secs_f64())
}

/// What happened to the run itself.
fn turn(story: &Story, moment: &Moment) -> Vec<String> {
    let Some((time, text)) = turn_text(moment) else { return Vec::new() };
    let when = match moment {
        Moment::Session { .. } => format!(", {}", for_people(time)),
        _ => String::new(),
    };
    wrapped(&format!("{:>7} -- ", seconds(story, time)), &format!("{text}{when}"))
}

/// What happened to the run itself, and when. `None` for an attempt.
pub(in crate::render) fn turn_text(moment: &Moment) -> Option<(Timestamp, String)> {
    Some(match moment {
        Moment::Session { time, session, change } => {
            let word = match change {
                Change::Begun => "begun by",
                Change::Resumed => "taken up by",
                Change::Rebooted => "after a reboot, taken up by",
            };
            (*time, format!("{word} {}, {}, pid {}", Actor::of(session), session.program, session.pid))
        }
        Moment::RollbackStarted { time, reason } => (*time, format!("undone from here: {reason}")),
        Moment::Paused { time, reason } => (*time, format!("paused: {reason}")),
        Moment::Ended { time, outcome, reason } => (*time, format!("{outcome}: {reason}")),
        Moment::Attempt(_) => return None,
    })
}

/// One line: from when, how long, how it ended, what. Under it what the line has no room for.
fn attempt(story: &Story, attempt: &Attempt, long: bool) -> Vec<String> {
    let took = attempt.ended.map(|ended| format!("{:.1}", ended.since(attempt.started).as_secs_f64()));
    let took = took.unwrap_or_else(|| "-".to_owned());
    let from = seconds(story, attempt.started);
    // The longest name of a step and its result are one line of 80 columns.
    let (result, name) = match (attempt.direction, attempt.result) {
        (Direction::Undo, AttemptResult::Done) => ("undone", shown(&attempt.step)),
        (_, result) => (word(result), name(attempt)),
    };
    let mut lines = vec![format!("{from:>7} {took:>6} {result:7} {name}")];
    let below = " ".repeat(NAME_AT);
    if attempt.attempt > 1 {
        lines.push(format!("{below}attempt {}", attempt.attempt));
    }
    if let Some(detail) = &attempt.detail {
        lines.extend(wrapped(&below, detail));
    }
    if long && let Some(output) = &attempt.output {
        lines.extend(outputs(output));
    }
    lines
}

/// The step, with its direction.
pub(in crate::render) fn name(attempt: &Attempt) -> String {
    match attempt.direction {
        Direction::Run => shown(&attempt.step),
        Direction::Undo => format!("undo {}", shown(&attempt.step)),
    }
}

/// How an attempt ended, in one word.
pub(in crate::render) fn word(result: AttemptResult) -> &'static str {
    match result {
        AttemptResult::Open => "open",
        AttemptResult::Done => "done",
        AttemptResult::Failed => "FAILED",
        AttemptResult::Stopped => "stopped",
        AttemptResult::Interrupted => "cut",
        _ => "over",
    }
}

/// The fields of an output, each with its text.
pub(in crate::render) fn fields(output: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    match output.as_object() {
        Some(fields) => fields.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        None => vec![("output".to_owned(), text(output))],
    }
}

/// A line for each field that is not a line of its own by its length.
fn outputs(output: &Value) -> Vec<String> {
    let line = |(field, value): (String, String)| {
        let line = format!("      {field}: {value}");
        if line.chars().count() <= COLUMNS {
            vec![line]
        } else {
            wrapped(&format!("      {field}: "), &value)
        }
    };
    fields(output).into_iter().flat_map(line).collect()
}
