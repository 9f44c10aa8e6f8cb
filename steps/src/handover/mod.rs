//! What several steps and the guard do when a component changes hands.

pub mod bridge;
pub(crate) mod drain;
pub(crate) mod endpoints;
pub(crate) mod hold_back;
pub(crate) mod lease;
pub(crate) mod pair;
pub(crate) mod removal;

use crate::cluster::ClusterError;
use fulcrum_engine::{Seen, StepError};

/// For waits: an API that does not answer (well) just now is something that was seen, not a failure.
pub(crate) fn seen<T>(result: Result<T, ClusterError>) -> Result<Seen<T>, StepError> {
    match result {
        Ok(value) => Ok(Seen::Ready(value)),
        Err(error) if error.is_passing() => Ok(Seen::NotYet(error.to_string())),
        Err(error) => Err(error.into()),
    }
}
