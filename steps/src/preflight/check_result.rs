//! The results of checks.

use crate::check::{Check, Ignored, Needs};
use crate::manifest::StaticPod;
use crate::settings::Settings;
use serde::Serialize;
use std::fmt;

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckResult {
    /// The check.
    pub check: Check,
    /// Whether the pivot may go on.
    pub level: Level,
    /// What was seen.
    pub seen: String,
    /// What to do about it. Empty if nothing.
    pub remedy: String,
    /// Whether this would refuse, and a person has overruled the refusal. The level is then a warning's.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ignored: bool,
}

/// Whether the pivot may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be.
    Pass,
    /// What the check needs could not be learned, for another check refused.
    NotChecked,
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
    /// All is as it should be.
    pub fn pass(check: Check, seen: impl Into<String>) -> Self {
        Self { check, level: Level::Pass, seen: seen.into(), remedy: String::new(), ignored: false }
    }

    /// A person should know.
    pub fn warn(check: Check, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (seen, remedy) = (seen.into(), remedy.into());
        Self { check, level: Level::Warn, seen, remedy, ignored: false }
    }

    /// The pivot may not go on.
    pub fn refuse(check: Check, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (seen, remedy) = (seen.into(), remedy.into());
        Self { check, level: Level::Refuse, seen, remedy, ignored: false }
    }

    fn not_checked(check: Check, seen: &str) -> Self {
        let (seen, remedy) = (seen.to_owned(), String::new());
        Self { check, level: Level::NotChecked, seen, remedy, ignored: false }
    }
}

impl fmt::Display for CheckResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.seen)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

/// What could be learned before the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// All three manifests.
    pub manifests: bool,
    /// What the API says.
    pub cluster: bool,
}

/// Adds a result for each check that has none: it has found nothing, or could not be made. The command's own
/// checks are left out. The order becomes that of the checks.
pub fn complete(results: &mut Vec<CheckResult>, known: Known) {
    let silent = Check::ALL.into_iter().filter(|check| !results.iter().any(|one| one.check == *check));
    let silent = silent.filter_map(|check| match check.needs() {
        Needs::Command => None,
        Needs::Manifests | Needs::Cluster if !known.manifests => {
            Some(CheckResult::not_checked(check, "a manifest could not be taken"))
        }
        Needs::Cluster if !known.cluster => {
            Some(CheckResult::not_checked(check, "the cluster could not be asked"))
        }
        Needs::Machine | Needs::Manifests | Needs::Cluster => {
            Some(CheckResult::pass(check, "nothing is in the way"))
        }
    });
    let silent: Vec<CheckResult> = silent.collect();
    results.extend(silent);
    results.sort_by_key(|result| result.check);
}

/// Turns the refusals that a person overrules into warnings.
pub(super) fn overrule(results: &mut [CheckResult], ignored: &Ignored) {
    let overruled = |result: &&mut CheckResult| result.level == Level::Refuse && ignored.has(result.check);
    for result in results.iter_mut().filter(overruled) {
        result.level = Level::Warn;
        result.ignored = true;
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
    refused.map(|verdict| format!("{verdict} ({})", verdict.check.page())).collect::<Vec<_>>().join("\n")
}
