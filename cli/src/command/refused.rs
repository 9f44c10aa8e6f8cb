//! Turns a refusal by the checks into the command's failure.

use crate::exit::{Exit, Failure};
use crate::shell::Shell;
use fulcrum_simulator::rehearsal::RehearsalError;
use fulcrum_steps::preflight::Refused;

/// The failure of a command whose checks refuse.
pub(super) fn refuse(refused: Refused, shell: &Shell) -> Failure {
    shell.talk("refused; nothing was changed:");
    Failure::new(Exit::Refused, refused)
}

/// Turns a rehearsal's error into the command's failure.
pub(super) fn from_rehearsal(error: RehearsalError, shell: &Shell) -> Failure {
    match error {
        RehearsalError::Refused(refused) => refuse(refused, shell),
        other => Failure::new(Exit::Other, other),
    }
}
