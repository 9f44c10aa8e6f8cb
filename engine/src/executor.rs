//! The loop around the state machine: take in what happened, decide, journal, act.
//!
//! One commit a turn: the results that came in and the intents that follow from them share a sync.
//! Nothing starts before the commit that names it is durable. When a commit fails, the loop drops what is in
//! flight and ends. No claim is made about work that was not journalled: a resumed run probes it.

use crate::attempt::{Call, Finished, Returned, Shared, What};
use crate::clip::{REASON_BYTES_MAX, clip, clip_to};
use crate::engine::{Ending, Engine};
use crate::error::EngineError;
use crate::event::{Event, Failure, FailureKind, PauseCause, ProbeResult};
use crate::load::BREAKPOINT;
use crate::plan::StepId;
use crate::policy::Policy;
use crate::run::{Action, Phase, Run};
use crate::step::{ErrorKind, Step, StepError};
use fulcrum_state::{Digest, Head, RunId, fault};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A step's output that is larger is refused: a journal entry holds 4 KiB.
const OUTPUT_BYTES_MAX: usize = 3000;
/// How long to wait for a step that was dropped.
const GONE_MAX: Duration = Duration::from_secs(10);

mod commit;

pub(crate) struct Executor<'a> {
    engine: &'a Engine,
    run: Run,
    id: Option<RunId>,
    head: Option<Head>,
    steps: BTreeMap<StepId, Arc<dyn Step>>,
    tasks: JoinSet<Finished>,
    in_flight: BTreeMap<StepId, (What, CancellationToken)>,
    /// Events applied but not yet committed, and the calls that may start once they are.
    batch: Vec<Event>,
    calls: Vec<Call>,
    /// What is known of steps beyond the journal: pauses that are over, pre-images that no entry names yet.
    rested: BTreeSet<StepId>,
    pre_images: BTreeMap<StepId, Digest>,
    probe_failures: BTreeMap<StepId, u32>,
    pausing: Option<(String, PauseCause)>,
    asked_to_pause: bool,
    deadline: Option<Instant>,
}

impl<'a> Executor<'a> {
    /// Ready to carry `run` on: `id` is `None` for a run that the journal does not have yet.
    pub(crate) fn new(engine: &'a Engine, run: Run, id: Option<RunId>) -> Result<Self, EngineError> {
        let mut steps = BTreeMap::new();
        for spec in run.plan().steps() {
            let step = engine.registry.step(spec).map_err(|reason| EngineError::UnknownStep {
                step: spec.id.clone(),
                reason,
                started_by: run.session().unwrap_or(&engine.session).program.clone(),
            })?;
            steps.insert(spec.id.clone(), step);
        }
        let deadline = run.plan().deadline().and_then(|limit| Instant::now().checked_add(limit));
        Ok(Self {
            engine,
            run,
            id,
            head: None,
            steps,
            tasks: JoinSet::new(),
            in_flight: BTreeMap::new(),
            batch: Vec::new(),
            calls: Vec::new(),
            rested: BTreeSet::new(),
            pre_images: BTreeMap::new(),
            probe_failures: BTreeMap::new(),
            pausing: None,
            asked_to_pause: false,
            deadline,
        })
    }

    /// Records `first`, then works until the run ends or pauses. Nothing is in flight when it returns.
    pub(crate) async fn carry_on(mut self, first: Vec<Event>) -> Result<Ending, EngineError> {
        let ending = self.until_it_ends(first).await;
        // A dropped task ends at its next await. The next process on this run must not meet it.
        if tokio::time::timeout(GONE_MAX, self.tasks.shutdown()).await.is_err() {
            tracing::error!(run = ?self.id, "a step blocks its thread: it goes on although it was dropped");
        }
        ending
    }

    async fn until_it_ends(&mut self, first: Vec<Event>) -> Result<Ending, EngineError> {
        for event in first {
            self.record(event)?;
        }
        loop {
            self.decide()?;
            self.commit().await?;
            if let (Phase::Ended(..) | Phase::Paused { .. }, Some(run)) = (self.run.phase(), self.id) {
                return Ok(Ending { run, phase: self.run.phase().clone() });
            }
            self.start_calls();
            self.next_happening().await?;
        }
    }

    /// Waits until something happens, then takes in everything that has happened by then.
    async fn next_happening(&mut self) -> Result<(), EngineError> {
        let pause = self.engine.control.pause.clone();
        let limit = self.deadline.filter(|_| self.run.rollback().is_none());
        tokio::select! {
            biased;
            () = pause.cancelled(), if !self.asked_to_pause => {
                self.asked_to_pause = true;
                self.pausing.get_or_insert(self.engine.control.why());
                self.stop();
            }
            Some(finished) = self.tasks.join_next() => {
                self.take_in(finished).await?;
                while let Some(finished) = self.tasks.try_join_next() {
                    self.take_in(finished).await?;
                }
            }
            () = sleep_until(limit), if limit.is_some() => {
                let limit = self.run.plan().deadline().unwrap_or_default();
                let busy: Vec<&str> = self.in_flight.keys().map(StepId::as_str).collect();
                let reason = format!("not done within {limit:?}; in flight: {}", busy.join(", "));
                self.record(Event::RollbackStarted { reason, mode: None })?;
            }
            else => return Err(EngineError::Lost { cause: "nothing is in flight and nothing is decided".into() }),
        }
        Ok(())
    }

