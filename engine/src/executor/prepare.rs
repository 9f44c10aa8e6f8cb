//! Turns the state machine's wishes into events and calls.

use super::Executor;
use crate::attempt::{Call, Shared, What};
use crate::clip::{REASON_BYTES_MAX, clip, clip_to};
use crate::error::EngineError;
use crate::event::Event;
use crate::panics::panic_text;
use crate::plan::StepId;
use crate::run::{Action, Phase};
use crate::step_error::StepError;
use crate::wait::{Decision, Verdict, earlier};
use fulcrum_state::{Digest, Timestamp};
use futures::FutureExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a commit waits for pre-images that are being saved. Most are there at once, and their intents
/// then share its sync.
const SAVE_MAX: Duration = Duration::from_millis(5);

impl Executor<'_> {
    /// Carries out the state machine's wishes, as far as that needs no journal.
    pub(super) fn decide(&mut self) -> Result<(), EngineError> {
        loop {
            let actions = self.run.next_actions();
            if let Some(Action::RollBack(reason)) = actions.first() {
                self.record(Event::RollbackStarted { reason: clip(reason), mode: None })?;
                continue;
            }
            if let Some(Action::End(outcome, reason)) = actions.first() {
                let (outcome, reason) = (*outcome, clip_to(reason, REASON_BYTES_MAX));
                return self.record(Event::Ended { outcome, reason });
            }
            let known = self.batch.len();
            self.wake = None;
            let waits_only = self.run.waits_only(&actions);
            for action in actions {
                self.prepare(action)?;
            }
            // A step that failed before its attempt began has nothing in flight. Nor has a step whose question
            // has expired. So the state machine is asked again now.
            if self.batch[known..]
                .iter()
                .any(|recorded| matches!(recorded.event, Event::AttemptFailed { .. } | Event::Decided { .. }))
            {
                continue;
            }
            if !self.flights.is_empty() || *self.run.phase() != Phase::Active {
                return Ok(());
            }
            return match &self.pausing {
                Some((reason, cause)) => {
                    let (reason, cause) = (clip(reason), *cause);
                    self.record(Event::Paused { reason, cause })
                }
                None if waits_only => self.record(Event::Waiting { until: self.wake }),
                None => Ok(()),
            };
        }
    }

    /// Saves the pre-images that are wanted now. Then they are committed together with what led to them. A
    /// save changes nothing. So it may come before that is durable.
    pub(super) async fn save_first(&mut self) -> Result<(), EngineError> {
        let until = Instant::now() + SAVE_MAX;
        // A run that has ended in this turn takes no further event: its end is committed first.
        while !self.batch.is_empty() && *self.run.phase() == Phase::Active {
            self.start_calls(|call| call.what == What::Save).await;
            if !self.flights.any(What::Save) || self.writer.is_none() {
                return Ok(());
            }
            let Ok(Some(finished)) = tokio::time::timeout_at(until, self.tasks.next()).await else {
                return Ok(());
            };
            self.take_in(finished)?;
            self.decide()?;
        }
        Ok(())
    }

    fn prepare(&mut self, action: Action) -> Result<(), EngineError> {
        match action {
            action if self.run.is_elsewhere(&action) => self.leave(&action),
            Action::Stop => self.flights.stop(),
            Action::Probe(step) if self.free(&step) => self.prepare_probe(&step),
            Action::Run { step, attempt, failures } if self.free(&step) => {
                self.prepare_run(step, attempt, failures)?;
            }
            Action::Await { step, until } => self.prepare_after_wait(step, until)?,
            Action::Undo { step, attempt, failures } if self.free(&step) => {
                self.prepare_undo(step, attempt, failures)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Another machine carries the action out. The end of a wait is a time for the run, all the same.
    fn leave(&mut self, action: &Action) {
        if let Action::Await { until, .. } = action {
            let ahead = until.filter(|until| *until > self.engine.clock.now());
            self.wake = earlier(self.wake, ahead);
        }
    }

    fn prepare_probe(&mut self, step: &StepId) {
        let failures = self.probe_failures.get(step).copied().unwrap_or(0);
        if self.rest_is_over(step, failures, What::Run) {
            self.call(What::Probe, step, 1);
        }
    }

    fn prepare_run(&mut self, step: StepId, attempt: u32, failures: u32) -> Result<(), EngineError> {
        if self.time_left(&step).is_some_and(|left| left.is_zero()) {
            return self.out_of_time(step, attempt);
        }
        if !self.rest_is_over(&step, failures, What::Run) {
            return Ok(());
        }
        let has_one = self.run.state(&step).is_some_and(|state| state.pre_image.is_some());
        let new_one = self.pre_images.remove(&step);
        if !has_one && new_one.is_none() {
            match self.saves(&step) {
                Ok(false) => {}
                Ok(true) => {
                    self.call(What::Save, &step, attempt);
                    self.rested.insert(step); // The pause was before the save: none follows it.
                    return Ok(());
                }
                Err(error) => return self.save_failed(step, attempt, &error),
            }
        }
        let pre_image = new_one.as_deref().map(Digest::of);
        let deadline = self.new_deadline(&step);
        let started = Event::AttemptStarted { step: step.clone(), attempt, pre_image, deadline };
        self.record_with(started, new_one)?;
        self.call(What::Run, &step, attempt);
        Ok(())
    }

    /// Starts the next attempt if the wait has ended by itself. A question that nobody has answered is decided by
    /// that. An attempt follows in any case.
    fn prepare_after_wait(&mut self, step: StepId, until: Option<Timestamp>) -> Result<(), EngineError> {
        if until.is_none_or(|until| until > self.engine.clock.now()) {
            self.wake = earlier(self.wake, until);
            return Ok(());
        }
        if !self.free(&step) {
            return Ok(());
        }
        let Some(state) = self.run.state(&step) else { return Ok(()) };
        if state.asks() {
            let (decision, session) = (Decision::new(Verdict::Expired, ""), self.engine.session.clone());
            return self.record(Event::Decided { step, decision, session });
        }
        let attempt = state.attempts + 1;
        self.prepare_run(step, attempt, 0)
    }

    fn saves(&self, step: &StepId) -> Result<bool, StepError> {
        let Some(step) = self.steps.get(step) else { return Ok(false) };
        catch_unwind(AssertUnwindSafe(|| step.saves()))
            .map_err(|panic| StepError::fatal(format!("the step panicked: {}", panic_text(&*panic))))
    }

    fn prepare_undo(&mut self, step: StepId, attempt: u32, failures: u32) -> Result<(), EngineError> {
        if self.rest_is_over(&step, failures, What::Undo) {
            self.record(Event::UndoStarted { step: step.clone(), attempt })?;
            self.call(What::Undo, &step, attempt);
        }
        Ok(())
    }

    /// Whether the step has nothing in flight, nothing holds new work back, and there is room.
    fn free(&self, step: &StepId) -> bool {
        self.pausing.is_none() && !self.flights.has(step) && self.flights.busy() < self.engine.parallelism
    }

    /// Whether the pause after `failures` failures is over. Begins the pause if it has not begun.
    fn rest_is_over(&mut self, step: &StepId, failures: u32, direction: What) -> bool {
        if self.rested.remove(step) || failures == 0 {
            return true;
        }
        let policy = if direction == What::Undo { self.undo_policy(step) } else { self.policy(step) };
        let mut timeout = policy.backoff.pause(failures, fastrand::f64());
        if let (What::Run, Some(left)) = (direction, self.time_left(step)) {
            timeout = timeout.min(left);
        }
        self.queue(What::Rest, step, 0, timeout);
        false
    }

    fn call(&mut self, what: What, step: &StepId, attempt: u32) {
        let policy = if what == What::Undo { self.undo_policy(step) } else { self.policy(step) };
        let timeout = match self.time_left(step) {
            Some(left) if what == What::Run => policy.timeout.min(left),
            _ => policy.timeout,
        };
        self.queue(what, step, attempt, timeout);
    }

    fn queue(&mut self, what: What, step: &StepId, attempt: u32, timeout: Duration) {
        let stop = self.flights.add(step, what);
        let state = self.run.state(step);
        let pre_image = state.and_then(|state| state.pre_image);
        let waited = state.and_then(|state| state.waited.clone());
        let reads_output = state.is_some_and(|state| state.is_cut()) && self.run.rollback().is_none();
        self.calls.push(Call {
            what,
            step: step.clone(),
            attempt,
            timeout,
            pre_image,
            waited,
            reads_output,
            stop,
        });
    }

    /// Starts the wanted calls. Before the run is begun there are none.
    pub(super) async fn start_calls(&mut self, wanted: impl Fn(&Call) -> bool) {
        let Some(writer) = &self.writer else { return };
        let now: Vec<Call> = self.calls.extract_if(.., |call| wanted(call)).collect();
        if now.is_empty() {
            return;
        }
        let (run, head, token) = {
            let writer = writer.lock().await;
            (writer.run(), writer.head(), writer.lease().map(|lease| lease.token()))
        };
        let shared = Shared {
            reader: self.engine.journal.reader(),
            watcher: self.watcher.clone(),
            run,
            head,
            token,
            plan: Arc::clone(self.run.plan()),
            outputs: self.outputs.clone(),
            reports: self.reports.clone(),
            clock: self.engine.clock.clone(),
            caller: tracing::Span::current(),
            claim: Arc::clone(writer),
        };
        for call in now {
            if let Some(step) = self.steps.get(&call.step) {
                self.flights.starts(&call.step, call.timeout);
                // In a box: tokio moves what it is given about, and this is large.
                self.tasks.begin(call.carry_out(Arc::clone(step), shared.clone()).boxed()).await;
            }
        }
    }
}
