//! How long an answer may take.

use std::future::Future;
use std::time::Duration;
use tokio::time::timeout;

/// How long the API may take for all that it is asked.
pub(super) const API_WITHIN: Duration = Duration::from_secs(3);
/// How long a question to this machine, or to a process on it, may take.
pub(super) const HOST_WITHIN: Duration = Duration::from_millis(800);

/// The answer to one question to the API or to this machine. No answer in time is an error, too.
pub(super) async fn within<T, E: ToString>(
    limit: Duration,
    what: &str,
    question: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match timeout(limit, question).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("{what}: no answer within {limit:?}")),
    }
}
