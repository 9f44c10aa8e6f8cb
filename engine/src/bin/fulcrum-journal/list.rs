//! `fulcrum-journal list`.

use crate::print::{Printer, rfc3339};
use crate::{FORMAT_VERSION, Found, Outcome};
use fulcrum_engine::state::{Damage, Reader, RunHeader};
use serde_json::{Value, json};

pub(crate) fn list(reader: &Reader, printer: &Printer) -> Outcome {
    let runs = reader.runs()?;
    if printer.is_json() {
        let runs: Vec<Value> = runs.iter().map(header_json).collect();
        printer.json(&json!({ "format_version": FORMAT_VERSION, "runs": runs }))?;
    } else {
        let width = runs.iter().map(|header| header.kind.chars().count()).max().unwrap_or_default();
        runs.iter().try_for_each(|header| printer.line(header_line(header, width)))?;
        if runs.is_empty() {
            printer.talk("the journal has no runs yet");
        }
    }
    Ok(if runs.iter().any(|header| header.damage.is_some()) { Found::Damage } else { Found::Whole })
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
