//! Whether the components would start with what their DaemonSets say. Pure.

use super::TargetError;
use super::outdated::{Behaves, Outdated, outdated};
use super::release_of::{EMULATED, emulated, runs};
use super::skew::Version;
use crate::component::Component;
use crate::manifest::{Words, WordsError};
use serde_json::Value;

/// Refuses DaemonSets as an upgrade to `to` would leave them, if their components would not start then. Returns warnings: what
/// would not start once the upgrade is finalized.
pub(super) fn would_start(after: &[(Component, Value)], to: Version) -> Result<Vec<String>, TargetError> {
    let (mut refused, mut later) = (Vec::new(), Vec::new());
    for (component, after) in after {
        let words = Words::of(*component, &after["spec"]["template"])?;
        let behaves =
            Behaves { of: to.minor, emulated: emulated(&words.flags(*component)?).unwrap_or(to.minor) };
        refused.extend(outdated(*component, &words, behaves)?);
        later.extend(finalized(*component, &words, to)?);
    }
    match refused.is_empty() {
        true => Ok(later.iter().map(|one| format!("before `fulcrum upgrade finalize`: {one}")).collect()),
        false => Err(TargetError::Outdated(refused)),
    }
}

/// Refuses to end the emulation of another release in DaemonSets whose components would not start without that. An image
/// that does not say its release refuses nothing.
///
/// # Errors
/// When a feature gate is set that the release takes with another value only, or a command line cannot be read.
pub fn would_start_finalized(live: &[(Component, Value)]) -> Result<(), TargetError> {
    let mut refused = Vec::new();
    for (component, live) in live {
        let words = Words::of(*component, &live["spec"]["template"])?;
        let emulates = words.flags(*component)?.contains_key(EMULATED);
        if let (true, Some(now)) = (emulates, runs(*component, live)) {
            refused.extend(finalized(*component, &words, now)?);
        }
    }
    match refused.is_empty() {
        true => Ok(()),
        false => Err(TargetError::Outdated(refused)),
    }
}

/// What a process of this release does not take, once it emulates no other one.
fn finalized(component: Component, words: &Words, of: Version) -> Result<Vec<Outdated>, WordsError> {
    outdated(component, words, Behaves { of: of.minor, emulated: of.minor })
}
