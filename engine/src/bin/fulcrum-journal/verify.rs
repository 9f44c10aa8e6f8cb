//! `fulcrum-journal verify`.

use crate::list::damage_json;
use crate::print::{Printer, with_causes};
use crate::{FORMAT_VERSION, Found, Outcome};
use fulcrum_engine::state::{Damage, Head, ReadError, Reader, RunHeader, RunId};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What no reading of a journal alone can find.
const NOT_CHECKED: &str = "whether the last entries, or the last runs, were cut off, or the whole journal was \
                           replaced: keep the heads elsewhere, and compare";
const NOT_CHECKED_OF_ONE: &str = "other runs, and whether runs are missing";

/// What was found of one run.
struct Checked {
    run: RunId,
    /// Its last entry, or why it is not whole.
    result: Result<Head, String>,
}

pub(crate) fn verify(reader: &Reader, only: Option<&RunHeader>, printer: &Printer) -> Outcome {
    let (runs, elsewhere) = match only {
        Some(header) => (vec![header.clone()], Vec::new()),
        None => (reader.runs()?, damage_in_no_run(reader)?),
    };
    let links = if only.is_none() { Links::of(&runs) } else { Links::default() };
    let mut checked = Vec::new();
    for header in &runs {
        let one = check(reader, header, &links)?;
        if !printer.is_json() {
            printer.line(line(&one))?;
        }
        checked.push(one);
    }
    for missing in links.missing(&runs) {
        if let Some(one) = check_missing(reader, missing, &links)? {
            if !printer.is_json() {
                printer.line(line(&one))?;
            }
            checked.push(one);
        }
    }
    let whole = elsewhere.is_empty() && checked.iter().all(|one| one.result.is_ok());
    let not_checked: Vec<&str> =
        std::iter::once(NOT_CHECKED).chain(only.map(|_| NOT_CHECKED_OF_ONE)).collect();
    if printer.is_json() {
        printer.json(&json!({
            "format_version": FORMAT_VERSION,
            "whole": whole,
            "runs": checked.iter().map(checked_json).collect::<Vec<_>>(),
            "damage_in_no_run": elsewhere.iter().map(damage_json).collect::<Vec<_>>(),
            "not_checked": not_checked,
        }))?;
    } else {
        for damage in &elsewhere {
            let (path, offset, detail) = (damage.path.display(), damage.offset, &damage.detail);
            printer.line(format_args!("in no run  WRONG  {path} at byte {offset}: {detail}"))?;
        }
        not_checked.iter().for_each(|what| printer.talk(format_args!("not checked: {what}")));
    }
    Ok(if whole { Found::Whole } else { Found::Damage })
}

fn damage_in_no_run(reader: &Reader) -> Result<Vec<Damage>, ReadError> {
    Ok(reader.damage()?.into_iter().filter(|damage| damage.run.is_none()).collect())
}

/// Reads a run with its blobs. An error of the system, a disk that cannot be read at all, is passed on.
fn check(reader: &Reader, header: &RunHeader, links: &Links) -> Result<Checked, ReadError> {
    let run = header.run;
    let result = match read(reader, header, links) {
        Ok(result) => result,
        Err(error) if error.is_damage() => Err(with_causes(&error)),
        Err(error) => return Err(error),
    };
    Ok(Checked { run, result })
}

/// The run's head, or the link of a later run that does not fit.
fn read(reader: &Reader, header: &RunHeader, links: &Links) -> Result<Result<Head, String>, ReadError> {
    let mut head = header.genesis();
    let mut wrong = links.unfit(header.run, head);
    for entry in reader.entries(header.run) {
        let entry = entry?;
        for digest in &entry.blobs {
            reader.blob(digest)?;
        }
        head = entry.head();
        wrong = wrong.or_else(|| links.unfit(header.run, head));
    }
    let cut = links.last_named(header.run).filter(|named| named.seq > head.seq);
    Ok(match (wrong, cut) {
        (Some(wrong), _) => Err(wrong),
        (None, Some(named)) => {
            Err(format!("ends at entry {}, and a later run names entry {}", head.seq, named.seq))
        }
        (None, None) => Ok(head),
    })
}

/// A run that a later run names and that is not in the journal: it was pruned, or it is missing.
fn check_missing(reader: &Reader, run: RunId, links: &Links) -> Result<Option<Checked>, ReadError> {
    let wrong = match reader.entries(run).next() {
        Some(Err(ReadError::Pruned { head, .. })) => links.unfit(run, head),
        Some(Err(error @ ReadError::Disk(_))) => return Err(error),
        _ => Some("is not in the journal, and a later run names it".to_owned()),
    };
    Ok(wrong.map(|wrong| Checked { run, result: Err(wrong) }))
}

/// For each run, the heads by which later runs name it.
#[derive(Default)]
struct Links(BTreeMap<RunId, Vec<(Head, RunId)>>);

impl Links {
    fn of(runs: &[RunHeader]) -> Self {
        let mut links: BTreeMap<RunId, Vec<(Head, RunId)>> = BTreeMap::new();
        for header in runs {
            if let Some(after) = header.after {
                links.entry(after.run).or_default().push((after.head, header.run));
            }
        }
        Self(links)
    }

    /// Why a later run's link does not fit an entry that was read.
    fn unfit(&self, run: RunId, head: Head) -> Option<String> {
        let links = self.0.get(&run)?;
        let (_, by) = links.iter().find(|(named, _)| named.seq == head.seq && named.hash != head.hash)?;
        Some(format!("entry {} is not the one that run {by} names", head.seq))
    }

    /// The last entry that a later run names.
    fn last_named(&self, run: RunId) -> Option<Head> {
        self.0.get(&run)?.iter().map(|(named, _)| *named).max_by_key(|named| named.seq)
    }

    /// The runs that are named and not among `runs`.
    fn missing(&self, runs: &[RunHeader]) -> impl Iterator<Item = RunId> {
        let known: std::collections::BTreeSet<RunId> = runs.iter().map(|header| header.run).collect();
        self.0.keys().filter(move |run| !known.contains(run)).copied()
    }
}

fn line(checked: &Checked) -> String {
    let run = checked.run;
    match &checked.result {
        Ok(head) => format!("{run}  whole  {:>6} entries  {}", head.seq, head.hash),
        Err(wrong) => format!("{run}  WRONG  {wrong}"),
    }
}

fn checked_json(checked: &Checked) -> Value {
    match &checked.result {
        Ok(head) => json!({ "run": checked.run, "whole": true, "entries": head.seq, "head": head.hash }),
        Err(wrong) => json!({ "run": checked.run, "whole": false, "error": wrong }),
    }
}
