//! A DAG of steps, as data. It is stored with the run. Resuming loads it and never plans again.

use crate::edges::Edges;
use crate::limits::{
    LimitError, NAME_BYTES_MAX, WORD_BYTES_MAX, WORKFLOW_BYTES_MAX, check_depth, check_text,
};
use crate::policy::{Policy, millis};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A step's name, unique within its plan, e.g. `copy/images`.
///
/// Clones share the text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(Arc<str>);

/// The work: named steps and their dependencies.
///
/// A plan that exists is valid: names are unique, dependencies exist and have no cycle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked", into = "Unchecked")]
pub struct Plan {
    workflow: String,
    deadline: Option<Duration>,
    shared: Value,
    steps: Vec<StepSpec>,
    places: HashMap<StepId, usize>,
    dependents: Vec<Vec<usize>>,
    dependencies: Vec<Vec<usize>>,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StepSpec {
    /// Its name.
    pub id: StepId,
    /// The [`StepRegistry`](crate::StepRegistry) makes the step from these. The engine does not look inside.
    pub args: Value,
    /// The steps that must be done before this one starts.
    pub after: Vec<StepId>,
    /// What the step's effect survives.
    pub durability: Durability,
    /// The policy of its run.
    pub policy: Policy,
    /// The policy of its undo.
    pub undo_policy: Policy,
    /// The longest that the step may take, over all its attempts and waits.
    #[serde(default, rename = "deadline_ms", skip_serializing_if = "Option::is_none")]
    deadline: Option<Millis>,
    /// The [version](crate::Step::version) of the step's work. The engine sets it when a run begins.
    #[serde(default = "first_version", skip_serializing_if = "is_first_version")]
    pub version: u32,
    /// The machine on which the step is carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    machine: Option<String>,
}

/// What a step's effect survives. Weaker effects are probed again when a run is resumed, and no step that comes after
/// them, however far, goes on before they are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// Nothing: the effect is gone with the process that made it.
    Process,
    /// The end of that process, but not a reboot.
    Boot,
    /// A power cut.
    Durable,
}

/// The reason why steps are not a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant says what its fields are")]
#[non_exhaustive]
pub enum PlanError {
    /// Two steps have one name.
    #[error("plan {workflow:?} has two steps named {step}; names are how the journal knows them: rename one")]
    Twice { workflow: String, step: StepId },
    /// A dependency does not exist.
    #[error("plan {workflow:?}: step {step} comes after {missing}, which is not in the plan")]
    Missing { workflow: String, step: StepId, missing: StepId },
    /// Steps wait for each other.
    #[error("plan {workflow:?}: step {step} waits, through others, for itself")]
    Cycle { workflow: String, step: StepId },
    /// A name or a value cannot be kept.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// Arguments cannot be written as JSON.
    #[error("the arguments of step {step} cannot be written as JSON: {cause}")]
    Encode { step: StepId, cause: String },
}

impl Plan {
    /// Checks the steps, and sorts each behind its dependencies. Otherwise the order stays as it is.
    ///
    /// # Errors
    /// When a name occurs twice, a dependency is missing, there is a cycle, or a name or arguments cannot be
    /// kept ([`limits`](crate::limits)).
    pub fn new(workflow: impl Into<String>, steps: Vec<StepSpec>) -> Result<Self, PlanError> {
        let workflow = workflow.into();
        check_text(|| "the name of a workflow".to_owned(), &workflow, WORKFLOW_BYTES_MAX)?;
        for spec in &steps {
            check_text(|| "the name of a step".to_owned(), spec.id.as_str(), NAME_BYTES_MAX)?;
            check_depth(|| format!("the arguments of step {}", spec.id), &spec.args)?;
            let machine = spec.machine().unwrap_or_default();
            check_text(|| format!("the machine of step {}", spec.id), machine, WORD_BYTES_MAX)?;
        }
        Self::sorted(workflow, steps)
    }

    /// A plan, without a check of its texts: a stored plan was accepted once.
    fn sorted(workflow: String, steps: Vec<StepSpec>) -> Result<Self, PlanError> {
        let mut index = BTreeMap::new();
        for (place, spec) in steps.iter().enumerate() {
            if index.insert(spec.id.clone(), place).is_some() {
                return Err(PlanError::Twice { workflow, step: spec.id.clone() });
            }
        }
        let mut edges = Edges { before: Vec::new(), after: vec![Vec::new(); steps.len()] };
        for (place, spec) in steps.iter().enumerate() {
            let mut before = Vec::new();
            for name in &spec.after {
                let Some(dependency) = index.get(name) else {
                    let (step, missing) = (spec.id.clone(), name.clone());
                    return Err(PlanError::Missing { workflow, step, missing });
                };
                before.push(*dependency);
                edges.after[*dependency].push(place);
            }
            edges.before.push(before);
        }
        match edges.order() {
            Ok(order) => Ok(Self::in_order(workflow, steps, &order)),
            Err(place) => Err(PlanError::Cycle { workflow, step: steps[place].id.clone() }),
        }
    }

    /// The steps in this order, with both directions of the edges at hand.
    fn in_order(workflow: String, steps: Vec<StepSpec>, order: &[usize]) -> Self {
        let mut unsorted: Vec<Option<StepSpec>> = steps.into_iter().map(Some).collect();
        let steps: Vec<StepSpec> = order.iter().filter_map(|place| unsorted[*place].take()).collect();
        let places: HashMap<StepId, usize> =
            steps.iter().enumerate().map(|(place, spec)| (spec.id.clone(), place)).collect();
        let mut dependents = vec![Vec::new(); steps.len()];
        let mut dependencies = Vec::with_capacity(steps.len());
        for (index, spec) in steps.iter().enumerate() {
            let before: Vec<usize> = spec.after.iter().filter_map(|id| places.get(id).copied()).collect();
            before.iter().for_each(|place| dependents[*place].push(index));
            dependencies.push(before);
        }
        Self { workflow, deadline: None, shared: Value::Null, steps, places, dependents, dependencies }
    }

