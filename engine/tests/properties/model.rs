//! The rules of a run, stated a second time: sets of steps instead of a table of states.

use fulcrum_engine::event::FailureKind;
use fulcrum_engine::wait::Wait;
use fulcrum_engine::{Durability, Event, Outcome, Plan, ProbeResult, StepId};
use std::collections::{BTreeMap, BTreeSet};

type Set = BTreeSet<StepId>;

/// The result of the events so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    pub begun: bool,
    pub rolling_back: bool,
    /// At work: not paused, not ended.
    pub active: bool,
    pub ended: Option<Outcome>,
    boot: String,
    /// Steps that were ever started.
    pub started: Set,
    /// Steps with an attempt (false) or an undo (true) in flight.
    open: BTreeMap<StepId, bool>,
    /// Steps whose effect is known to be there.
    pub done: Set,
    /// Steps that were started and whose effect is unknown.
    pub unclear: Set,
    pub undone: Set,
    /// Steps that nothing more is tried on: failed for good, not ours, undo failed for good.
    pub failed: Set,
    pub foreign: Set,
    pub left: Set,
    /// Steps that wait without a process, and what for.
    pub suspended: BTreeMap<StepId, Wait>,
    /// Forward (false) and back (true).
    failures: BTreeMap<(bool, StepId), u32>,
    attempts: BTreeMap<(bool, StepId), u32>,
    /// Processes in a row that died of a step, or of none that is known; and whether one is at work.
    deaths: BTreeMap<Option<StepId>, u32>,
    at_work: bool,
}

impl Model {
    /// Takes in an event that the engine has accepted: `Err` says why it should not have.
    pub(crate) fn take(&mut self, event: &Event, plan: &Plan) -> Result<(), String> {
        if !self.may(event, plan) {
            return Err(format!("{event:?} must not follow on {self:?}"));
        }
        self.count_deaths(event);
        match event {
            Event::Begun { session, .. } => {
                (self.begun, self.active) = (true, true);
                self.boot.clone_from(&session.boot_id);
            }
            Event::Resumed { session, .. } => self.resume(&session.boot_id, plan),
            Event::RollbackStarted { .. } => {
                (self.rolling_back, self.active, self.ended) = (true, true, None);
                self.failures.clear();
                self.suspended.clear();
            }
            Event::Paused { .. } | Event::Waiting { .. } => self.active = false,
            Event::Reported { .. } => {}
            Event::Decided { step, .. } => _ = self.suspended.remove(step),
            Event::AttemptWaits { step, wait, .. } => {
                self.open.remove(step);
                self.failures.remove(&(false, step.clone()));
                if !self.rolling_back {
                    self.suspended.insert(step.clone(), wait.clone());
                }
            }
            Event::Ended { outcome, .. } => (self.active, self.ended) = (false, Some(*outcome)),
            Event::AttemptStarted { step, .. } => self.start(step),
            Event::UndoStarted { step, .. } => self.start(step),
            Event::AttemptDone { step, .. } => {
                self.failures.remove(&(false, step.clone()));
                self.close(step, |model| &mut model.done);
            }
            Event::AttemptCut { step, .. } => self.close(step, |model| &mut model.unclear),
            Event::UndoDone { step, .. } => self.close(step, |model| &mut model.undone),
            Event::UndoCut { step, .. } => _ = self.open.remove(step),
            Event::AttemptFailed { step, failure, .. } => {
                let most = plan.step(step).unwrap().policy.attempts;
                self.fail((false, step), failure.kind, most, |model| &mut model.failed);
            }
            Event::UndoFailed { step, failure, .. } => {
                let most = plan.step(step).unwrap().undo_policy.attempts;
                self.fail((true, step), failure.kind, most, |model| &mut model.left);
            }
            Event::Probed { step, result, .. } => {
                self.unclear.remove(step);
                _ = match result {
                    ProbeResult::Done => self.done.insert(step.clone()),
                    ProbeResult::Foreign(_) => self.foreign.insert(step.clone()),
                    ProbeResult::Unknown(_) if !self.rolling_back => self.foreign.insert(step.clone()),
                    _ => true,
                }
            }
            other => return Err(format!("the model does not know {other:?}")),
        }
        Ok(())
    }

