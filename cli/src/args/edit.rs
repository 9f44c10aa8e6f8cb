//! What was typed after `fulcrum edit`.

use super::Pace;
use fulcrum_steps::component::Component;
use fulcrum_steps::manifest::FlagChange;

#[derive(Debug, clap::Args)]
#[command(after_help = EDIT_HELP)]
pub(crate) struct Edit {
    /// kube-apiserver, kube-controller-manager or kube-scheduler.
    pub(crate) component: Component,
    /// Give a flag this value, in the place of every earlier one (can be given several times).
    #[arg(long, value_name = "FLAG=VALUE", allow_hyphen_values = true, value_parser = flag_value)]
    pub(crate) set: Vec<FlagChange>,
    /// Take a flag out (can be given several times).
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true, value_parser = flag)]
    pub(crate) unset: Vec<FlagChange>,
    #[command(flatten)]
    pub(crate) pace: Pace,
}

/// How `edit` is used.
const EDIT_HELP: &str = "\
Without --set and --unset the command line is opened in KUBE_EDITOR or EDITOR,
else vi. The new pod starts beside the old one. If it does not serve, the former
command line comes back by itself.

Examples:
  fulcrum edit kube-apiserver --set v=4 --unset profiling
  EDITOR=nano fulcrum edit kube-scheduler
  fulcrum rollback RUN    takes an edit back later; RUN is in `fulcrum history`";

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
