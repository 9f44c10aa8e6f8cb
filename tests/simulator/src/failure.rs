//! The API server's refusals: a Kubernetes `Status`.

use serde_json::{Value, json};

/// An HTTP code with the `Status` that goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: u16,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self { code: 400, reason: "BadRequest", message: message.into() }
    }

    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self { code: 403, reason: "Forbidden", message: message.into() }
    }

    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self { code: 503, reason: "ServiceUnavailable", message: message.into() }
    }

    pub(super) fn no_path(path: &str) -> Self {
        Self { code: 404, reason: "NotFound", message: format!("the server could not find {path}") }
    }

    pub(super) fn not_found(resource: &str, name: &str) -> Self {
        Self { code: 404, reason: "NotFound", message: format!("{resource} {name:?} not found") }
    }

    pub(super) fn not_allowed(message: impl Into<String>) -> Self {
        Self { code: 405, reason: "MethodNotAllowed", message: message.into() }
    }

    pub(super) fn already_exists(resource: &str, name: &str) -> Self {
        Self { code: 409, reason: "AlreadyExists", message: format!("{resource} {name:?} already exists") }
    }

    pub(super) fn conflict(resource: &str, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} {name:?}: {why}");
        Self { code: 409, reason: "Conflict", message }
    }

    pub(super) fn unsupported_media(message: impl Into<String>) -> Self {
        Self { code: 415, reason: "UnsupportedMediaType", message: message.into() }
    }

    pub(super) fn invalid(kind: &str, name: &str, why: impl AsRef<str>) -> Self {
        let message = format!("{kind} {name:?} is invalid: {}", why.as_ref());
        Self { code: 422, reason: "Invalid", message }
    }

    /// A version older than what the server keeps.
    pub(super) fn expired(message: impl Into<String>) -> Self {
        Self { code: 410, reason: "Expired", message: message.into() }
    }

    /// The answer took longer than the server allows itself.
    pub(super) fn timeout(message: impl Into<String>) -> Self {
        Self { code: 504, reason: "Timeout", message: message.into() }
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self { code: 500, reason: "InternalError", message: message.into() }
    }

    pub(super) fn not_simulated(message: impl Into<String>) -> Self {
        Self { code: 501, reason: "NotImplemented", message: message.into() }
    }

    /// The body of the answer.
    pub(super) fn status(&self) -> Value {
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        })
    }
}
