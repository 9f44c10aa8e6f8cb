//! Plans of a program, kept as files beside its tests.

use crate::plan::Plan;
use crate::shape::{Differences, Shape};
use crate::step::StepRegistry;
use std::path::{Path, PathBuf};

/// A plan is not as its kept file says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant says what its fields are")]
pub enum PlanChanged {
    /// The shape has changed. Runs that are in flight will be refused.
    #[error(
        "the plan is not as {} has it: {differences}; runs in flight will have to be adopted. If that is meant, \
         the file holds:\n{expected}", path.display()
    )]
    Differs { path: PathBuf, differences: Differences, expected: String },
    /// The file cannot be read. If the plan is new, this is its content.
    #[error("{} cannot be read ({cause}); if the plan is new, it holds:\n{expected}", path.display())]
    Unread { path: PathBuf, cause: String, expected: String },
    /// The registry does not know a step of the plan.
    #[error("{0}")]
    UnknownStep(String),
}

/// Checks that a plan has the [shape](Shape) that a file keeps: its steps, their dependencies, and the versions
/// of their work. The file is part of the program's sources. A change of the plan then shows in a review, before
/// a run in flight meets it.
///
/// This writes nothing. The error has the file's content.
///
/// # Errors
/// [`PlanChanged`], with each difference by the name of its step.
pub fn plan_is_as_kept(
    path: impl AsRef<Path>,
    plan: &Plan,
    registry: &dyn StepRegistry,
) -> Result<(), PlanChanged> {
    let path = path.as_ref().to_owned();
    let mut plan = plan.clone();
    for spec in plan.steps_mut() {
        spec.version = registry.step(spec).map_err(PlanChanged::UnknownStep)?.version();
    }
    let shape = Shape::of(&plan);
    let expected = serde_json::to_string_pretty(&shape).unwrap_or_default() + "\n";
    let kept = std::fs::read_to_string(&path).map_err(|error| error.to_string());
    let kept = kept.and_then(|text| serde_json::from_str::<Shape>(&text).map_err(|error| error.to_string()));
    let kept = match kept {
        Ok(kept) => kept,
        Err(cause) => return Err(PlanChanged::Unread { path, cause, expected }),
    };
    match Differences(kept.differences(&shape)) {
        Differences(none) if none.is_empty() => Ok(()),
        differences => Err(PlanChanged::Differs { path, differences, expected }),
    }
}
