//! `fulcrum-journal list`.

use crate::print::{Printer, rfc3339};
use crate::show::{history, wait_json};
use crate::{FORMAT_VERSION, Found, Outcome, Trouble};
use fulcrum_engine::history::StepWait;
use fulcrum_engine::state::{Damage, Reader, RunHeader};
use serde_json::{Value, json};

pub(crate) fn list(reader: &Reader, printer: &Printer) -> Outcome {
    let runs = reader.runs()?;
    if printer.is_json() {
        let mut listed = Vec::new();
        for header in &runs {
            let mut run = header_json(header);
            run["waits"] = open_waits(reader, header, printer)?.iter().map(wait_json).collect();
            listed.push(run);
        }
        printer.json(&json!({ "format_version": FORMAT_VERSION, "runs": listed }))?;
    } else {
        let width = runs.iter().map(|header| header.kind.chars().count()).max().unwrap_or_default();
        for header in &runs {
            let waits = open_waits(reader, header, printer)?;
            let waits: String =
                waits.iter().map(|wait| format!(", {} waits {}", wait.step, wait.wait)).collect();
            printer.line(header_line(header, width) + &waits)?;
        }
        if runs.is_empty() {
            printer.talk("the journal has no runs yet");
        }
    }
    Ok(if runs.iter().any(|header| header.damage.is_some()) { Found::Damage } else { Found::Whole })
}

/// What the steps of a run wait for. Only a run that is open is read.
fn open_waits(reader: &Reader, header: &RunHeader, printer: &Printer) -> Result<Vec<StepWait>, Trouble> {
    if header.over || header.damage.is_some() {
        return Ok(Vec::new());
    }
    let read = history(reader, header, printer)?;
    Ok(read.into_iter().flat_map(|(history, _)| history.waits).filter(|wait| wait.is_open).collect())
}

/// What a run's header says, as JSON.
pub(crate) fn header_json(header: &RunHeader) -> Value {
    json!({
        "run": header.run,
        "kind": header.kind,
        "created": rfc3339(header.created),
        "entries": header.head.seq,
        "head": header.head.hash,
        "over": header.over,
        "damage": header.damage.as_ref().map(damage_json),
    })
}

/// What a run's header says, as a line of text.
pub(crate) fn header_line(header: &RunHeader, width: usize) -> String {
    let (run, kind, created, entries) = (header.run, &header.kind, rfc3339(header.created), header.head.seq);
    let state = match (&header.damage, header.over) {
        (Some(damage), _) => match damage.seq {
            Some(seq) => format!("damaged at entry {seq}"),
            None => "damaged".to_owned(),
        },
        (None, true) => "over".to_owned(),
        (None, false) => "open".to_owned(),
    };
    format!("{run}  {kind:width$}  {created}  {entries:>6} entries  {state}")
}

/// Damage, as JSON.
pub(crate) fn damage_json(damage: &Damage) -> Value {
    json!({
        "run": damage.run,
        "entry": damage.seq,
        "file": damage.path,
        "offset": damage.offset,
        "detail": damage.detail,
    })
}
