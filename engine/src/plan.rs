//! A DAG of steps, as data: it is stored with the run, and resuming loads it and never plans again.

use crate::policy::{Policy, millis};
use petgraph::algo::toposort;
use petgraph::graphmap::DiGraphMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A step's name, unique within its plan, e.g. `retire-static/kube-apiserver`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(String);

/// What is to be done: named steps and their dependencies.
///
/// A plan that exists is valid: names are unique, dependencies exist and have no cycle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked", into = "Unchecked")]
pub struct Plan {
    workflow: String,
    deadline: Option<Duration>,
    shared: Value,
    steps: Vec<StepSpec>,
    places: BTreeMap<StepId, usize>,
    dependents: Vec<Vec<usize>>,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepSpec {
    /// Its name.
    pub id: StepId,
    /// What the [`StepRegistry`](crate::StepRegistry) makes the step from. The engine does not look inside.
    pub args: Value,
    /// The steps that must be done before this one starts.
    pub after: Vec<StepId>,
    /// What its effect survives.
    pub durability: Durability,
    /// How it is run.
    pub policy: Policy,
    /// How it is undone.
    pub undo_policy: Policy,
}

/// What a step's effect survives. Weaker effects are probed again when a run is resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// Nothing: it is gone with the process that made it.
    Process,
    /// That process, but not a reboot.
    Boot,
    /// A power cut.
    Durable,
}

/// Why steps are not a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant says what its fields are")]
pub enum PlanError {
    /// Two steps have one name.
    #[error("plan {workflow:?} has two steps named {step}; names are how the journal knows them: rename one")]
    Twice { workflow: String, step: StepId },
    /// A dependency that is not there.
    #[error("plan {workflow:?}: step {step} comes after {missing}, which is not in the plan")]
    Missing { workflow: String, step: StepId, missing: StepId },
    /// Steps that wait for each other.
    #[error("plan {workflow:?}: step {step} waits, through others, for itself")]
    Cycle { workflow: String, step: StepId },
}

impl Plan {
    /// Checks the steps, and sorts them so that each comes after its dependencies.
    ///
    /// # Errors
    /// A name that is there twice, a dependency that is missing, a cycle.
    pub fn new(workflow: impl Into<String>, steps: Vec<StepSpec>) -> Result<Self, PlanError> {
        let workflow = workflow.into();
        let mut graph = DiGraphMap::<&str, ()>::new();
        for spec in &steps {
            if graph.contains_node(spec.id.as_str()) {
                return Err(PlanError::Twice { workflow, step: spec.id.clone() });
            }
            graph.add_node(spec.id.as_str());
        }
        for spec in &steps {
            for before in &spec.after {
                if !graph.contains_node(before.as_str()) {
                    let (step, missing) = (spec.id.clone(), before.clone());
                    return Err(PlanError::Missing { workflow, step, missing });
                }
                graph.add_edge(before.as_str(), spec.id.as_str(), ());
            }
        }
        let order = toposort(&graph, None)
            .map_err(|cycle| PlanError::Cycle { workflow: workflow.clone(), step: cycle.node_id().into() })?
            .into_iter()
            .map(StepId::from)
            .collect::<Vec<_>>();
        Ok(Self::in_order(workflow, steps, &order))
    }

    /// The steps sorted by `order`, with both directions of the edges at hand.
    fn in_order(workflow: String, mut steps: Vec<StepSpec>, order: &[StepId]) -> Self {
        let places: BTreeMap<StepId, usize> = order.iter().cloned().zip(0..).collect();
        steps.sort_by_key(|spec| places.get(&spec.id).copied());
        let mut dependents = vec![Vec::new(); steps.len()];
        for (index, spec) in steps.iter().enumerate() {
            for place in spec.after.iter().filter_map(|before| places.get(before)) {
                dependents[*place].push(index);
            }
        }
        Self { workflow, deadline: None, shared: Value::Null, steps, places, dependents }
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

    /// See [`Plan::with_shared`]; null if it was never set.
    pub fn shared(&self) -> &Value {
        &self.shared
    }

    /// What the plan is for, e.g. `pivot`.
    pub fn workflow(&self) -> &str {
        &self.workflow
    }

    /// See [`Plan::with_deadline`].
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// The steps, each after what it depends on.
    pub fn steps(&self) -> &[StepSpec] {
        &self.steps
    }

    /// The step with this name.
    pub fn step(&self, id: &StepId) -> Option<&StepSpec> {
        self.place(id).map(|place| &self.steps[place])
    }

    /// Where in [`Plan::steps`] it stands.
    pub(crate) fn place(&self, id: &StepId) -> Option<usize> {
        self.places.get(id).copied()
    }

    /// The places of the steps that name the one at `place` as a dependency.
    pub(crate) fn dependents(&self, place: usize) -> &[usize] {
        &self.dependents[place]
    }

    /// The places of the steps that the one at `place` depends on.
    pub(crate) fn dependencies(&self, place: usize) -> impl Iterator<Item = usize> + '_ {
        self.steps[place].after.iter().filter_map(|id| self.place(id))
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
        }
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

    /// Sets how it is run.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets how it is undone.
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
        Self(name.to_owned())
    }
}

impl From<String> for StepId {
    fn from(name: String) -> Self {
        Self(name)
    }
}

impl Borrow<str> for StepId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A plan as it is stored: not yet known to be one.
#[derive(Serialize, Deserialize)]
struct Unchecked {
    workflow: String,
    #[serde(default, rename = "deadline_ms")]
    deadline: Option<Millis>,
    #[serde(default)]
    shared: Value,
    steps: Vec<StepSpec>,
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Millis(#[serde(with = "millis")] Duration);

impl TryFrom<Unchecked> for Plan {
    type Error = PlanError;

    fn try_from(stored: Unchecked) -> Result<Self, PlanError> {
        let mut plan = Self::new(stored.workflow, stored.steps)?;
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
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(id: &str, after: &[&str]) -> StepSpec {
        StepSpec::new(id, Value::Null).after(after.iter().copied())
    }

    #[test]
    fn steps_come_after_what_they_depend_on() {
        let plan = Plan::new("p", vec![spec("c", &["a", "b"]), spec("b", &["a"]), spec("a", &[])]).unwrap();
        let names: Vec<&str> = plan.steps().iter().map(|step| step.id.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(plan.dependents(0), [1, 2]);
    }

    #[test]
    fn what_is_not_a_dag_is_refused() {
        let twice = Plan::new("p", vec![spec("a", &[]), spec("a", &[])]);
        assert!(matches!(twice, Err(PlanError::Twice { .. })));
        let missing = Plan::new("p", vec![spec("a", &["b"])]);
        assert!(matches!(missing, Err(PlanError::Missing { .. })));
        let cycle = Plan::new("p", vec![spec("a", &["b"]), spec("b", &["a"])]);
        assert!(matches!(cycle, Err(PlanError::Cycle { .. })));
    }

    #[test]
    fn a_stored_plan_is_checked_when_it_is_read() {
        let plan = Plan::new("p", vec![spec("a", &[])]).unwrap().with_deadline(Duration::from_secs(9));
        let text = serde_json::to_value(&plan).unwrap();
        assert_eq!(serde_json::from_value::<Plan>(text.clone()).unwrap(), plan);
        let mut broken = text;
        broken["steps"][0]["after"] = json!(["ghost"]);
        assert!(serde_json::from_value::<Plan>(broken).unwrap_err().to_string().contains("ghost"));
    }
}
