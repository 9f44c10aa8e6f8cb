//! What was typed after `fulcrum history`.

use super::{Consent, examples, since};
use clap::Subcommand;
use fulcrum_engine::state::Timestamp;
use std::path::PathBuf;

/// What a person does with `history`.
const HISTORY_HELP: &str = "\
Examples:
  fulcrum history --since 7d --failed        what went wrong this week
  fulcrum history last                       the last run, step by step
  fulcrum history last --diff                what it has changed
  fulcrum history --html history.html        one page, for any browser";

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_help = HISTORY_HELP)]
pub(crate) struct History {
    #[command(subcommand)]
    pub(crate) command: Option<HistoryCommand>,
    /// The run, shown step by step: its id, the beginning of it, or `last`.
    ///
    /// Without it all runs are shown, a paragraph each.
    pub(crate) run: Option<String>,
    /// Only runs begun or changed since then, e.g. 2026-11-01 or 7d.
    ///
    /// A date, a time (UTC, or with an offset), or so long ago.
    #[arg(long, value_parser = since, value_name = "TIME", conflicts_with = "run")]
    pub(crate) since: Option<Timestamp>,
    /// Only runs of this actor: guard, command, or a user.
    ///
    /// Users are known where the journal names them.
    #[arg(long, value_name = "NAME", conflicts_with = "run")]
    pub(crate) actor: Option<String>,
    /// Only runs that need a person, or went back uncompleted.
    #[arg(long, conflicts_with = "run")]
    pub(crate) failed: bool,
    /// Show also what each step returned.
    #[arg(short, long, requires = "run")]
    pub(crate) long: bool,
    /// Show the manifests and DaemonSets that the run has changed.
    ///
    /// In colour on a terminal, unless NO_COLOR is set.
    #[arg(long, requires = "run")]
    pub(crate) diff: bool,
    /// Write a page for a browser, with everything.
    ///
    /// Steps, times, what each step saw, changes, evidence. The page fetches nothing.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Write a trace for Perfetto or Chrome.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Say what is wrong, not checked and why, and verified.
    ///
    /// Looked at are chains, blobs, the order of runs, signatures, and what the cluster keeps.
    #[arg(long)]
    pub(crate) verify: bool,
    /// An earlier checkpoint that was kept elsewhere.
    ///
    /// The journal must have grown from it. Can be given several times.
    #[arg(long, requires = "verify", value_name = "FILE")]
    pub(crate) checkpoint: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HistoryCommand {
    /// Remove old runs that are rolled back.
    ///
    /// The guard's runs that belong to them go with them. A completed pivot stays: a rollback needs it.
    #[command(after_help = examples::PRUNE)]
    Prune(Prune),
    /// Print what was signed last.
    ///
    /// Kept elsewhere, a checkpoint shows later whether the journal was changed.
    #[command(after_help = examples::CHECKPOINT)]
    Checkpoint,
    /// Write a directory that an auditor verifies without fulcrum.
    #[command(after_help = examples::EXPORT)]
    Export(Export),
    /// Verify such a directory with fulcrum.
    #[command(after_help = examples::IMPORT_CHECK)]
    ImportCheck(ImportCheck),
    /// Make a new key. What the journal has is signed with both.
    #[command(after_help = examples::ROTATE_KEY)]
    RotateKey,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// A new or empty directory.
    pub(crate) dir: PathBuf,
    /// The runs, or the beginnings of their ids; without them, all.
    pub(crate) runs: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ImportCheck {
    /// The directory.
    pub(crate) dir: PathBuf,
    /// An earlier checkpoint that was kept elsewhere, to compare with.
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoint: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Prune {
    /// Keep the newest N runs, whatever became of them.
    #[arg(long, value_name = "N")]
    pub(crate) keep: usize,
    #[command(flatten)]
    pub(crate) consent: Consent,
}
