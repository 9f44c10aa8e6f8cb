//! Looks of waiting steps, and single looks.

use crate::cluster::ClusterError;
use fulcrum_engine::{Look, Pending, StepError};
use std::time::Duration;

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

/// What an undo does with the API, for a purpose in words ("to put the Secrets back"). The guard waits for this run, and a
/// fallback may be what brings the API back: after so long without an answer the undo fails, and is tried again.
pub(crate) async fn before_a_fallback<T>(
    limit: Duration,
    purpose: &str,
    work: impl Future<Output = Result<T, StepError>>,
) -> Result<T, StepError> {
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or_else(|_| Err(StepError::retry(format!("the API gave no answer for {limit:?}, {purpose}"))))
}