    fn count_deaths(&mut self, event: &Event) {
        match event {
            Event::Begun { .. } => self.at_work = true,
            Event::Resumed { same_process, .. } if self.at_work => {
                let open = self.open.keys().chain(&self.unclear).cloned().map(Some);
                let blamed: BTreeSet<_> = open.collect();
                let blamed = if blamed.is_empty() { [None].into() } else { blamed };
                for step in blamed.into_iter().filter(|_| !same_process) {
                    *self.deaths.entry(step).or_default() += 1;
                }
            }
            Event::Resumed { .. } => {
                self.deaths.clear();
                self.at_work = true;
            }
            Event::Paused { .. } | Event::Waiting { .. } | Event::Ended { .. } => self.at_work = false,
            Event::RollbackStarted { .. } => self.deaths.clear(),
            Event::Probed { result, .. } if *result != ProbeResult::Done => {}
            Event::AttemptStarted { .. } | Event::UndoStarted { .. } | Event::Reported { .. } => {}
            event => {
                self.deaths.remove(&event.step().cloned());
                if matches!(event, Event::AttemptDone { .. } | Event::UndoDone { .. }) {
                    self.deaths.remove(&None);
                }
            }
        }
    }

    fn may(&self, event: &Event, plan: &Plan) -> bool {
        let next = |back, step: &StepId| self.attempts.get(&(back, step.clone())).copied().unwrap_or(0) + 1;
        match event {
            Event::Begun { .. } => !self.begun,
            Event::Resumed { .. } => {
                self.begun && self.ended.is_none_or(|outcome| outcome == Outcome::NeedsOperator)
            }
            Event::RollbackStarted { .. } => self.begun && !self.rolling_back,
            Event::Paused { .. } => self.active && self.open.is_empty(),
            Event::Decided { step, .. } => self.begun && self.ended.is_none() && self.asks(step),
            Event::Reported { step, attempt, .. } => {
                let open = self.open.get(step);
                self.active && open.is_some_and(|back| *attempt == next(*back, step) - 1)
            }
            Event::Waiting { .. } => self.may_wait(plan),
            Event::Ended { outcome, .. } => {
                let right = *outcome == Outcome::NeedsOperator || self.due(plan) == Some(*outcome);
                self.active && self.open.is_empty() && right
            }
            Event::AttemptStarted { step, attempt, .. } => {
                self.may_start(step, plan) && *attempt == next(false, step)
            }
            Event::UndoStarted { step, attempt } => self.may_undo(step, plan) && *attempt == next(true, step),
            Event::Probed { step, .. } => self.active && self.unclear.contains(step),
            Event::AttemptDone { step, attempt, .. }
            | Event::AttemptFailed { step, attempt, .. }
            | Event::AttemptWaits { step, attempt, .. }
            | Event::AttemptCut { step, attempt, .. } => {
                self.active && self.open.get(step) == Some(&false) && *attempt == next(false, step) - 1
            }
            Event::UndoDone { step, attempt, .. }
            | Event::UndoFailed { step, attempt, .. }
            | Event::UndoCut { step, attempt, .. } => {
                self.active && self.open.get(step) == Some(&true) && *attempt == next(true, step) - 1
            }
            other => panic!("the model does not know {other:?}"),
        }
    }

    /// Whether everything that the step depends on is done, and no rollback was asked for.
    pub(crate) fn may_start(&self, step: &StepId, plan: &Plan) -> bool {
        let untouched = [&self.done, &self.unclear, &self.failed, &self.foreign];
        let after = plan.step(step).map(|spec| spec.after.as_slice());
        self.active
            && !self.rolling_back
            && after.is_some_and(|after| after.iter().all(|before| self.done.contains(before)))
            && !self.open.contains_key(step)
            && !self.asks(step)
            && !untouched.iter().any(|set| set.contains(step))
    }

    /// Whether all that goes before the step is done, however far before. What is read back may have been started
    /// without that: earlier versions looked at what a step names as its dependencies only.
    pub(crate) fn is_reached(&self, step: &StepId, plan: &Plan) -> bool {
        let mut before = plan.step(step).into_iter().flat_map(|spec| &spec.after);
        before.all(|before| self.done.contains(before) && self.is_reached(before, plan))
    }

