//! The results of checks.

use crate::manifest::StaticPod;
use crate::settings::Settings;
use serde::Serialize;
use std::fmt;

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckResult {
    /// The check's name, e.g. `leader-election`.
    pub check: &'static str,
    /// Whether the pivot may go on.
    pub level: Level,
    /// What was seen.
    pub seen: String,
    /// What to do about it. Empty if nothing.
    pub remedy: String,
}

/// Whether the pivot may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be.
    Pass,
    /// The pivot may go on, but a person should know.
    Warn,
    /// The pivot may not go on.
    Refuse,
}

/// The outcome when no check refuses. Some may warn.
#[derive(Debug, Clone)]
pub struct Report {
    /// The settings for the plan.
    pub settings: Settings,
    /// The three manifests.
    pub static_pods: Vec<StaticPod>,
    /// Every check.
    pub results: Vec<CheckResult>,
}

/// At least one check refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", refusals(.results))]
pub struct Refused {
    /// Every check that was made.
    pub results: Vec<CheckResult>,
}

impl CheckResult {
    pub(super) fn pass(check: &'static str, seen: impl Into<String>) -> Self {
        Self { check, level: Level::Pass, seen: seen.into(), remedy: String::new() }
    }

    pub(super) fn warn(check: &'static str, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level: Level::Warn, seen: seen.into(), remedy: remedy.into() }
    }

    pub(super) fn refuse(check: &'static str, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level: Level::Refuse, seen: seen.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for CheckResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.seen)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

/// Turns the results into an error if one of them refuses.
pub(super) fn gate(results: &[CheckResult]) -> Result<(), Refused> {
    match results.iter().any(|verdict| verdict.level == Level::Refuse) {
        true => Err(Refused { results: results.to_vec() }),
        false => Ok(()),
    }
}

fn refusals(results: &[CheckResult]) -> String {
    let refused = results.iter().filter(|verdict| verdict.level == Level::Refuse);
    refused.map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
