//! Why a call of the API failed, and whether asking again makes sense.

use fulcrum_engine::StepError;
use std::time::Duration;

/// A call of the API failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{attempt}: {cause}")]
pub struct ClusterError {
    /// What was being done, on what.
    pub attempt: String,
    /// What was seen.
    pub cause: Cause,
}

/// Another attempt may succeed: the API server may be back.
impl From<ClusterError> for StepError {
    fn from(error: ClusterError) -> Self {
        Self::retry(error)
    }
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// No answer came in time.
    #[error("no answer from the API server within {0:?}")]
    Timeout(Duration),
    /// No connection was made, or one broke.
    #[error("the API server was not reached: {0}")]
    Unreachable(String),
    /// The server refused.
    #[error("the API server answered {code} {reason}: {message}")]
    Refused {
        /// HTTP status.
        code: u16,
        /// Machine-readable reason, e.g. `AlreadyExists`.
        reason: String,
        /// The server's words.
        message: String,
    },
    /// The answer was not what it should be.
    #[error("the answer could not be read: {0}")]
    Unreadable(String),
}

impl ClusterError {
    pub(super) fn new(attempt: &str, error: kube::Error) -> Self {
        let cause = match error {
            kube::Error::Api(status) => Cause::Refused {
                code: status.code,
                reason: status.reason.clone(),
                message: status.message.clone(),
            },
            kube::Error::SerdeError(error) => Cause::Unreadable(error.to_string()),
            other => Cause::Unreachable(chain(&other)),
        };
        Self { attempt: attempt.to_owned(), cause }
    }

    /// The HTTP status, if the server answered.
    pub fn code(&self) -> Option<u16> {
        match &self.cause {
            Cause::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The object exists already.
    pub(crate) fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// Whether the same call may succeed a little later. An API server that is starting answers 403 and 500
    /// for about 3 s, because its own caches are not filled yet. So only an error that says that the request
    /// itself is wrong is final.
    pub(crate) fn is_passing(&self) -> bool {
        !matches!(self.code(), Some(400 | 404 | 405 | 409 | 410 | 413 | 415 | 422))
            && !matches!(self.cause, Cause::Unreadable(_))
    }
}

/// An error with its causes, each once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
