//! What was typed after `fulcrum certs`.

use super::{Pace, Place};
use clap::Subcommand;
use fulcrum_steps::certificates::Renewable;

#[derive(Debug, clap::Args)]
pub(crate) struct Certs {
    #[command(subcommand)]
    pub(crate) command: CertsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CertsCommand {
    /// Say when each certificate ends, and who uses an older one.
    ///
    /// Whether each running process uses what its file has. Changes nothing.
    #[command(after_help = CHECK_HELP)]
    Check {
        #[command(flatten)]
        place: Place,
    },
    /// Have kubeadm renew them, and see that every process uses them.
    Renew(Renew),
}

#[derive(Debug, clap::Args)]
#[command(after_help = RENEW_HELP)]
pub(crate) struct Renew {
    /// kubeadm's name of a certificate, such as apiserver or scheduler.conf; or all [default: all].
    #[arg(value_name = "NAME", value_parser = which)]
    which: Vec<Which>,
    #[command(flatten)]
    pub(crate) pace: Pace,
}

/// What a person has named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    One(Renewable),
}

fn which(text: &str) -> Result<Which, String> {
    match text {
        "all" => Ok(Which::All),
        name => name
            .parse()
            .map(Which::One)
            .map_err(|error: fulcrum_steps::certificates::UnknownName| error.to_string()),
    }
}

impl Renew {
    /// The certificates that were named. Empty for all.
    pub(crate) fn names(&self) -> Vec<Renewable> {
        let one = |which: &Which| match which {
            Which::All => None,
            Which::One(name) => Some(*name),
        };
        // Who names one and all means all.
        self.which.iter().map(one).collect::<Option<_>>().unwrap_or_default()
    }
}

/// How `certs renew` is used.
const RENEW_HELP: &str = "\
The files from before are kept for root. kubeadm renews the certificates, the
DaemonSets of those that read them at their start only are rolled out, and each
process is asked what it has. If one does not get the new certificate, the
former files come back. It takes two to seven minutes.

Examples:
  fulcrum certs renew --dry-run
  fulcrum certs renew apiserver front-proxy-client
  fulcrum rollback RUN    the former files, byte for byte: of the last renewal";

/// How `certs check` is used, and what its exit codes are.
const CHECK_HELP: &str = "\
Exit code 0 if nothing is to be done; 12 if a certificate ends within 30 days,
or a process uses an older one than its file has; 11 if nothing of that was
found, but a file could not be read, a process did not say what it has, or no
process was found. Each listening process is asked for what it presents, by a
handshake.

Examples:
  fulcrum certs check
  fulcrum certs check -o json | jq '.certificates[] | select(.days_left < 60)'";
