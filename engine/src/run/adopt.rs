//! Another version of a program takes a run on.

use super::states::States;
use super::{Phase, Run};
use crate::event::{Event, Outcome};
use crate::plan::{Plan, StepId};
use crate::shape::{Difference, Shape};
use crate::status::{IllegalEvent, StepState};
use std::sync::Arc;

impl Run {
    /// Takes in an [`Event::Adopted`], whose plan this is.
    ///
    /// # Errors
    /// When the event or the plan cannot follow. The run is then unchanged.
    pub fn adopt(&mut self, event: &Event, plan: Arc<Plan>) -> Result<(), IllegalEvent> {
        let Event::Adopted { plan: digest, .. } = event else { return Err(self.illegal(event)) };
        if let Err(state) = self.may_adopt(&plan) {
            return Err(IllegalEvent { event: format!("{event:?}"), state });
        }
        let state = |id: &StepId| self.state(id).cloned().unwrap_or_default();
        let states: Vec<StepState> = plan.steps().iter().map(|spec| state(&spec.id)).collect();
        self.states = States::new(&plan, states);
        self.plan = plan;
        self.stored_plan = Some(*digest);
        Ok(())
    }

    /// Whether the run can take on this plan. `Err` says why not.
    pub(crate) fn may_adopt(&self, plan: &Plan) -> Result<(), String> {
        match &self.phase {
            Phase::Active
            | Phase::Paused { .. }
            | Phase::Waiting { .. }
            | Phase::Ended(Outcome::NeedsOperator, _) => {}
            // Only a rollback is still possible.
            Phase::Ended(Outcome::Completed, _) if self.is_of_shape(plan) => {}
            Phase::Ended(Outcome::Completed, _) => {
                return Err("it is completed, and no step can be added or taken away".to_owned());
            }
            phase => return Err(format!("it is {phase}")),
        }
        let started = |id: &StepId| self.state(id).is_some_and(StepState::started);
        for (spec, _) in self.steps().filter(|(_, state)| state.started()) {
            let Some(kept) = plan.step(&spec.id) else {
                let id = &spec.id;
                return Err(format!("step {id} has started and is not in the plan: nothing would undo it"));
            };
            if kept.machine() != spec.machine() {
                let id = &spec.id;
                let bound = spec.machine().unwrap_or("no machine");
                return Err(format!("step {id} has started, bound to {bound}: only there can it be undone"));
            }
            if let Some(before) = kept.after.iter().find(|before| !started(before)) {
                let id = &spec.id;
                return Err(format!("step {before} has not started and would come before {id}, which has"));
            }
        }
        Ok(())
    }

    /// Gives `plan` what the run keeps of its own plan: the arguments of the steps that have started, and what
    /// all steps share.
    pub(crate) fn hand_down(&self, plan: &mut Plan) {
        for spec in plan.steps_mut() {
            if let (Some(old), true) =
                (self.plan.step(&spec.id), self.state(&spec.id).is_some_and(StepState::started))
            {
                spec.args = old.args.clone();
            }
        }
        plan.set_shared(self.plan.shared().clone());
    }

    /// Whether the plan has the run's shape, but for the versions of steps.
    pub(crate) fn is_of_shape(&self, plan: &Plan) -> bool {
        self.differences(plan).is_empty()
    }

    /// How the plan differs from the run's in shape. A plan that no run has yet has no versions.
    pub(crate) fn differences(&self, plan: &Plan) -> Vec<Difference> {
        let mut differences = Shape::of(&self.plan).differences(&Shape::of(plan));
        differences.retain(|difference| !matches!(difference, Difference::Version { .. }));
        differences
    }
}
