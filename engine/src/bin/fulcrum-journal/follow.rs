//! `fulcrum-journal follow`.

use crate::args::Journal;
use crate::print::{EntryData, Printer, with_causes};
use crate::show::entry_line;
use crate::{FORMAT_VERSION, Found, Outcome, Trouble, find, open};
use fulcrum_engine::state::{Changes, Entry, Head, ReadError, Reader, RunHeader, RunId};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long to rely on the kernel's word before looking anyway: not every file system gives it.
const LOOK_AFTER: Duration = Duration::from_secs(5);

/// An entry as a line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    format_version: u32,
    #[serde(flatten)]
    entry: EntryData<'a>,
}

/// Prints what is there of the run, then what is written, until the run is over. Without a run, what is
/// written from now on.
pub(crate) fn follow(journal: &Journal, run: Option<&str>, printer: &Printer) -> Outcome {
    // Before the first look: no entry falls in between.
    let mut changes = Changes::of(&journal.dir)?;
    let reader = open(journal)?;
    let mut follower = match run {
        Some(said) => Follower { only: Some(find(&reader, said)?.run), printed: BTreeMap::new() },
        None => {
            let heads = reader.runs()?.into_iter().map(|header| (header.run, header.head));
            Follower { only: None, printed: heads.collect() }
        }
    };
    if run.is_none() {
        printer.talk("waiting for entries");
    }
    loop {
        if let Some(found) = follower.catch_up(&reader, printer)? {
            return Ok(found);
        }
        changes.wait(LOOK_AFTER).map_err(Trouble::Wait)?;
    }
}

/// What was printed of each run.
struct Follower {
    only: Option<RunId>,
    printed: BTreeMap<RunId, Head>,
}

impl Follower {
    /// Prints what is new. `Some` if nothing more is to come.
    fn catch_up(&mut self, reader: &Reader, printer: &Printer) -> Result<Option<Found>, Trouble> {
        let headers = match self.only {
            Some(run) => reader.header(run)?.into_iter().collect(),
            None => reader.runs()?,
        };
        for header in headers {
            if let Some(error) = self.print_new(reader, &header, printer)? {
                printer.talk(format_args!("fulcrum-journal: {}", with_causes(&error)));
                // Of a damaged run nothing more can be read. Other runs go on.
                if self.only.is_some() {
                    return Ok(Some(Found::Damage));
                }
                self.printed.insert(header.run, header.head);
            } else if self.only.is_some() && header.over {
                return Ok(Some(Found::Whole));
            }
        }
        Ok(None)
    }

    /// Prints the entries behind the last one that was printed. Returns the damage behind them.
    fn print_new(
        &mut self,
        reader: &Reader,
        header: &RunHeader,
        printer: &Printer,
    ) -> Result<Option<ReadError>, Trouble> {
        let printed = self.printed.get(&header.run).copied();
        if printed == Some(header.head) {
            return Ok(None);
        }
        let entries = match printed {
            Some(head) if head.seq > 0 => reader.entries_after(header.run, head),
            _ => reader.entries(header.run),
        };
        for entry in entries {
            match entry {
                Ok(entry) => {
                    self.print(&entry, printer)?;
                    self.printed.insert(header.run, entry.head());
                }
                Err(error) if error.is_damage() => return Ok(Some(error)),
                // It was pruned meanwhile.
                Err(ReadError::Pruned { .. } | ReadError::UnknownRun { .. }) if self.only.is_none() => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    fn print(&self, entry: &Entry, printer: &Printer) -> Result<(), Trouble> {
        match (printer.is_json(), self.only) {
            (true, _) => printer.json(&Line { format_version: FORMAT_VERSION, entry: EntryData::of(entry)? }),
            (false, Some(_)) => printer.line(entry_line(entry)),
            (false, None) => printer.line(format_args!("{}  {}", entry.run, entry_line(entry))),
        }
    }
}
