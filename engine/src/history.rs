//! Turns the journal into a list of attempts: when each was made, by which process, and how it ended.

use crate::error::LoadError;
use crate::event::{Event, Outcome, ProbeResult, Session};
use crate::load::{decode, unread};
use crate::plan::StepId;
use crate::wait::{Decision, Wait};
use fulcrum_state::{Entry, Reader, RunId, Timestamp};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// One attempt, of a run or of an undo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Attempt {
    /// The step.
    pub step: StepId,
    /// Run or undo.
    pub direction: Direction,
    /// From 1, counted for each direction.
    pub attempt: u32,
    /// When the intent was journalled.
    pub started: Timestamp,
    /// When the result was journalled. `None` if it never was.
    pub ended: Option<Timestamp>,
    /// How it ended.
    pub result: AttemptResult,
    /// The process that made it.
    pub session: Session,
    /// What it reported last ([`Context::report`](crate::Context::report)).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
    /// The error, a later probe's finding, or nothing.
    pub detail: Option<String>,
    /// What it returned, or what a later probe read of that.
    pub output: Option<Value>,
    /// The journal entry with the intent.
    pub seq: u64,
}

/// Forward or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// An attempt at [`Step::run`](crate::Step::run).
    Run,
    /// An attempt at [`Step::undo`](crate::Step::undo).
    Undo,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum AttemptResult {
    /// In flight, or its process died.
    Open,
    /// It succeeded.
    Done,
    /// It failed.
    Failed,
    /// It was asked to stop.
    Stopped,
    /// It came to a point at which the step waits.
    Waits,
    /// Its process died, or its call was given up, before it had a result.
    Interrupted,
}

/// A wait of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StepWait {
    /// The step.
    pub step: StepId,
    /// What it waits for, or has waited for.
    pub wait: Wait,
    /// When it began.
    pub since: Timestamp,
    /// What was decided, if that ended the wait.
    pub decision: Option<Decided>,
    /// Whether it still waits.
    pub is_open: bool,
}

/// A decision, when it was made, and in which process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Decided {
    /// The decision.
    #[serde(flatten)]
    pub decision: Decision,
    /// When it was journalled.
    pub time: Timestamp,
    /// The process that was told.
    pub session: Session,
}

/// The history of one run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct History {
    /// The key of the run, if it has one ([`Engine::run_or_resume`](crate::Engine::run_or_resume)).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Every attempt, in the order in which they were started.
    pub attempts: Vec<Attempt>,
    /// Every wait of a step, in the order in which they began.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<StepWait>,
    /// How the run ended, if it has.
    pub outcome: Option<Outcome>,
    /// Why it ended, paused, or is being rolled back.
    pub reason: Option<String>,
    #[serde(skip)]
    session: Option<Session>,
    #[serde(skip)]
    open: BTreeMap<StepId, usize>,
}

impl History {
    /// The history of `run`.
    ///
    /// # Errors
    /// When the journal does not have the run, is damaged, or was written by a newer version.
    pub fn read(reader: &Reader, run: RunId) -> Result<Self, LoadError> {
        let mut history = Self::default();
        for entry in reader.entries(run) {
            history.push(&entry.map_err(|source| unread(run, source))?)?;
        }
        Ok(history)
    }

