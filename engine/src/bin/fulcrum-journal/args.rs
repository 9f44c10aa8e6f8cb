//! The command line. No look at the world.

use crate::EXIT_CODES;
use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Reads the journal of any program that uses fulcrum-state or fulcrum-engine, also while the program runs.
///
/// It takes no lock, and writes nothing into the journal.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, after_long_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Args {
    /// What is written to stdout. JSON is one document, or one object a line where a command follows.
    #[arg(short, long, value_enum, default_value_t, global = true)]
    pub(crate) output: Output,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Output {
    #[default]
    Text,
    Json,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Journal {
    /// The directory of the journal.
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the runs: name, kind, begin, number of entries, state.
    List(#[command(flatten)] Journal),
    /// Show one run: its attempts if a workflow engine wrote it, else its entries.
    Show {
        #[command(flatten)]
        journal: Journal,
        /// The run: the beginning of its name, or `last`.
        #[arg(default_value = "last")]
        run: String,
        /// Show each entry as it was written.
        #[arg(long)]
        entries: bool,
    },
    /// Read everything and check it: every entry, the chain of their hashes, every blob.
    Verify {
        #[command(flatten)]
        journal: Journal,
        /// The run: the beginning of its name, or `last`. Without it, every run.
        run: Option<String>,
    },
    /// Print entries as they are written.
    Follow {
        #[command(flatten)]
        journal: Journal,
        /// The run: the beginning of its name, or `last`. It is printed from its first entry until it is over.
        /// Without it, what is written from now on is printed, of every run, until the command is stopped.
        run: Option<String>,
    },
    /// Tell which process has the journal open for writing.
    Holder(#[command(flatten)] Journal),
}
