//! What the clock and others do to a run at work: timers, deadlines, decisions, reports.

use super::Executor;
use crate::desk::Letter;
use crate::error::EngineError;
use crate::event::{Event, Failure, FailureKind};
use crate::plan::StepId;
use crate::run::Phase;
use crate::status::Status;
use crate::wait::after;
use fulcrum_state::Timestamp;
use std::time::Duration;
use tokio::time::Instant;

/// The wall clock may be set meanwhile. After this long it is looked at again.
const CLOCK_LOOK: Duration = Duration::from_secs(30);

/// A report waits this long for a commit to go with. Then it gets one of its own.
const REPORT_MAX: Duration = Duration::from_secs(1);

impl Executor<'_> {
    /// When to look whether a wait has ended.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        let left = self.wake?.since(self.engine.clock.now());
        Some(Instant::now() + left.min(CLOCK_LOOK))
    }

    /// Takes a decision in. Its answer is told once it is durable, or at once if the step does not ask.
    pub(super) fn take_letter(&mut self, letter: Letter) -> Result<(), EngineError> {
        let Letter { step, decision, session, answer } = letter;
        if let Err(why) = self.run.asks(&step, self.engine.clock.now()) {
            let run = self.name;
            // A caller that is gone wants no answer.
            let _ = answer.send(Err(EngineError::NotAsked { run, step, why }));
            return Ok(());
        }
        self.record(Event::Decided { step, decision, session })?;
        self.decided.push(answer);
        Ok(())
    }

    /// The deadline of a step whose first attempt begins now.
    pub(super) fn new_deadline(&self, step: &StepId) -> Option<Timestamp> {
        let limit = self.run.plan().step(step)?.deadline()?;
        let known = self.run.state(step).is_some_and(|state| state.deadline.is_some());
        (!known).then(|| after(self.engine.clock.now(), limit))
    }

    /// How long the step may still take, if it has a deadline.
    pub(super) fn time_left(&self, step: &StepId) -> Option<Duration> {
        let deadline = self.run.state(step)?.deadline?;
        Some(deadline.since(self.engine.clock.now()))
    }

    /// The step has failed before its next attempt began: its deadline is over.
    pub(super) fn out_of_time(&mut self, step: StepId, attempt: u32) -> Result<(), EngineError> {
        let limit = self.run.plan().step(&step).and_then(|spec| spec.deadline()).unwrap_or_default();
        let error = format!("not done within {limit:?}, over all its attempts");
        let failure = Failure { kind: FailureKind::Fatal, error };
        let started = Event::AttemptStarted { step: step.clone(), attempt, pre_image: None, deadline: None };
        self.record(started)?;
        self.record(Event::AttemptFailed { step, attempt, failure, facts: Vec::new() })
    }

    /// Notes that a step has reported something.
    pub(super) fn reported(&mut self) {
        self.report_due.get_or_insert(Instant::now() + REPORT_MAX);
    }

    /// Adds what the steps have reported to this turn's commit, or makes one if they have waited for long.
    pub(super) fn add_reports(&mut self) -> Result<(), EngineError> {
        if self.batch.is_empty() && self.report_due.is_none_or(|due| due > Instant::now()) {
            return Ok(());
        }
        self.report_due = None;
        while let Some(step) = self.reports.first() {
            self.add_report(&step)?;
        }
        Ok(())
    }

    /// Adds what the step has reported. A report of a step that is not in flight, or no longer, is dropped.
    pub(super) fn add_report(&mut self, step: &StepId) -> Result<(), EngineError> {
        let Some((attempt, text)) = self.reports.take(step) else { return Ok(()) };
        let current = self.run.state(step).and_then(|state| match state.status {
            Status::Running => Some(state.attempts),
            Status::Undoing => Some(state.undos),
            _ => None,
        });
        if current != Some(attempt) || *self.run.phase() != Phase::Active {
            return Ok(());
        }
        self.record(Event::Reported { step: step.clone(), attempt, text })
    }

    /// Tells those who have decided that it is durable.
    pub(super) fn answer_letters(&mut self) {
        for answer in self.decided.drain(..) {
            let _ = answer.send(Ok(()));
        }
    }
}
