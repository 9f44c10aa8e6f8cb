//! `fulcrum-journal show`.

use crate::list::{header_json, header_line};
use crate::print::{EntryData, Printer, rfc3339, with_causes};
use crate::{FORMAT_VERSION, Found, Outcome, Trouble};
use fulcrum_engine::history::{Attempt, AttemptResult, Direction, History, StepWait};
use fulcrum_engine::load::decode;
use fulcrum_engine::state::{Entry, ReadError, Reader, RunHeader};
use fulcrum_engine::{Event, LoadError, Outcome as RunOutcome};
use serde::Serialize;
use serde_json::{Value, json};

/// The attempts that can be read, and the damage behind them.
type Readable = (History, Option<ReadError>);

/// Shows a run as far as it can be read.
pub(crate) fn show(reader: &Reader, header: &RunHeader, entries: bool, printer: &Printer) -> Outcome {
    let history = if entries { None } else { history(reader, header, printer)? };
    if printer.is_json() {
        return as_json(reader, header, history, printer);
    }
    printer.line(header_line(header, 0))?;
    match history {
        Some((history, damage)) => {
            outcome_lines(&history).try_for_each(|line| printer.line(line))?;
            history.attempts.iter().try_for_each(|attempt| printer.line(attempt_line(attempt)))?;
            history.waits.iter().try_for_each(|wait| printer.line(wait_line(wait)))?;
            report(damage, printer)
        }
        None => {
            for entry in reader.entries(header.run) {
                match entry {
                    Ok(entry) => printer.line(entry_line(&entry))?,
                    Err(error) => return report(Some(error), printer),
                }
            }
            Ok(Found::Whole)
        }
    }
}

/// A line for an entry: its number, its time, and its body as it was written.
pub(crate) fn entry_line(entry: &Entry) -> String {
    format!("{:>6}  {}  {}", entry.seq, rfc3339(entry.time), entry.body)
}

/// A run as one document.
#[derive(Serialize)]
struct Document<'a> {
    format_version: u32,
    #[serde(flatten)]
    header: Value,
    #[serde(flatten)]
    content: Content<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Attempts { outcome: Option<RunOutcome>, reason: Option<&'a str>, attempts: Vec<Value>, waits: Vec<Value> },
    Entries { entry_list: Vec<EntryData<'a>> },
}

fn as_json(reader: &Reader, header: &RunHeader, history: Option<Readable>, printer: &Printer) -> Outcome {
    let print = |content| {
        printer.json(&Document { format_version: FORMAT_VERSION, header: header_json(header), content })
    };
    if let Some((history, damage)) = history {
        let attempts = history.attempts.iter().map(attempt_json).collect();
        let (outcome, reason) = (history.outcome, history.reason.as_deref());
        let waits = history.waits.iter().map(wait_json).collect();
        print(Content::Attempts { outcome, reason, attempts, waits })?;
        return report(damage, printer);
    }
    let (mut entries, mut damage) = (Vec::new(), None);
    for entry in reader.entries(header.run) {
        match entry {
            Ok(entry) => entries.push(entry),
            Err(error) => damage = Some(error),
        }
    }
    let entry_list = entries.iter().map(EntryData::of).collect::<Result<_, _>>()?;
    print(Content::Entries { entry_list })?;
    report(damage, printer)
}

/// The attempts of a run. `None` if no workflow engine wrote the run, or a later
/// version of the engine did, which is said.
fn history(reader: &Reader, header: &RunHeader, printer: &Printer) -> Result<Option<Readable>, Trouble> {
    match read(reader, header) {
        Err(error @ LoadError::UnknownEvent { .. }) => {
            printer.talk(format_args!("{}; entries are shown instead", with_causes(&error)));
            Ok(None)
        }
        other => Ok(other?),
    }
}

/// The attempts of a run. `None` if no workflow engine wrote the run.
pub(crate) fn read(reader: &Reader, header: &RunHeader) -> Result<Option<Readable>, LoadError> {
    let mut history = History::default();
    for entry in reader.entries(header.run) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return Ok(Some((history, Some(error)))),
        };
        if entry.seq == 1 && !matches!(decode(&entry), Ok(Event::Begun { .. })) {
            return Ok(None);
        }
        history.push(&entry)?;
    }
    Ok(Some((history, None)))
}

fn report(damage: Option<ReadError>, printer: &Printer) -> Outcome {
    match damage {
        None => Ok(Found::Whole),
        Some(error) if error.is_damage() => {
            printer.talk(format_args!("fulcrum-journal: {}", with_causes(&error)));
            Ok(Found::Damage)
        }
        Some(error) => Err(error.into()),
    }
}

fn outcome_lines(history: &History) -> impl Iterator<Item = String> + '_ {
    let outcome = history.outcome.map(|outcome| format!("  {outcome}"));
    outcome.into_iter().chain(history.reason.iter().map(|reason| format!("  {reason}")))
}

/// When, how long, what, how it ended.
fn attempt_line(attempt: &Attempt) -> String {
    let took = attempt.ended.map(|ended| format!("{:9.3} s", ended.since(attempt.started).as_secs_f64()));
    let took = took.unwrap_or_else(|| " ".repeat(11));
    let name = match attempt.direction {
        Direction::Run => attempt.step.to_string(),
        Direction::Undo => format!("undo {}", attempt.step),
    };
    let mut line = format!(
        "  {}  {took}  {name:32} #{} {:11}  pid {}",
        rfc3339(attempt.started),
        attempt.attempt,
        result_word(attempt.result),
        attempt.session.pid
    );
    if let Some(report) = &attempt.report {
        line += &format!("  [{report}]");
    }
    if let Some(detail) = &attempt.detail {
        line += &format!("  {detail}");
    }
    if let Some(output) = &attempt.output {
        line += &format!("  -> {output}");
    }
    line
}

/// Since when, what for, and what was decided by whom.
fn wait_line(wait: &StepWait) -> String {
    let state = if wait.is_open { "waits" } else { "waited" };
    let until = wait.wait.until().map(|until| format!(", until {}", rfc3339(until))).unwrap_or_default();
    let mut line = format!("  {}  {} {state} {}{until}", rfc3339(wait.since), wait.step, wait.wait);
    if let Some(decided) = &wait.decision {
        let (time, pid) = (rfc3339(decided.time), decided.session.pid);
        line += &format!("; {time}  {}  pid {pid}", decided.decision);
    }
    line
}

/// What a step waited for, as JSON.
pub(crate) fn wait_json(wait: &StepWait) -> Value {
    json!({
        "step": wait.step,
        "open": wait.is_open,
        "since": rfc3339(wait.since),
        "until": wait.wait.until().map(rfc3339),
        "wait": wait.wait,
        "decision": wait.decision.as_ref().map(|decided| json!({
            "verdict": decided.decision.verdict,
            "by": decided.decision.by,
            "note": decided.decision.note,
            "time": rfc3339(decided.time),
            "session": decided.session,
        })),
    })
}

/// The word that the JSON has, too: a later engine may have more of them.
fn result_word(result: AttemptResult) -> String {
    json!(result).as_str().unwrap_or_default().to_owned()
}

fn attempt_json(attempt: &Attempt) -> Value {
    json!({
        "step": attempt.step,
        "direction": attempt.direction,
        "attempt": attempt.attempt,
        "started": rfc3339(attempt.started),
        "ended": attempt.ended.map(rfc3339),
        "result": attempt.result,
        "session": attempt.session,
        "report": attempt.report,
        "detail": attempt.detail,
        "output": attempt.output,
        "entry": attempt.seq,
    })
}
