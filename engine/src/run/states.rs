//! The states of a run's steps. A plan may have thousands of steps, and after each of them the run is asked what is
//! next. So most of them need not be looked at.

use crate::plan::Plan;
use crate::status::{Status, StepState};
use std::collections::BTreeSet;
use std::ops::Deref;

/// This many processes in a row may die while one step is in flight. The next one stops for a person.
pub(super) const DEATHS_MAX: u32 = 5;

/// The states in the order of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct States {
    all: Vec<StepState>,
    /// The places of all steps but those that are done, and those that wait for a step which is not done.
    awake: BTreeSet<usize>,
    not_done: usize,
    /// How many times a step that is done depends on one that is not, whose effect was lost.
    gaps: usize,
    /// How many steps have killed too many processes.
    deadly: usize,
}

impl States {
    pub(super) fn new(plan: &Plan, all: Vec<StepState>) -> Self {
        let is_awake = |place: &usize| is_awake(plan, &all, *place);
        let done = (0..all.len()).filter(|place| is_done(&all[*place]));
        Self {
            awake: (0..all.len()).filter(is_awake).collect(),
            not_done: all.iter().filter(|state| !is_done(state)).count(),
            gaps: done.map(|place| lost_before(plan, &all, place)).sum(),
            deadly: all.iter().filter(|state| is_deadly(state)).count(),
            all,
        }
    }

    /// Sets the state of the step at `place`.
    pub(super) fn set(&mut self, plan: &Plan, place: usize, state: StepState) {
        let gaps = self.gaps_at(plan, place);
        let old = std::mem::replace(&mut self.all[place], state);
        self.gaps = self.gaps + self.gaps_at(plan, place) - gaps;
        let new = &self.all[place];
        self.not_done = self.not_done + usize::from(!is_done(new)) - usize::from(!is_done(&old));
        self.deadly = self.deadly + usize::from(is_deadly(new)) - usize::from(is_deadly(&old));
        let (was, is) = (is_done(&old), is_done(new));
        self.look_at(plan, place);
        if was != is {
            plan.dependents(place).iter().for_each(|after| self.look_at(plan, *after));
        }
    }

    /// Changes all states.
    pub(super) fn change(&mut self, plan: &Plan, change: impl FnOnce(&mut [StepState])) {
        let mut all = std::mem::take(&mut self.all);
        change(&mut all);
        *self = Self::new(plan, all);
    }

    /// The places of the steps that may be due, in flight, or stopped. The others are done, or wait for a step
    /// which is not done.
    pub(super) fn awake(&self) -> impl DoubleEndedIterator<Item = usize> + '_ {
        self.awake.iter().copied()
    }

    pub(super) fn all_done(&self) -> bool {
        self.not_done == 0
    }

    /// For each step, whether any step before it is not done, however far. `None` where no effect was lost: those
    /// that it depends on itself then tell.
    pub(super) fn held(&self, plan: &Plan) -> Option<Vec<bool>> {
        if self.gaps == 0 {
            return None;
        }
        let mut held = vec![false; self.all.len()];
        for place in 0..held.len() {
            held[place] = plan.dependencies(place).any(|before| held[before] || !is_done(&self.all[before]));
        }
        Some(held)
    }

    pub(super) fn any_deadly(&self) -> bool {
        self.deadly > 0
    }

    /// How many gaps there are next to the step at `place`.
    fn gaps_at(&self, plan: &Plan, place: usize) -> usize {
        if is_done(&self.all[place]) {
            return lost_before(plan, &self.all, place);
        }
        plan.dependents(place).iter().filter(|after| is_done(&self.all[**after])).count()
    }

    fn look_at(&mut self, plan: &Plan, place: usize) {
        if is_awake(plan, &self.all, place) {
            self.awake.insert(place);
        } else {
            self.awake.remove(&place);
        }
    }
}

impl Deref for States {
    type Target = [StepState];

    fn deref(&self) -> &[StepState] {
        &self.all
    }
}

fn is_awake(plan: &Plan, all: &[StepState], place: usize) -> bool {
    match all[place].status {
        Status::Done => false,
        Status::Waiting => plan.dependencies(place).all(|before| is_done(&all[before])),
        _ => true,
    }
}

/// How many of the steps that the one at `place` depends on are not done.
fn lost_before(plan: &Plan, all: &[StepState], place: usize) -> usize {
    plan.dependencies(place).filter(|before| !is_done(&all[*before])).count()
}

fn is_done(state: &StepState) -> bool {
    state.status == Status::Done
}

fn is_deadly(state: &StepState) -> bool {
    state.deaths >= DEATHS_MAX
}
