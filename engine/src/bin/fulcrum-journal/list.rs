//! `fulcrum-journal list`.

use crate::print::{Printer, rfc3339};
use crate::show::{read, wait_json};
use crate::{FORMAT_VERSION, Found, Outcome};
use fulcrum_engine::history::StepWait;
use fulcrum_engine::state::{Damage, Reader, RunHeader};
use serde_json::{Value, json};

pub(crate) fn list(reader: &Reader, printer: &Printer) -> Outcome {
    let runs = reader.runs()?;
    let waits: Vec<Option<Vec<StepWait>>> = runs.iter().map(|header| open_waits(reader, header)).collect();
    if printer.is_json() {
        let listed = runs.iter().zip(&waits).map(|(header, waits)| {
            let mut run = header_json(header);
            run["waits"] = waits.iter().flatten().map(wait_json).collect();
            run
        });
        printer.json(&json!({ "format_version": FORMAT_VERSION, "runs": listed.collect::<Vec<_>>() }))?;
    } else {
        let width = runs.iter().map(|header| header.kind.chars().count()).max().unwrap_or_default();
        for (header, waits) in runs.iter().zip(&waits) {
            let words = waits.iter().flatten().map(|wait| format!(", {} waits {}", wait.step, wait.wait));
            printer.line(header_line(header, width) + &words.collect::<String>())?;
        }
        if runs.is_empty() {
            printer.talk("the journal has no runs yet");
        }
    }
    for (header, _) in runs.iter().zip(&waits).filter(|(_, waits)| waits.is_none()) {
        printer.talk(format_args!("run {} cannot be read to its end: fulcrum-journal show", header.run));
    }
    let damaged = runs.iter().any(|header| header.damage.is_some()) || waits.contains(&None);
    Ok(if damaged { Found::Damage } else { Found::Whole })
}

/// What the steps of a run wait for. Only a run that is open is read. `None` if it cannot be read to its end.
fn open_waits(reader: &Reader, header: &RunHeader) -> Option<Vec<StepWait>> {
    if header.over || header.damage.is_some() {
        return Some(Vec::new());
    }
    match read(reader, header) {
        Ok(Some((_, Some(_)))) | Err(_) => None,
        Ok(Some((history, None))) => Some(history.waits.into_iter().filter(|wait| wait.is_open).collect()),
        Ok(None) => Some(Vec::new()),
    }
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
