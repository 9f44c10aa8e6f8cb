//! `fulcrum-journal`: reads the journal of any program, also while the program writes it.
//!
//! It takes no lock and writes nothing into the journal.

mod args;
mod follow;
mod list;
mod print;
mod show;
mod verify;

use args::{Args, Command, Journal};
use clap::Parser;
use fulcrum_engine::LoadError;
use fulcrum_engine::state::{OpenError, ReadError, Reader, RunHeader, lock_holder};
use print::Printer;
use std::process::ExitCode;

/// The version of the JSON output. Fields may be added. A field that is there keeps its name and meaning.
const FORMAT_VERSION: u32 = 1;

/// The exit codes for `--help`.
const EXIT_CODES: &str = "\
Exit codes:
  0  done; what was read is whole
  1  damage was found
  2  something else: the command line, no such journal or run, or the system refused to read";

/// What was found, or why nothing could be read.
type Outcome = Result<Found, Trouble>;

/// The state of what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
enum Found {
    Whole,
    Damage,
}

/// Why the command could not do its work.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("cannot open the journal")]
    Open(#[from] OpenError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Event(#[from] LoadError),
    #[error("no run {said:?} in the journal; `fulcrum-journal list` names its runs")]
    NoRun { said: String },
    #[error("{said:?} could be any of {runs}; give more of the name")]
    SeveralRuns { said: String, runs: String },
    #[error("the journal has no runs yet")]
    Empty,
    #[error("cannot wait for changes of the journal")]
    Wait(#[source] std::io::Error),
    #[error("cannot write to stdout")]
    Write(#[source] std::io::Error),
    #[error("cannot write as JSON")]
    Json(#[from] serde_json::Error),
}

fn main() -> ExitCode {
    let args = Args::parse();
    let printer = Printer::new(args.output);
    match run(&args.command, &printer) {
        Ok(Found::Whole) => ExitCode::SUCCESS,
        Ok(Found::Damage) => ExitCode::from(1),
        // A reader that has gone away, `head` for example, has what it wanted.
        Err(Trouble::Write(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(trouble) => {
            printer.trouble(&trouble);
            ExitCode::from(2)
        }
    }
}

fn run(command: &Command, printer: &Printer) -> Outcome {
    match command {
        Command::List(journal) => list::list(&open(journal)?, printer),
        Command::Show { journal, run, entries } => {
            let reader = open(journal)?;
            show::show(&reader, &find(&reader, run)?, *entries, printer)
        }
        Command::Verify { journal, run } => {
            let reader = open(journal)?;
            let only = run.as_ref().map(|run| find(&reader, run)).transpose()?;
            verify::verify(&reader, only.as_ref(), printer)
        }
        Command::Follow { journal, run } => follow::follow(journal, run.as_deref(), printer),
        Command::Holder(journal) => holder(journal, printer),
    }
}

fn open(journal: &Journal) -> Result<Reader, OpenError> {
    Reader::open(&journal.dir)
}

/// The run whose name begins so, or `last`.
fn find(reader: &Reader, said: &str) -> Result<RunHeader, Trouble> {
    let mut runs = reader.runs()?;
    if said == "last" {
        return runs.pop().ok_or(Trouble::Empty);
    }
    runs.retain(|header| header.run.to_string().starts_with(said));
    let said = said.to_owned();
    match (runs.pop(), runs.is_empty()) {
        (None, _) => Err(Trouble::NoRun { said }),
        (Some(run), true) => Ok(run),
        (Some(run), false) => {
            runs.push(run);
            let runs = runs.iter().map(|header| header.run.to_string()).collect::<Vec<_>>().join(", ");
            Err(Trouble::SeveralRuns { said, runs })
        }
    }
}

/// The process that has the journal open for writing.
fn holder(journal: &Journal, printer: &Printer) -> Outcome {
    let holder = lock_holder(&journal.dir)?;
    match (&holder, printer.is_json()) {
        (_, true) => {
            printer.json(&serde_json::json!({ "format_version": FORMAT_VERSION, "holder": holder }))?;
        }
        (Some(holder), false) => printer.line(holder)?,
        (None, false) => printer.talk("no process has the journal open for writing"),
    }
    Ok(Found::Whole)
}
