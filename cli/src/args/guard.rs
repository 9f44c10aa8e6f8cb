//! What was typed after `fulcrum guard`.

use super::{duration, examples};
use clap::Subcommand;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(crate) struct Guard {
    #[command(subcommand)]
    pub(crate) command: Option<GuardCommand>,
    #[command(flatten)]
    pub(crate) pace: GuardPace,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GuardCommand {
    /// Install, enable and start the unit. A pivot does this by itself.
    #[command(after_help = examples::GUARD_INSTALL)]
    Install {
        #[command(flatten)]
        pace: GuardPace,
        /// Where the kubelet looks for static pods (its staticPodPath).
        #[arg(long, default_value = "/etc/kubernetes/manifests", value_name = "DIR")]
        manifests_dir: PathBuf,
    },
    /// Stop and remove the unit. A pivoted node then does not survive a reboot.
    #[command(after_help = examples::GUARD_UNINSTALL)]
    Uninstall,
    /// Say whether the unit is installed, enabled and running.
    #[command(after_help = examples::GUARD_STATUS)]
    Status,
    /// Hand over to the DaemonSets again, after a fallback to static pods.
    #[command(after_help = examples::GUARD_HAND_OVER)]
    HandOver {
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct GuardPace {
    /// How long the control plane may be silent before it falls back to its static pods [default: what an
    /// installed guard has, else 30s].
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) patience: Option<Duration>,
    /// After a second failure within this time the static pods stay [default: what an installed guard has,
    /// else 10m].
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) hold_off: Option<Duration>,
    /// After a renewal by hand roll out what reads its certificates at its start only, one component after the
    /// other; `=false` ends that [default: what an installed guard has, else false].
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) roll_certificates: Option<bool>,
}
