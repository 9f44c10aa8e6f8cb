//! A run that waits without a process.

use super::{Action, Phase, Run};
use crate::plan::StepId;
use crate::status::Status;
use crate::wait::Wait;
use fulcrum_state::Timestamp;

impl Run {
    /// The steps that wait, and what for, in the order of the plan.
    pub fn waits(&self) -> impl Iterator<Item = (&StepId, &Wait)> {
        self.steps().filter_map(|(spec, state)| match &state.status {
            Status::Suspended(wait) => Some((&spec.id, wait.as_ref())),
            _ => None,
        })
    }

    /// Whether the step asks for a decision at this time. `Err` says why not.
    pub(crate) fn asks(&self, step: &StepId, now: Timestamp) -> Result<(), String> {
        if !matches!(self.phase, Phase::Active | Phase::Paused { .. } | Phase::Waiting { .. }) {
            return Err(format!("the run is {}", self.phase));
        }
        let Some(state) = self.state(step) else { return Err("the run has no such step".to_owned()) };
        match &state.status {
            Status::Suspended(wait) if wait.is_for_a_decision() => {
                if wait.until().is_some_and(|expires| expires <= now) {
                    return Err("its question has expired".to_owned());
                }
                Ok(())
            }
            Status::Suspended(wait) => Err(format!("it waits {wait}")),
            status => match state.waited.as_ref().and_then(|waited| waited.decision.as_ref()) {
                Some(decision) => Err(format!("that is decided: {decision}")),
                None if *status == Status::Waiting && state.attempts == 0 => {
                    Err("it has not begun".to_owned())
                }
                None => Err(format!("the step is {status}")),
            },
        }
    }

    /// Whether nothing is left to do here but to wait.
    pub(crate) fn may_wait(&self) -> bool {
        !self.in_flight() && self.waits_only(&self.due())
    }

    /// Whether these actions leave nothing to do here but to wait.
    pub(crate) fn waits_only(&self, actions: &[Action]) -> bool {
        !actions.is_empty() && actions.iter().all(|action| action.is_wait() || self.is_elsewhere(action))
    }
}

impl Action {
    /// Whether there is nothing to do but to wait.
    pub(crate) fn is_wait(&self) -> bool {
        matches!(self, Self::Await { .. })
    }

    /// The step, if it is about one.
    pub fn step(&self) -> Option<&StepId> {
        match self {
            Self::Probe(step)
            | Self::Run { step, .. }
            | Self::Await { step, .. }
            | Self::Undo { step, .. } => Some(step),
            Self::Stop | Self::RollBack(_) | Self::End(..) => None,
        }
    }
}