    fn asks(&self, step: &StepId) -> bool {
        matches!(self.suspended.get(step), Some(Wait::Decision { .. }))
    }

    /// Whether nothing else can go on.
    fn may_wait(&self, plan: &Plan) -> bool {
        // What is not reached is not looked at yet.
        let unclear = self.unclear.iter().any(|id| self.is_reached(id, plan));
        let in_the_way = [&self.failed, &self.foreign];
        let other = |id: &StepId| {
            !self.suspended.contains_key(id) && self.may_start(id, plan) && self.is_reached(id, plan)
        };
        self.active
            && !self.rolling_back
            && self.open.is_empty()
            && !self.suspended.is_empty()
            && !unclear
            && in_the_way.iter().all(|set| set.is_empty())
            && !plan.steps().iter().any(|spec| other(&spec.id))
    }

    /// It was started, and nothing that depends on it is left.
    pub(crate) fn may_undo(&self, step: &StepId, plan: &Plan) -> bool {
        let untouched = [&self.unclear, &self.undone, &self.foreign, &self.left];
        self.active
            && self.rolling_back
            && self.started.contains(step)
            && self.nothing_after(step, plan)
            && !self.open.contains_key(step)
            && !untouched.iter().any(|set| set.contains(step))
    }

    fn nothing_after(&self, step: &StepId, plan: &Plan) -> bool {
        let mut dependents = plan.steps().iter().filter(|spec| spec.after.contains(step));
        dependents.all(|spec| !self.started.contains(&spec.id) || self.undone.contains(&spec.id))
    }

    /// How the run has to end now, if it has.
    fn due(&self, plan: &Plan) -> Option<Outcome> {
        match self.rolling_back {
            true if self.started == self.undone => Some(Outcome::RolledBack),
            true if self.foreign.is_empty() && self.left.is_empty() => None,
            true if plan.steps().iter().any(|spec| self.may_undo(&spec.id, plan)) => None,
            true if self.unclear.iter().any(|step| self.nothing_after(step, plan)) => None,
            true => Some(Outcome::NeedsOperator),
            false if !self.failed.is_empty() => None,
            false if !self.foreign.is_empty() => Some(Outcome::NeedsOperator),
            false => (self.done.len() == plan.steps().len()).then_some(Outcome::Completed),
        }
    }

    fn resume(&mut self, boot: &str, plan: &Plan) {
        let rebooted = self.boot != boot;
        boot.clone_into(&mut self.boot);
        // An undo that was cut is simply to be undone still.
        let cut = std::mem::take(&mut self.open).into_iter().filter(|(_, back)| !back);
        self.unclear.extend(cut.map(|(step, _)| step));
        self.unclear.append(&mut self.foreign);
        self.suspended.retain(|_, wait| !matches!(wait, Wait::Run { .. }));
        for spec in plan.steps().iter().filter(|_| !self.rolling_back) {
            let gone =
                spec.durability == Durability::Process || (rebooted && spec.durability == Durability::Boot);
            if gone && self.done.remove(&spec.id) {
                self.unclear.insert(spec.id.clone());
            }
        }
        self.left.clear();
        self.failures.clear();
        (self.active, self.ended) = (true, None);
    }

    fn start(&mut self, step: &StepId) {
        *self.attempts.entry((self.rolling_back, step.clone())).or_default() += 1;
        self.started.insert(step.clone());
        self.suspended.remove(step);
        self.open.insert(step.clone(), self.rolling_back);
    }

    fn close(&mut self, step: &StepId, to: impl Fn(&mut Self) -> &mut Set) {
        self.open.remove(step);
        to(self).insert(step.clone());
    }

    fn fail(
        &mut self,
        (back, step): (bool, &StepId),
        kind: FailureKind,
        most: u32,
        to: impl Fn(&mut Self) -> &mut Set,
    ) {
        self.open.remove(step);
        let failures = self.failures.entry((back, step.clone())).or_default();
        *failures += 1;
        if kind == FailureKind::Fatal || *failures >= most {
            to(self).insert(step.clone());
        }
    }
}
