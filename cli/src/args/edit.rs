//! What was typed after `fulcrum edit`.

use super::{Consent, duration};
use fulcrum_steps::component::Component;
use fulcrum_steps::manifest::FlagChange;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, clap::Args)]
#[command(after_help = EDIT_HELP)]
pub(crate) struct Edit {
    /// kube-apiserver, kube-controller-manager or kube-scheduler.
    pub(crate) component: Component,
    /// Give a flag this value, in the place of every earlier one (can be given several times).
    #[arg(long, value_name = "FLAG=VALUE", value_parser = flag_value)]
    pub(crate) set: Vec<FlagChange>,
    /// Take a flag out (can be given several times).
    #[arg(long, value_name = "FLAG", value_parser = flag)]
    pub(crate) unset: Vec<FlagChange>,
    /// Show the difference, have the API server check it, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How long the new pod may take to serve before the former one comes back.
    #[arg(long, default_value = "5m", value_parser = duration, value_name = "TIME")]
    pub(crate) timeout: Duration,
    /// The kubeconfig [default: the one that the pivot was started with].
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

/// How `edit` is used.
const EDIT_HELP: &str = "\
Without --set and --unset the command line is opened in KUBE_EDITOR or EDITOR, else vi. The new pod
starts beside the old one. If it does not serve, the former command line comes back by itself.

Examples:
  fulcrum edit kube-apiserver --set v=4 --unset profiling
  EDITOR=nano fulcrum edit kube-scheduler
  fulcrum rollback RUN                       # takes an edit back later; RUN is in `fulcrum history`";

impl Edit {
    /// The changes, in the order in which they are made.
    pub(crate) fn changes(&self) -> Vec<FlagChange> {
        self.unset.iter().chain(&self.set).cloned().collect()
    }
}

fn flag_value(text: &str) -> Result<FlagChange, String> {
    match text.split_once('=') {
        Some((name, value)) if is_name(name) => Ok(FlagChange::Set(name.to_owned(), value.to_owned())),
        _ => Err("write e.g. --set v=4".to_owned()),
    }
}

fn flag(text: &str) -> Result<FlagChange, String> {
    if is_name(text) {
        Ok(FlagChange::Unset(text.to_owned()))
    } else {
        Err("write e.g. --unset v".to_owned())
    }
}

/// With or without the dashes before it.
fn is_name(text: &str) -> bool {
    let name = text.trim_start_matches('-');
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}
