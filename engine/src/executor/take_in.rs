//! Turns the end of a call into events.

use super::Executor;
use crate::attempt::{Finished, Returned, What};
use crate::clip::clip;
use crate::error::EngineError;
use crate::event::{Event, Failure, FailureKind, PauseCause, ProbeResult};
use crate::limits::check_output;
use crate::load::BREAKPOINT;
use crate::plan::StepId;
use crate::step_error::{ErrorKind, StepError};
use fulcrum_state::fault;
use serde_json::Value;
use tokio::task::JoinError;

impl Executor<'_> {
    /// Turns the end of a call into events.
    pub(super) fn take_in(&mut self, finished: Result<Finished, JoinError>) -> Result<(), EngineError> {
        // The call catches panics of steps. So this one would be the engine's own.
        let lost = |error: JoinError| EngineError::Lost { cause: error.to_string() };
        let Finished { what, step, attempt, facts, result } = finished.map_err(lost)?;
        self.flights.ended(&step, &self.watcher);
        if matches!(what, What::Run | What::Undo) {
            self.add_report(&step)?;
        }
        match (what, result) {
            (What::Rest, _) => {
                self.rested.insert(step);
                Ok(())
            }
            (What::Probe, Ok(Returned::Found(result, output))) => self.probed(step, result, output, facts),
            (What::Probe, Err(error)) => self.probe_failed(step, &error),
            (What::Save, Ok(Returned::Saved(bytes))) => {
                self.pre_images.insert(step, bytes);
                Ok(())
            }
            (What::Save, Err(error)) => self.save_failed(step, attempt, &error),
            (What::Run, Ok(Returned::Ran(output))) => self.ran(step, attempt, output, facts),
            (What::Run, Err(error)) => self.record(match (error.waits(), failure(&error)) {
                (Some(wait), _) => Event::AttemptWaits { step, attempt, wait: wait.clone(), facts },
                (None, Some(failure)) => Event::AttemptFailed { step, attempt, failure, facts },
                (None, None) => Event::AttemptCut { step, attempt, facts },
            }),
            (What::Undo, Ok(Returned::Undone)) => self.record(Event::UndoDone { step, attempt, facts }),
            (What::Undo, Err(error)) => self.record(match failure(&error) {
                Some(failure) => Event::UndoFailed { step, attempt, failure, facts },
                None => Event::UndoCut { step, attempt, facts },
            }),
            (_, Ok(_)) => Ok(()), // A method cannot return another method's value.
        }
    }

    fn ran(
        &mut self,
        step: StepId,
        attempt: u32,
        output: Value,
        facts: Vec<Value>,
    ) -> Result<(), EngineError> {
        if let Err(limit) = check_output(&output) {
            let failure = Failure { kind: FailureKind::Fatal, error: limit.to_string() };
            return self.record(Event::AttemptFailed { step, attempt, failure, facts });
        }
        self.pause_at_breakpoint(&step);
        self.record(Event::AttemptDone { step, attempt, output, facts })
    }

    fn probed(
        &mut self,
        step: StepId,
        result: ProbeResult,
        output: Value,
        facts: Vec<Value>,
    ) -> Result<(), EngineError> {
        fault::point("probe/unrecorded");
        self.probe_failures.remove(&step);
        let result = match result {
            ProbeResult::Partial(why) => ProbeResult::Partial(clip(&why)),
            ProbeResult::Foreign(why) => ProbeResult::Foreign(clip(&why)),
            ProbeResult::Unknown(why) => ProbeResult::Unknown(clip(&why)),
            ProbeResult::Absent | ProbeResult::Done => result,
        };
        // The step's attempt comes to its end here.
        if result == ProbeResult::Done && self.run.state(&step).is_some_and(|state| state.is_cut()) {
            self.pause_at_breakpoint(&step);
        }
        self.record(Event::Probed { step, result, output, facts })
    }

    fn pause_at_breakpoint(&mut self, step: &StepId) {
        let forward = self.run.rollback().is_none();
        if forward && self.pausing.is_none() && self.engine.pause_after.contains(step) {
            self.pausing = Some((format!("{BREAKPOINT}{step}"), PauseCause::Breakpoint));
        }
    }

    /// A probe has as many attempts as its step. In a rollback it has one: the undo looks for itself.
    fn probe_failed(&mut self, step: StepId, error: &StepError) -> Result<(), EngineError> {
        if error.kind() == ErrorKind::Stopped {
            return Ok(());
        }
        let failures = self.probe_failures.entry(step.clone()).or_default();
        *failures += 1;
        let last = *failures >= self.policy(&step).attempts || self.run.rollback().is_some();
        if last || error.kind() == ErrorKind::Fatal {
            return self.probed(step, ProbeResult::Unknown(error.to_string()), Value::Null, Vec::new());
        }
        Ok(())
    }

    /// A failed save counts as a failed attempt, though nothing was changed.
    pub(super) fn save_failed(
        &mut self,
        step: StepId,
        attempt: u32,
        error: &StepError,
    ) -> Result<(), EngineError> {
        self.rested.remove(&step); // The next pause is for this failure.
        if let (Some(failure), None) = (failure(error), self.run.rollback()) {
            let deadline = self.new_deadline(&step);
            self.record(Event::AttemptStarted { step: step.clone(), attempt, pre_image: None, deadline })?;
            self.record(Event::AttemptFailed { step, attempt, failure, facts: Vec::new() })?;
        }
        Ok(())
    }
}

fn failure(error: &StepError) -> Option<Failure> {
    let kind = match error.kind() {
        // Only `run` may wait.
        ErrorKind::Retry | ErrorKind::Waits => FailureKind::Retry,
        ErrorKind::Fatal => FailureKind::Fatal,
        ErrorKind::Stopped => return None,
    };
    Some(Failure { kind, error: clip(&error.to_string()) })
}
