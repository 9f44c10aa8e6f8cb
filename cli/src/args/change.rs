//! What is typed for every change of a self-hosted control plane.

use super::{Consent, duration};
use std::path::PathBuf;
use std::time::Duration;

/// How a change is made.
#[derive(Debug, clap::Args)]
pub(crate) struct Pace {
    /// Show what would change, have it checked, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How long each new pod may take to serve, its image included, before everything comes back.
    #[arg(long, default_value = "5m", value_parser = duration, value_name = "TIME")]
    pub(crate) timeout: Duration,
    /// The kubeconfig [default: the one that the pivot was started with].
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) consent: Consent,
}
