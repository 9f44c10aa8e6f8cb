//! Steps that are bound to a machine.

use super::{Action, Phase, Run};
use crate::plan::StepId;

impl Run {
    /// The steps that go on at another machine than the one that was last at work on the run, with that machine, in
    /// the order of the plan. A step that waits for a time or a decision is none of them. Empty unless the run
    /// [waits](Phase::Waiting).
    pub fn machines(&self) -> Vec<(&StepId, &str)> {
        if !matches!(self.phase, Phase::Waiting { .. }) {
            return Vec::new();
        }
        let due = self.due().into_iter().filter(|action| !action.is_wait() && self.is_elsewhere(action));
        let mut steps: Vec<_> = due.filter_map(|action| self.plan.place(action.step()?.as_str())).collect();
        steps.sort_unstable();
        let bound = steps.into_iter().map(|place| &self.plan.steps()[place]);
        bound.filter_map(|spec| Some((&spec.id, spec.machine()?))).collect()
    }

    /// Whether the action is one for another machine than that of the last session.
    pub(crate) fn is_elsewhere(&self, action: &Action) -> bool {
        let spec = action.step().and_then(|step| self.plan.step(step));
        spec.is_some_and(|spec| spec.is_elsewhere(self.machine()))
    }

    /// The machine of the last session.
    fn machine(&self) -> Option<&str> {
        self.session.as_ref()?.machine.as_deref()
    }

    /// Counts for the steps that were in flight. Another step's results say nothing of them.
    pub(super) fn count_death(&mut self) {
        let mut blamed = false;
        let here = self.session.as_ref().and_then(|session| session.machine.as_deref());
        self.states.change(&self.plan, |all| {
            let all = self.plan.steps().iter().zip(all);
            for (_, state) in all.filter(|(spec, state)| state.is_open() && !spec.is_elsewhere(here)) {
                state.deaths += 1;
                blamed = true;
            }
        });
        self.deaths += u32::from(!blamed);
    }

    /// The last process did not die. That says nothing of a step which it had to leave alone.
    pub(super) fn forget_deaths(&mut self) {
        self.deaths = 0;
        let here = self.session.as_ref().and_then(|session| session.machine.as_deref());
        self.states.change(&self.plan, |all| {
            let all = self.plan.steps().iter().zip(all);
            all.filter(|(spec, state)| !(state.is_open() && spec.is_elsewhere(here)))
                .for_each(|(_, state)| state.deaths = 0);
        });
    }
}
