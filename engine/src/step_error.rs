//! Why a method of a step failed, and whether another attempt may succeed.

use crate::wait::Wait;
use fulcrum_state::Timestamp;
use std::error::Error;
use std::fmt;

/// Why a step's method failed, and whether another attempt may succeed.
///
/// The step says which. `?` alone converts two kinds of errors:
/// * [`std::io::Error`], which may be tried again: the system may answer otherwise next time, and the step's
///   [`Policy`](crate::Policy) bounds the attempts. Where that is wrong, the step says `fatal`.
/// * an error type of the program's own, for which the program implements `From` for `StepError`.
///
/// ```
/// use fulcrum_engine::StepError;
///
/// fn port(path: &str) -> Result<u16, StepError> {
///     let text = std::fs::read_to_string(path)?; // The file may appear.
///     text.trim().parse().map_err(StepError::fatal) // The text will not become a number.
/// }
/// ```
///
/// The error is kept as text, with the text of each source: the journal stores it, and a later process shows
/// it. [`Error::source`] of a `StepError` is therefore `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepError {
    kind: ErrorKind,
    text: String,
    wait: Option<Box<Wait>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    Retry,
    Fatal,
    Stopped,
    Waits,
}

impl StepError {
    /// Another attempt may succeed. `cause` is a text or an error. Of an error, the whole chain of sources is
    /// kept.
    pub fn retry(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: ErrorKind::Retry, text: with_sources(cause.into().as_ref()), wait: None }
    }

    /// No further attempt can succeed. `cause` is a text or an error, as for [`StepError::retry`].
    pub fn fatal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: ErrorKind::Fatal, text: with_sources(cause.into().as_ref()), wait: None }
    }

    /// The step stopped because it was asked to ([`Context::stopped`](crate::Context::stopped)). If it was not
    /// asked, this is a failure that may be tried again.
    pub fn stopped() -> Self {
        Self { kind: ErrorKind::Stopped, text: "stopped when asked to".to_owned(), wait: None }
    }

    /// The attempt ends here, and the next one starts at this time of the wall clock. No process is needed
    /// meanwhile. This is no failure. [`Context::sleep_until`](crate::Context::sleep_until) returns it while that
    /// time has not come.
    pub fn wait_until(until: Timestamp) -> Self {
        Self::wait(Wait::Time { until })
    }

    pub(crate) fn wait(wait: Wait) -> Self {
        Self { kind: ErrorKind::Waits, text: format!("waits {wait}"), wait: Some(Box::new(wait)) }
    }

    /// What the step waits for, if that is why its attempt ended.
    pub fn waits(&self) -> Option<&Wait> {
        self.wait.as_deref()
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for StepError {}

/// Another attempt may succeed: the system may answer otherwise.
impl From<std::io::Error> for StepError {
    fn from(error: std::io::Error) -> Self {
        Self::retry(error)
    }
}

fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("read the page")]
    struct Outer(#[source] std::num::ParseIntError);

    #[test]
    fn a_step_error_is_an_error_and_has_the_text_of_each_source() {
        let cause = "x".parse::<u8>().unwrap_err();
        let error: Box<dyn Error> = StepError::fatal(Outer(cause)).into();
        assert_eq!(error.to_string(), "read the page: invalid digit found in string");
        assert!(error.source().is_none(), "nobody shows a source twice");
        assert_eq!(StepError::retry("a text").to_string(), "a text");
        assert_ne!(StepError::retry("a text"), StepError::fatal("a text"), "what it is was said");
    }
}
