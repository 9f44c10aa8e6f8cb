use fulcrum_steps::host::HostError;

/// A behaviour that was not as expected.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {seen}")]
pub struct Failed {
    /// What was expected, or was being done.
    pub what: String,
    /// What was seen instead.
    pub seen: String,
}

impl Failed {
    pub(super) fn new(what: impl Into<String>, seen: impl Into<String>) -> Self {
        Self { what: what.into(), seen: seen.into() }
    }
}

impl From<kube::Error> for Failed {
    fn from(error: kube::Error) -> Self {
        Self::new("a call of the API failed", error.to_string())
    }
}

impl From<HostError> for Failed {
    fn from(error: HostError) -> Self {
        Self::new(error.attempt, error.cause)
    }
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self::new("changing the manifests directory", error.to_string())
    }
}

/// Expects that this holds. If not, says what was seen.
pub(super) fn expect(holds: bool, what: &str, seen: impl std::fmt::Debug) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(Failed::new(what, format!("saw {seen:?}"))) }
}

/// Expects that the API refuses with this code and reason.
pub(super) fn refused<T>(result: kube::Result<T>, what: &str, code: u16, reason: &str) -> Result<(), Failed> {
    match result {
        Err(kube::Error::Api(status)) if (status.code, status.reason.as_str()) == (code, reason) => Ok(()),
        Err(other) => Err(Failed::new(what, format!("expected {code} {reason}, saw {other}"))),
        Ok(_) => Err(Failed::new(what, format!("expected {code} {reason}, but it was accepted"))),
    }
}
