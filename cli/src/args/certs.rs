//! What was typed after `fulcrum certs`.

use super::Place;
use clap::Subcommand;

#[derive(Debug, clap::Args)]
pub(crate) struct Certs {
    #[command(subcommand)]
    pub(crate) command: CertsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CertsCommand {
    /// Say when each certificate ends, and whether each running process uses what its file has. Changes nothing.
    #[command(after_help = CHECK_HELP)]
    Check {
        #[command(flatten)]
        place: Place,
    },
}

/// How `certs check` is used, and what its exit codes are.
const CHECK_HELP: &str = "\
Exit code 0 if nothing is to be done; 12 if a certificate ends within 30 days, or a process uses an
older one than its file has; 11 if nothing of that was found, but a file could not be read, a process
did not say what it has, or no process was found. Each listening process is asked for what it presents,
by a handshake.

Examples:
  fulcrum certs check
  fulcrum certs check -o json | jq '.certificates[] | select(.days_left < 60) | .name'";
