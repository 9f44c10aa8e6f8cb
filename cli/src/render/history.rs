//! Shows what was done, attempt by attempt.

use super::time::rfc3339;
use fulcrum_engine::LoadError;
use fulcrum_engine::history::{Attempt, AttemptResult, Direction, History};
use fulcrum_engine::state::{Entry, RunHeader};
use fulcrum_steps::plan;
use fulcrum_steps::step_name::shown;
use serde_json::{Value, json};

pub(crate) struct RunHistory {
    header: RunHeader,
    why: Option<String>,
    history: History,
}

impl RunHistory {
    /// `why` is the reason for the run, where a person's command did not begin it.
    pub(crate) fn new(header: &RunHeader, why: Option<String>) -> Self {
        Self { header: header.clone(), why, history: History::default() }
    }

    pub(crate) fn push(&mut self, entry: &Entry) -> Result<(), LoadError> {
        self.history.push(entry)
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "run": self.header.run,
            "kind": plan::shown(&self.header.kind),
            "created": rfc3339(self.header.created),
            "why": self.why,
            "outcome": self.history.outcome,
            "reason": self.history.reason,
            "attempts": self.history.attempts.iter().map(attempt_json).collect::<Vec<_>>(),
        })
    }

    /// A line for the run, then one for each attempt, and under it what the attempt returned.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> + '_ {
        let outcome = self.history.outcome.map_or("unfinished".to_owned(), |outcome| outcome.to_string());
        let (kind, run, created) =
            (plan::shown(&self.header.kind), self.header.run, rfc3339(self.header.created));
        let why = self.why.iter().map(|why| format!("  because: {why}"));
        let reason = self.history.reason.iter().map(|reason| format!("  {reason}"));
        let attempts = self.history.attempts.iter().flat_map(|attempt| {
            std::iter::once(attempt_text(attempt)).chain(attempt.output.iter().flat_map(output_lines))
        });
        std::iter::once(format!("{kind} {run}  {created}  {outcome}"))
            .chain(why)
            .chain(reason)
            .chain(attempts)
    }
}

fn attempt_json(attempt: &Attempt) -> Value {
    json!({
        "step": shown(&attempt.step),
        "direction": attempt.direction,
        "attempt": attempt.attempt,
        "started": rfc3339(attempt.started),
        "ended": attempt.ended.map(rfc3339),
        "outcome": attempt.result,
        "boot_id": attempt.session.boot_id,
        "pid": attempt.session.pid,
        "program": attempt.session.program,
        "role": attempt.session.role,
        "detail": attempt.detail,
        "output": attempt.output,
        "entry": attempt.seq,
    })
}

/// A line for each field.
fn output_lines(output: &Value) -> Vec<String> {
    let line = |(field, value): (&String, &Value)| match value.as_str() {
        Some(text) => format!("      {field}: {text}"),
        None => format!("      {field}: {value}"),
    };
    output
        .as_object()
        .map_or_else(|| vec![format!("      {output}")], |fields| fields.iter().map(line).collect())
}

/// One line: when, how long, what, how it ended, and in which session.
fn attempt_text(attempt: &Attempt) -> String {
    let took = attempt.ended.map(|ended| format!("{:7.1} s", ended.since(attempt.started).as_secs_f64()));
    let name = match attempt.direction {
        Direction::Run => shown(&attempt.step),
        Direction::Undo => format!("undo {}", shown(&attempt.step)),
    };
    let result = match attempt.result {
        AttemptResult::Open => "open",
        AttemptResult::Done => "done",
        AttemptResult::Failed => "failed",
        AttemptResult::Stopped => "stopped",
        AttemptResult::Interrupted => "interrupted",
    };
    let detail = attempt.detail.as_ref().map(|detail| format!("  {detail}")).unwrap_or_default();
    format!(
        "  {}  {}  {name:48} #{} {result:11}  boot {} pid {}{detail}",
        rfc3339(attempt.started),
        took.unwrap_or_else(|| " ".repeat(9)),
        attempt.attempt,
        attempt.session.boot_id,
        attempt.session.pid,
    )
}