    /// The longest that one session may go forward before the run is rolled back. A rollback has no limit.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Sets a value for all steps, stored with the plan. The engine does not look inside.
    #[must_use]
    pub fn with_shared(mut self, shared: Value) -> Self {
        self.shared = shared;
        self
    }

    /// The value of [`Plan::with_shared`]. Null if it was never set.
    pub fn shared(&self) -> &Value {
        &self.shared
    }

    /// The name of the workflow, e.g. `deploy`.
    pub fn workflow(&self) -> &str {
        &self.workflow
    }

    /// The value of [`Plan::with_deadline`].
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// The steps, each after its dependencies.
    pub fn steps(&self) -> &[StepSpec] {
        &self.steps
    }

    /// The step with this name.
    pub fn step(&self, id: &StepId) -> Option<&StepSpec> {
        self.place(id.as_str()).map(|place| &self.steps[place])
    }

    pub(crate) fn set_shared(&mut self, shared: Value) {
        self.shared = shared;
    }

    /// Each step may be changed, apart from its name and its dependencies.
    pub(crate) fn steps_mut(&mut self) -> impl Iterator<Item = &mut StepSpec> {
        self.steps.iter_mut()
    }

    /// The step's place in [`Plan::steps`].
    pub(crate) fn place(&self, id: &str) -> Option<usize> {
        self.places.get(id).copied()
    }

    /// The places of the steps that name the one at `place` as a dependency.
    pub(crate) fn dependents(&self, place: usize) -> &[usize] {
        &self.dependents[place]
    }

    /// The places of the steps that the one at `place` depends on.
    pub(crate) fn dependencies(&self, place: usize) -> impl Iterator<Item = usize> + '_ {
        self.dependencies[place].iter().copied()
    }
}

impl StepSpec {
    /// A step without dependencies whose effect is durable, with the default policies.
    pub fn new(id: impl Into<StepId>, args: Value) -> Self {
        Self {
            id: id.into(),
            args,
            after: Vec::new(),
            durability: Durability::Durable,
            policy: Policy::default(),
            undo_policy: Policy::tries(10, Duration::from_secs(60)),
            deadline: None,
            version: first_version(),
            machine: None,
        }
    }

    /// The value of [`StepSpec::bound_to`].
    pub fn machine(&self) -> Option<&str> {
        self.machine.as_deref()
    }

    /// Binds the step to a machine: only a process that is on it ([`Session::with_machine`](crate::Session::with_machine))
    /// probes, runs and undoes the step. In a journal that several machines write, a run whose next step is bound
    /// elsewhere waits for a worker there ([`Run::machines`](crate::Run::machines)). In any other journal it is refused.
    ///
    /// A run is at one machine at a time. Steps that several machines should carry out at once belong to several runs.
    #[must_use]
    pub fn bound_to(mut self, machine: impl Into<String>) -> Self {
        self.machine = Some(machine.into());
        self
    }

    /// Whether a process on this machine leaves the step alone.
    pub(crate) fn is_elsewhere(&self, here: Option<&str>) -> bool {
        self.machine.as_deref().is_some_and(|machine| Some(machine) != here)
    }

    /// The value of [`StepSpec::within`].
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline.map(|millis| millis.0)
    }

    /// Sets the longest that the step may take over all its attempts, with the pauses and waits between them, by
    /// the wall clock. The time counts from the first attempt, also while no process is at work on the run.
    /// Then the step fails. An undo has no such limit.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = Some(Millis(deadline));
        self
    }

    /// Adds dependencies.
    #[must_use]
    pub fn after<I: Into<StepId>>(mut self, steps: impl IntoIterator<Item = I>) -> Self {
        self.after.extend(steps.into_iter().map(Into::into));
        self
    }

    /// Sets what the effect survives.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets the policy of the run.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the policy of the undo.
    #[must_use]
    pub fn undo_policy(mut self, policy: Policy) -> Self {
        self.undo_policy = policy;
        self
    }
}

impl StepId {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<&str> for StepId {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<String> for StepId {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl Borrow<str> for StepId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for StepId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for StepId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

fn first_version() -> u32 {
    1
}

fn is_first_version(version: &u32) -> bool {
    *version == first_version()
}

/// A plan as it is stored, not yet checked.
#[derive(Serialize, Deserialize)]
struct Unchecked {
    workflow: String,
    #[serde(default, rename = "deadline_ms")]
    deadline: Option<Millis>,
    #[serde(default)]
    shared: Value,
    steps: Vec<StepSpec>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Millis(#[serde(with = "millis")] Duration);

impl TryFrom<Unchecked> for Plan {
    type Error = PlanError;

    fn try_from(stored: Unchecked) -> Result<Self, PlanError> {
        let mut plan = Self::sorted(stored.workflow, stored.steps)?;
        plan.deadline = stored.deadline.map(|millis| millis.0);
        plan.shared = stored.shared;
        Ok(plan)
    }
}

impl From<Plan> for Unchecked {
    fn from(plan: Plan) -> Self {
        let deadline = plan.deadline.map(Millis);
        Self { workflow: plan.workflow, deadline, shared: plan.shared, steps: plan.steps }
    }
}

#[cfg(test)]
mod tests;
