//! The actions that a run asks for.

use super::states::DEATHS_MAX;
use super::{Action, Phase, Run};
use crate::clip::listed;
use crate::event::Outcome;
use crate::status::Status;
use crate::wait::earlier;

impl Run {
    /// The next actions, in the order of the plan. They depend on nothing but the events so far.
    pub fn next_actions(&self) -> Vec<Action> {
        if self.phase != Phase::Active {
            return Vec::new();
        }
        if self.kills() && !self.in_flight() {
            return vec![Action::End(Outcome::NeedsOperator, self.why_it_dies())];
        }
        self.due()
    }

    /// The next actions, without regard to how often the run's process has died.
    pub(crate) fn due(&self) -> Vec<Action> {
        if self.rollback.is_some() { self.actions_back() } else { self.actions_forward() }
    }

    fn actions_forward(&self) -> Vec<Action> {
        let (mut failed, mut foreign) = (None, None);
        for place in self.states.awake() {
            match &self.states[place].status {
                Status::Failed(why) => _ = failed.get_or_insert((place, why)),
                Status::Foreign(why) => _ = foreign.get_or_insert((place, why)),
                _ => {}
            }
        }
        let name = |place: usize| &self.plan.steps()[place].id;
        match (failed, foreign) {
            (Some((place, why)), _) => {
                return vec![Action::RollBack(format!("step {} failed: {why}", name(place)))];
            }
            // A foreign finding ends the run, once nothing is in flight any more.
            (None, Some(_)) if self.in_flight() => return vec![Action::Stop],
            (None, Some((place, why))) => {
                return vec![Action::End(Outcome::NeedsOperator, format!("step {}: {why}", name(place)))];
            }
            (None, None) if self.states.all_done() => {
                return vec![Action::End(Outcome::Completed, "every step is done".to_owned())];
            }
            (None, None) => {}
        }
        // What is found, or made, before the steps that go before are done says nothing about the time after them.
        let held = self.states.held(&self.plan);
        let is_due = |place: &usize| match &held {
            Some(held) => !held[*place],
            None => self.may_run(*place),
        };
        let action = |place: usize| {
            let (step, state) = (|| self.plan.steps()[place].id.clone(), &self.states[place]);
            match state.status {
                Status::NeedsProbe => Some(Action::Probe(step())),
                Status::Waiting => {
                    let step = step();
                    Some(Action::Run { step, attempt: state.attempts + 1, failures: state.failures })
                }
                Status::Suspended(ref wait) => {
                    let until = earlier(wait.until(), state.deadline);
                    Some(Action::Await { step: step(), until })
                }
                _ => None,
            }
        };
        self.states.awake().filter(is_due).filter_map(action).collect()
    }

    fn actions_back(&self) -> Vec<Action> {
        let actions: Vec<Action> = self.undos().collect();
        if !actions.is_empty() || self.in_flight() {
            return actions;
        }
        let why = self.rollback.as_ref().map(|rollback| rollback.reason.clone()).unwrap_or_default();
        if let Some((step, error)) = self.first(|status| match status {
            Status::UndoFailed(error) | Status::Foreign(error) => Some(error),
            _ => None,
        }) {
            let reason = format!("{why}; and step {step} could not be undone: {error}");
            return vec![Action::End(Outcome::NeedsOperator, reason)];
        }
        vec![Action::End(Outcome::RolledBack, why)]
    }

    /// Undos of steps on which nothing depends any more, and probes before them. The last step of the plan
    /// comes first.
    fn undos(&self) -> impl Iterator<Item = Action> + '_ {
        self.states.awake().rev().filter_map(|place| {
            let (step, state) = (|| self.plan.steps()[place].id.clone(), &self.states[place]);
            match state.status {
                Status::NeedsProbe if self.nothing_after(place) => Some(Action::Probe(step())),
                Status::ToUndo if self.may_undo(place) => {
                    let step = step();
                    Some(Action::Undo { step, attempt: state.undos + 1, failures: state.failures })
                }
                _ => None,
            }
        })
    }

    /// Whether too many processes have died of the run.
    fn kills(&self) -> bool {
        self.deaths >= DEATHS_MAX || self.states.any_deadly()
    }

    fn why_it_dies(&self) -> String {
        let blamed = self.steps().filter(|(_, state)| state.deaths >= DEATHS_MAX);
        let blamed = listed(blamed.map(|(spec, _)| spec.id.as_str()));
        let blamed = if blamed.is_empty() { "no step".to_owned() } else { blamed };
        format!("its process died {DEATHS_MAX} times in a row with this in flight: {blamed}")
    }
}
