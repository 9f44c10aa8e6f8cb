//! What was typed after the commands that look, and change nothing.

use super::Wishes;
use fulcrum_steps::check::Check;

#[derive(Debug, clap::Args)]
#[command(after_help = PREFLIGHT_HELP)]
pub(crate) struct Preflight {
    #[command(flatten)]
    pub(crate) wishes: Wishes,
    /// Say what a check looks at, why, and what to do; no look at the node.
    #[arg(long, value_name = "NAME")]
    pub(crate) explain: Option<Check>,
}

/// How `preflight` is used, and what its exit codes are.
const PREFLIGHT_HELP: &str = "\
Exit code 0 if a pivot may begin, 3 if a check refuses. Nothing is changed in either case.

Examples:
  fulcrum preflight
  fulcrum preflight -v                                    # what was seen by checks that passed, too
  fulcrum preflight --ignore-preflight-errors taint,fit   # as a pivot with this option sees it
  fulcrum preflight --explain taint";
