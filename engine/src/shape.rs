//! The shape of a plan: what a run in flight must find again in a new version of the program.

use crate::plan::{Durability, Plan, StepId};
use fulcrum_state::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// The shape of a plan: its workflow, and the names, dependencies, durability, versions and machines of its
/// steps.
/// Arguments and policies are not part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Shape {
    /// The workflow.
    pub workflow: String,
    /// The steps, in the order of the plan.
    pub steps: Vec<StepShape>,
}

/// The shape of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StepShape {
    /// Its name.
    pub id: StepId,
    /// The steps before it.
    pub after: BTreeSet<StepId>,
    /// What its effect survives.
    pub durability: Durability,
    /// The version of its work.
    pub version: u32,
    /// The machine that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
}

/// One difference between the plan of a run and the plan of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant says what its fields are")]
pub enum Difference {
    /// The workflow has another name.
    Workflow { run: String, program: String },
    /// The run has a step that the program's plan has not.
    Gone { step: StepId },
    /// The program's plan has a step that the run has not.
    New { step: StepId },
    /// A step of the run is gone, and a new one is in its place.
    Renamed { run: StepId, program: StepId },
    /// A step has other dependencies.
    After { step: StepId, run: BTreeSet<StepId>, program: BTreeSet<StepId> },
    /// The effect of a step survives something else.
    Durability { step: StepId, run: Durability, program: Durability },
    /// The work of a step has another version.
    Version { step: StepId, run: u32, program: u32 },
    /// A step is bound to another machine, or to none.
    Machine { step: StepId, run: Option<String>, program: Option<String> },
}

/// The differences between the plan of a run and the plan of a program, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differences(pub Vec<Difference>);

impl Shape {
    /// The shape of `plan`.
    pub fn of(plan: &Plan) -> Self {
        let steps = plan.steps().iter().map(|spec| StepShape {
            id: spec.id.clone(),
            after: spec.after.iter().cloned().collect(),
            durability: spec.durability,
            version: spec.version,
            machine: spec.machine().map(str::to_owned),
        });
        Self { workflow: plan.workflow().to_owned(), steps: steps.collect() }
    }

    /// A digest of the shape. Plans of one shape have one fingerprint.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(serde_json::to_string(self).unwrap_or_default().as_bytes())
    }

    /// How `program` differs from this, the shape of a run. The order of steps that do not depend on each other
    /// is no difference.
    pub fn differences(&self, program: &Shape) -> Vec<Difference> {
        let mut found = Vec::new();
        if self.workflow != program.workflow {
            let (run, program) = (self.workflow.clone(), program.workflow.clone());
            found.push(Difference::Workflow { run, program });
        }
        let mut new: Vec<&StepShape> =
            program.steps.iter().filter(|step| self.step(&step.id).is_none()).collect();
        for step in &self.steps {
            match program.step(&step.id) {
                Some(other) => found.extend(step.differences(other)),
                None => match new.iter().position(|other| self.in_place_of(step, program, other)) {
                    Some(place) => {
                        let (run, program) = (step.id.clone(), new.remove(place).id.clone());
                        found.push(Difference::Renamed { run, program });
                    }
                    None => found.push(Difference::Gone { step: step.id.clone() }),
                },
            }
        }
        found.extend(new.into_iter().map(|step| Difference::New { step: step.id.clone() }));
        found
    }

    fn step(&self, id: &StepId) -> Option<&StepShape> {
        self.steps.iter().find(|step| step.id == *id)
    }

    /// Whether two steps of two plans have the same steps before and after them.
    fn in_place_of(&self, step: &StepShape, program: &Shape, other: &StepShape) -> bool {
        let after = |shape: &Shape, id: &StepId| -> BTreeSet<StepId> {
            shape.steps.iter().filter(|step| step.after.contains(id)).map(|step| step.id.clone()).collect()
        };
        step.after == other.after && after(self, &step.id) == after(program, &other.id)
    }
}

impl StepShape {
    fn differences(&self, program: &StepShape) -> Vec<Difference> {
        let (mut found, step) = (Vec::new(), || self.id.clone());
        if self.after != program.after {
            let (run, program) = (self.after.clone(), program.after.clone());
            found.push(Difference::After { step: step(), run, program });
        }
        if self.durability != program.durability {
            let (run, program) = (self.durability, program.durability);
            found.push(Difference::Durability { step: step(), run, program });
        }
        if self.version != program.version {
            let (run, program) = (self.version, program.version);
            found.push(Difference::Version { step: step(), run, program });
        }
        if self.machine != program.machine {
            let (run, program) = (self.machine.clone(), program.machine.clone());
            found.push(Difference::Machine { step: step(), run, program });
        }
        found
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workflow { run, program } => {
                write!(f, "the run is of workflow {run:?}, the plan of {program:?}")
            }
            Self::Gone { step } => write!(f, "step {step} of the run is not in the plan"),
            Self::New { step } => write!(f, "step {step} of the plan is not in the run"),
            Self::Renamed { run, program } => {
                write!(f, "step {run} of the run is not in the plan, where {program} is in its place")
            }
            Self::After { step, run, program } => {
                write!(
                    f,
                    "step {step} comes after {} in the run, after {} in the plan",
                    names(run),
                    names(program)
                )
            }
            Self::Durability { step, run, program } => {
                write!(f, "the effect of step {step} is {run:?} in the run, {program:?} in the plan")
            }
            Self::Version { step, run, program } => {
                write!(f, "step {step} has version {run} in the run, {program} in this program")
            }
            Self::Machine { step, run, program } => {
                let name =
                    |machine: &Option<String>| machine.clone().unwrap_or_else(|| "no machine".to_owned());
                write!(
                    f,
                    "step {step} is bound to {} in the run, to {} in the plan",
                    name(run),
                    name(program)
                )
            }
        }
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, difference) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { "; " };
            write!(f, "{comma}{difference}")?;
        }
        Ok(())
    }
}

fn names(steps: &BTreeSet<StepId>) -> String {
    let names: Vec<&str> = steps.iter().map(StepId::as_str).collect();
    if names.is_empty() { "no step".to_owned() } else { names.join(", ") }
}
