//! Looks of waiting steps, and single looks.

use crate::cluster::ClusterError;
use fulcrum_engine::{Look, Pending, StepError};

/// The API's answer. A short absence of the API is something that was seen, not a failure.
pub(crate) fn answered<T>(result: Result<T, ClusterError>) -> Look<T> {
    result.map_err(|error| match error.is_passing() {
        true => Pending::NotYet(error.to_string()),
        false => error.into(),
    })
}

/// A single look: the finding, or in words what is there instead.
pub(crate) fn once<T>(look: Look<T>) -> Result<Result<T, String>, StepError> {
    match look {
        Ok(value) => Ok(Ok(value)),
        Err(Pending::NotYet(seen)) => Ok(Err(seen)),
        Err(Pending::Failed(error)) => Err(error),
    }
}