    /// Takes in the next entry of the run.
    ///
    /// # Errors
    /// When this version does not know the event.
    pub fn push(&mut self, entry: &Entry) -> Result<(), LoadError> {
        match decode(entry)? {
            Event::Begun { session, key, .. } => {
                self.session = Some(session);
                self.key = key;
            }
            Event::Resumed { session, .. } => self.resumed(session),
            Event::AttemptStarted { step, attempt, .. } => self.start(entry, step, Direction::Run, attempt),
            Event::UndoStarted { step, attempt } => self.start(entry, step, Direction::Undo, attempt),
            Event::AttemptDone { step, output, .. } => {
                self.end(entry, &step, AttemptResult::Done, None);
                self.returned(&step, output);
            }
            Event::UndoDone { step, .. } => self.end(entry, &step, AttemptResult::Done, None),
            Event::AttemptFailed { step, failure, .. } | Event::UndoFailed { step, failure, .. } => {
                self.end(entry, &step, AttemptResult::Failed, Some(failure.error));
            }
            Event::AttemptCut { step, .. } | Event::UndoCut { step, .. } => {
                self.end(entry, &step, AttemptResult::Stopped, None);
            }
            Event::AttemptWaits { step, wait, .. } => {
                self.end(entry, &step, AttemptResult::Waits, Some(wait.to_string()));
                let since = entry.time;
                self.waits.push(StepWait { step, wait, since, decision: None, is_open: true });
            }
            Event::Decided { step, decision, session } => {
                let decided = Decided { decision, time: entry.time, session };
                self.end_wait(&step, Some(decided));
            }
            Event::Waiting { .. } => {}
            Event::Reported { step, text, .. } => {
                if let Some(attempt) = self.last(&step) {
                    attempt.report = Some(text);
                }
            }
            Event::Probed { step, result, output, .. } => {
                self.probed(&step, &result);
                self.returned(&step, output);
            }
            Event::RollbackStarted { reason, .. } => {
                self.waits.iter_mut().for_each(|wait| wait.is_open = false);
                self.reason = Some(reason);
            }
            Event::Paused { reason, .. } | Event::Adopted { reason, .. } => self.reason = Some(reason),
            Event::Abandoned { reason, .. } => {
                self.outcome = Some(Outcome::Abandoned);
                self.reason = Some(reason);
            }
            Event::Ended { outcome, reason } => {
                self.outcome = Some(outcome);
                self.reason = Some(reason);
            }
        }
        Ok(())
    }

    fn start(&mut self, entry: &Entry, step: StepId, direction: Direction, attempt: u32) {
        let Some(session) = self.session.clone() else {
            return; // No entry precedes the run's first: `load` refuses such a journal.
        };
        self.outcome = None;
        self.end_wait(&step, None);
        self.open.insert(step.clone(), self.attempts.len());
        self.attempts.push(Attempt {
            step,
            direction,
            attempt,
            started: entry.time,
            ended: None,
            result: AttemptResult::Open,
            session,
            report: None,
            detail: None,
            output: None,
            seq: entry.seq,
        });
    }

    fn end(&mut self, entry: &Entry, step: &StepId, result: AttemptResult, detail: Option<String>) {
        if let Some(attempt) = self.open.remove(step).and_then(|index| self.attempts.get_mut(index)) {
            attempt.ended = Some(entry.time);
            attempt.result = result;
            attempt.detail = detail;
        }
    }

    fn end_wait(&mut self, step: &StepId, decision: Option<Decided>) {
        let open = |wait: &&mut StepWait| wait.is_open && wait.step == *step;
        if let Some(wait) = self.waits.iter_mut().rev().find(open) {
            wait.is_open = false;
            wait.decision = decision;
        }
    }

    fn last(&mut self, step: &StepId) -> Option<&mut Attempt> {
        self.attempts.iter_mut().rev().find(|attempt| attempt.step == *step)
    }

    fn returned(&mut self, step: &StepId, output: Value) {
        if let Some(attempt) = self.last(step).filter(|_| !output.is_null()) {
            attempt.output = Some(output);
        }
    }

    fn resumed(&mut self, session: Session) {
        for index in std::mem::take(&mut self.open).into_values() {
            if let Some(attempt) = self.attempts.get_mut(index) {
                attempt.result = AttemptResult::Interrupted;
            }
        }
        self.session = Some(session);
        self.outcome = None;
    }

    /// A probe is about the last attempt at the step. It says what that attempt had done.
    fn probed(&mut self, step: &StepId, result: &ProbeResult) {
        if let Some(attempt) = self.last(step) {
            attempt.detail = Some(match result {
                ProbeResult::Absent => "probed: absent".to_owned(),
                ProbeResult::Done => "probed: done".to_owned(),
                ProbeResult::Partial(why) => format!("probed: partial, {why}"),
                ProbeResult::Foreign(why) => format!("probed: foreign, {why}"),
                ProbeResult::Unknown(why) => format!("probed: unknown, {why}"),
            });
        }
    }
}