    /// Turns the end of a call into events.
    async fn take_in(
        &mut self,
        finished: Result<Finished, tokio::task::JoinError>,
    ) -> Result<(), EngineError> {
        // Panics of steps are caught in the call: this would be one of the engine's own.
        let lost = |error: tokio::task::JoinError| EngineError::Lost { cause: error.to_string() };
        let Finished { what, step, attempt, result } = finished.map_err(lost)?;
        self.in_flight.remove(&step);
        match (what, result) {
            (What::Rest, _) => {
                self.rested.insert(step);
                Ok(())
            }
            (What::Probe, Ok(Returned::Found(result))) => self.probed(step, result),
            (What::Probe, Err(error)) => self.probe_failed(step, &error),
            (What::Save, Ok(Returned::Saved(bytes))) => {
                let digest = self.engine.journal.put_blob(bytes).await?;
                fault::point("blob/unnamed-pre-image");
                self.pre_images.insert(step, digest);
                Ok(())
            }
            (What::Save, Err(error)) => self.save_failed(step, attempt, error),
            (What::Run, Ok(Returned::Ran(output))) => self.ran(step, attempt, output),
            (What::Run, Err(error)) => self.record(match failure(&error) {
                Some(failure) => Event::AttemptFailed { step, attempt, failure },
                None => Event::AttemptCut { step, attempt },
            }),
            (What::Undo, Ok(Returned::Undone)) => self.record(Event::UndoDone { step, attempt }),
            (What::Undo, Err(error)) => self.record(match failure(&error) {
                Some(failure) => Event::UndoFailed { step, attempt, failure },
                None => Event::UndoCut { step, attempt },
            }),
            (_, Ok(_)) => Ok(()), // A method cannot return another method's value.
        }
    }

    fn ran(&mut self, step: StepId, attempt: u32, output: Value) -> Result<(), EngineError> {
        let size = output.to_string().len();
        if size > OUTPUT_BYTES_MAX {
            let error =
                format!("the step returned {size} bytes; at most {OUTPUT_BYTES_MAX} fit into the journal");
            let failure = Failure { kind: FailureKind::Fatal, error };
            return self.record(Event::AttemptFailed { step, attempt, failure });
        }
        if self.pausing.is_none() && self.engine.pause_after.contains(&step) {
            self.pausing = Some((format!("{BREAKPOINT}{step}"), PauseCause::Breakpoint));
        }
        self.record(Event::AttemptDone { step, attempt, output })
    }

