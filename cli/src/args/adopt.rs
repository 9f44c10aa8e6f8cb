//! What was typed after `fulcrum adopt`.

use super::{Consent, Wishes, duration};
use std::time::Duration;

#[derive(Debug, clap::Args)]
#[command(after_help = ADOPT_HELP)]
pub(crate) struct Adopt {
    #[command(flatten)]
    pub(crate) wishes: Wishes,
    /// The longest that each of the two runs may take before it is undone.
    ///
    /// E.g. 10m. Undoing has no limit.
    #[arg(long, default_value = "10m", value_parser = duration, value_name = "TIME")]
    pub(crate) timeout: Duration,
    /// Stay at static pods: do not pivot.
    #[arg(long)]
    pub(crate) to_static: bool,
    /// Make the checks, write the static manifests to stdout.
    ///
    /// Changes nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

/// How `adopt` is used.
const ADOPT_HELP: &str = "\
Two runs. The first starts static pods beside the DaemonSets' pods, has clients
served by them, and takes the DaemonSets away. The second is a pivot, with a
journal, a standby and the guard. If it fails, the static pods serve.

Examples:
  fulcrum adopt --dry-run > static-pods.yaml    what the static pods would be
  fulcrum adopt                                 shows them, asks, then does it
  fulcrum adopt --to-static                     out of self-hosting, no pivot";
