//! Calls and watches while an API server goes. None waits for an answer that the server has taken with it.

use super::error::{Cause, ClusterError};
use futures::{Stream, StreamExt};
use std::time::Duration;

/// The longest that one call may take: the server that is asked may be the one that ends.
const CALL_WITHIN: Duration = Duration::from_secs(1);
/// How long the server keeps a watch, in seconds, and …
pub(super) const WATCH_SECONDS: u32 = 60;
/// … how long it may be silent. After that, its end has been lost.
const SILENT_MAX: Duration = Duration::from_secs(90);

/// The answer, if it comes in time.
pub(super) async fn soon<T>(
    attempt: &str,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ClusterError> {
    match tokio::time::timeout(CALL_WITHIN, call).await {
        Ok(result) => result.map_err(|error| ClusterError::new(attempt, error)),
        Err(_) => Err(ClusterError { attempt: attempt.to_owned(), cause: Cause::Timeout(CALL_WITHIN) }),
    }
}

/// The next event; `None` when the watch has ended.
pub(super) async fn next<T>(
    attempt: &str,
    events: &mut (impl Stream<Item = Result<T, kube::Error>> + Unpin),
) -> Result<Option<T>, ClusterError> {
    match tokio::time::timeout(SILENT_MAX, events.next()).await {
        Ok(event) => event.transpose().map_err(|error| ClusterError::new(attempt, error)),
        Err(_) => Err(ClusterError { attempt: attempt.to_owned(), cause: Cause::Timeout(SILENT_MAX) }),
    }
}