    fn probed(&mut self, step: StepId, result: ProbeResult) -> Result<(), EngineError> {
        fault::point("probe/unrecorded");
        self.probe_failures.remove(&step);
        let result = match result {
            ProbeResult::Partial(why) => ProbeResult::Partial(clip(&why)),
            ProbeResult::Foreign(why) => ProbeResult::Foreign(clip(&why)),
            ProbeResult::Unknown(why) => ProbeResult::Unknown(clip(&why)),
            ProbeResult::Absent | ProbeResult::Done => result,
        };
        self.record(Event::Probed { step, result })
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
            return self.probed(step, ProbeResult::Unknown(error.to_string()));
        }
        Ok(())
    }

    /// A save that fails counts as a failed attempt, though nothing was changed.
    fn save_failed(&mut self, step: StepId, attempt: u32, error: StepError) -> Result<(), EngineError> {
        self.rested.remove(&step); // What is paused for next is this failure.
        if let (Some(failure), None) = (failure(&error), self.run.rollback()) {
            self.record(Event::AttemptStarted { step: step.clone(), attempt, pre_image: None })?;
            self.record(Event::AttemptFailed { step, attempt, failure })?;
        }
        Ok(())
    }

    /// Carries out what the state machine asks for, as far as it goes without the journal.
    fn decide(&mut self) -> Result<(), EngineError> {
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
            for action in actions {
                self.prepare(action)?;
            }
            return match &self.pausing {
                Some((reason, cause)) if self.in_flight.is_empty() && *self.run.phase() == Phase::Active => {
                    let (reason, cause) = (clip(reason), *cause);
                    self.record(Event::Paused { reason, cause })
                }
                _ => Ok(()),
            };
        }
    }

    fn prepare(&mut self, action: Action) -> Result<(), EngineError> {
        match action {
            Action::Stop => self.stop(),
            Action::Probe(step) if self.free(&step) => self.prepare_probe(&step),
            Action::Run { step, attempt, failures } if self.free(&step) => {
                self.prepare_run(step, attempt, failures)?;
            }
            Action::Undo { step, attempt, failures } if self.free(&step) => {
                self.prepare_undo(step, attempt, failures)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn prepare_probe(&mut self, step: &StepId) {
        let failures = self.probe_failures.get(step).copied().unwrap_or(0);
        if self.rest_is_over(step, failures, What::Run) {
            self.call(What::Probe, step, 1);
        }
    }

    fn prepare_run(&mut self, step: StepId, attempt: u32, failures: u32) -> Result<(), EngineError> {
        if !self.rest_is_over(&step, failures, What::Run) {
            return Ok(());
        }
        let saves = self.steps.get(&step).is_some_and(|step| step.saves());
        let pre_image = self.pre_images.get(&step).copied();
        let has_pre_image = self.run.state(&step).is_some_and(|state| state.pre_image.is_some());
        if saves && !has_pre_image && pre_image.is_none() {
            self.call(What::Save, &step, attempt);
            self.rested.insert(step); // The pause was before the saving: none follows it.
            return Ok(());
        }
        self.record(Event::AttemptStarted { step: step.clone(), attempt, pre_image })?;
        self.call(What::Run, &step, attempt);
        Ok(())
    }

    fn prepare_undo(&mut self, step: StepId, attempt: u32, failures: u32) -> Result<(), EngineError> {
        if self.rest_is_over(&step, failures, What::Undo) {
            self.record(Event::UndoStarted { step: step.clone(), attempt })?;
            self.call(What::Undo, &step, attempt);
        }
        Ok(())
    }

    /// Nothing of this step is in flight, nothing holds new work back, and there is room.
    fn free(&self, step: &StepId) -> bool {
        let busy = self.in_flight.values().filter(|(what, _)| *what != What::Rest).count();
        self.pausing.is_none() && !self.in_flight.contains_key(step) && busy < self.engine.parallelism
    }

    /// Whether the pause after `failures` failures is over; if it has not begun, it begins.
    fn rest_is_over(&mut self, step: &StepId, failures: u32, direction: What) -> bool {
        if self.rested.remove(step) || failures == 0 {
            return true;
        }
        let policy = if direction == What::Undo { self.undo_policy(step) } else { self.policy(step) };
        let timeout = policy.backoff.pause(failures, fastrand::f64());
        self.queue(What::Rest, step, 0, timeout);
        false
    }

    fn call(&mut self, what: What, step: &StepId, attempt: u32) {
        let policy = if what == What::Undo { self.undo_policy(step) } else { self.policy(step) };
        self.queue(what, step, attempt, policy.timeout);
    }

    fn queue(&mut self, what: What, step: &StepId, attempt: u32, timeout: Duration) {
        let stop = CancellationToken::new();
        self.in_flight.insert(step.clone(), (what, stop.clone()));
        let pre_image = self.run.state(step).and_then(|state| state.pre_image);
        self.calls.push(Call { what, step: step.clone(), attempt, timeout, pre_image, stop });
    }

    fn start_calls(&mut self) {
        let (Some(run), Some(head)) = (self.id, self.head) else {
            return; // Before the first commit there are no calls.
        };
        if self.calls.is_empty() {
            return;
        }
        let shared = Shared {
            journal: self.engine.journal.clone(),
            observer: Arc::clone(&self.engine.observer),
            run,
            head,
            outputs: Arc::new(self.run.outputs()),
        };
        for call in self.calls.drain(..) {
            if let Some(step) = self.steps.get(&call.step) {
                self.tasks.spawn(call.carry_out(Arc::clone(step), shared.clone()));
            }
        }
    }

    fn stop(&self) {
        for (_, stop) in self.in_flight.values() {
            stop.cancel();
        }
    }

    fn record(&mut self, event: Event) -> Result<(), EngineError> {
        self.run.apply(&event).map_err(|source| EngineError::Illegal { run: self.id, source })?;
        if let Event::RollbackStarted { .. } = event {
            self.stop(); // The results of what is in flight are not needed any more.
            self.rested.clear();
        }
        self.batch.push(event);
        Ok(())
    }

    fn policy(&self, step: &StepId) -> Policy {
        self.run.plan().step(step).map(|spec| spec.policy.clone()).unwrap_or_default()
    }

    fn undo_policy(&self, step: &StepId) -> Policy {
        self.run.plan().step(step).map(|spec| spec.undo_policy.clone()).unwrap_or_default()
    }
}

fn failure(error: &StepError) -> Option<Failure> {
    let kind = match error.kind() {
        ErrorKind::Retry => FailureKind::Retry,
        ErrorKind::Fatal => FailureKind::Fatal,
        ErrorKind::Stopped => return None,
    };
    Some(Failure { kind, error: clip(&error.to_string()) })
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
