//! The state machine of one step: one table, for live running and for recovery.

use crate::event::{Event, Failure, FailureKind, ProbeResult};
use crate::plan::StepSpec;
use crate::wait::{Wait, Waited};
use fulcrum_state::{Digest, Timestamp};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

/// The state of one step: everything that is known of it after a crash.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StepState {
    /// What may happen to the step next.
    pub status: Status,
    /// Attempts started so far, over all sessions. With 0 the step was never touched, and there is nothing to
    /// undo.
    pub attempts: u32,
    /// Undo attempts started so far, over all sessions.
    pub undos: u32,
    /// Failures in a row in this session, in the present direction.
    pub failures: u32,
    /// The blob with the step's pre-image.
    pub pre_image: Option<Digest>,
    /// The value that the last attempt returned, or that was read after a probe found it done. `None` if that
    /// attempt has no output, or no result yet.
    pub output: Option<Arc<Value>>,
    /// The attempt that had a result. This is the last one, unless that was cut short.
    pub settled: u32,
    /// Processes in a row that died while the step had an attempt, an undo or a probe in flight, as far as
    /// the journal tells.
    pub deaths: u32,
    /// What its waits have come to. `None` if it never waited.
    pub waited: Option<Arc<Waited>>,
    /// When the step must be done, by the wall clock.
    pub deadline: Option<Timestamp>,
}

/// What may happen to a step next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Status {
    /// May start (again) once all its dependencies are done.
    #[default]
    Waiting,
    /// An attempt was started and has no result yet.
    Running,
    /// The last attempt ended where the step waits, without a process. May start again once the wait is over.
    Suspended(Arc<Wait>),
    /// A past attempt has no result, or its effect may be gone.
    NeedsProbe,
    /// The step's effect is there.
    Done,
    /// No further attempt will be made. The run is rolled back.
    Failed(String),
    /// Something is there that only a person can judge.
    Foreign(String),
    /// To be undone (again) once nothing is left that depends on it.
    ToUndo,
    /// An undo was started and has no result yet.
    Undoing,
    /// The step's effect is gone.
    Undone,
    /// No further undo will be made. A person is needed.
    UndoFailed(String),
}

/// An event that cannot follow the earlier ones. Either the journal was not written by this engine, or the
/// engine is wrong.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{event} cannot follow when {state}")]
#[non_exhaustive]
pub struct IllegalEvent {
    /// The event.
    pub event: String,
    /// The state that it met.
    pub state: String,
}

impl StepState {
    /// The state after `event`, which is about this step.
    ///
    /// # Errors
    /// When the event cannot follow. The state is then unchanged.
    pub fn next(&self, event: &Event, spec: &StepSpec) -> Result<Self, IllegalEvent> {
        let mut next = self.clone();
        // An attempt that came back in any way has not taken its process down. A probe that finds the attempt's
        // work missing says nothing of the attempt.
        let came_back = !matches!(
            event,
            Event::AttemptStarted { .. } | Event::UndoStarted { .. } | Event::Reported { .. }
        ) && !matches!(event, Event::Probed { result, .. } if *result != ProbeResult::Done);
        next.deaths = if came_back { 0 } else { self.deaths };
        next.status = match (&self.status, event) {
            (
                Status::Waiting | Status::Suspended(_),
                Event::AttemptStarted { attempt, pre_image, deadline, .. },
            ) if *attempt == self.attempts + 1 && !self.asks() => {
                next.attempts = *attempt;
                next.output = None;
                next.pre_image = self.pre_image.or(*pre_image);
                next.deadline = self.deadline.or(*deadline);
                Status::Running
            }
            (Status::Running, Event::AttemptDone { attempt, output, .. }) if *attempt == self.attempts => {
                next.output = some(output);
                next.settled = *attempt;
                next.failures = 0;
                Status::Done
            }
            (Status::Running, Event::AttemptFailed { attempt, failure, .. }) if *attempt == self.attempts => {
                next.failures += 1;
                after_failure(failure, next.failures >= spec.policy.attempts, Status::Waiting, Status::Failed)
            }
            (Status::Running, Event::AttemptCut { attempt, .. }) if *attempt == self.attempts => {
                Status::NeedsProbe
            }
            (Status::NeedsProbe, Event::Probed { result, output, .. }) => {
                if *result == ProbeResult::Done && self.is_cut() {
                    next.output = some(output);
                    next.settled = self.attempts;
                }
                after_probe(result)
            }
            (Status::ToUndo, Event::UndoStarted { attempt, .. }) if *attempt == self.undos + 1 => {
                next.undos = *attempt;
                Status::Undoing
            }
            (Status::Undoing, Event::UndoDone { attempt, .. }) if *attempt == self.undos => Status::Undone,
            (Status::Undoing, Event::UndoFailed { attempt, failure, .. }) if *attempt == self.undos => {
                next.failures += 1;
                let last = next.failures >= spec.undo_policy.attempts;
                after_failure(failure, last, Status::ToUndo, Status::UndoFailed)
            }
            (Status::Undoing, Event::UndoCut { attempt, .. }) if *attempt == self.undos => Status::ToUndo,
            (_, event) => self.after_wait(event, &mut next).ok_or_else(|| IllegalEvent {
                event: format!("{event:?}"),
                state: format!("the step is {}", self.status),
            })?,
        };
        Ok(next)
    }

    /// The status after an event about a wait, or a report. `None` if it cannot follow.
    fn after_wait(&self, event: &Event, next: &mut Self) -> Option<Status> {
        Some(match (&self.status, event) {
            (Status::Running, Event::AttemptWaits { attempt, wait, .. }) if *attempt == self.attempts => {
                next.failures = 0;
                if let Wait::Time { until } = wait {
                    next.waited_mut().timer = Some(*until);
                }
                Status::Suspended(Arc::new(wait.clone()))
            }
            (Status::Running, Event::Reported { attempt, .. }) if *attempt == self.attempts => {
                Status::Running
            }
            (Status::Undoing, Event::Reported { attempt, .. }) if *attempt == self.undos => Status::Undoing,
            (Status::Suspended(_), Event::Decided { decision, .. }) if self.asks() => {
                next.waited_mut().decision = Some(decision.clone());
                Status::Waiting
            }
            _ => return None,
        })
    }

    /// The run is taken up again. Attempts of the earlier session have no result. `volatile` says that the
    /// effect of a done step may be gone. Failures count anew.
    pub(crate) fn resumed(&mut self, volatile: bool) {
        self.failures = 0;
        self.status = match std::mem::take(&mut self.status) {
            Status::Running | Status::Foreign(_) => Status::NeedsProbe,
            Status::Done if volatile => Status::NeedsProbe,
            // The other run may have gone on: only a look tells.
            Status::Suspended(wait) if matches!(*wait, Wait::Run { .. }) => Status::Waiting,
            Status::Undoing | Status::UndoFailed(_) => Status::ToUndo,
            other => other,
        };
    }

    /// The run is rolled back from here on: every started step will be undone. A step without a result stays
    /// as it is: first it is probed, or comes to its end.
    pub(crate) fn rolled_back(&mut self) {
        self.failures = 0;
        self.status = match std::mem::take(&mut self.status) {
            Status::Waiting if self.attempts > 0 => Status::ToUndo,
            Status::Done | Status::Failed(_) | Status::Suspended(_) => Status::ToUndo,
            other => other,
        };
    }

    /// Whether the step waits for a decision.
    pub(crate) fn asks(&self) -> bool {
        matches!(&self.status, Status::Suspended(wait) if wait.is_for_a_decision())
    }

    fn waited_mut(&mut self) -> &mut Waited {
        Arc::make_mut(self.waited.get_or_insert_default())
    }

    /// Whether a call of the step was in flight or due when the journal ended.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.status, Status::Running | Status::NeedsProbe | Status::Undoing)
    }

    /// Whether the step's last attempt was cut short. Then its output is not known.
    pub fn is_cut(&self) -> bool {
        self.settled < self.attempts
    }

    /// Whether an attempt was ever started. Then the step may have left something behind.
    pub fn started(&self) -> bool {
        self.attempts > 0
    }
}

fn some(output: &Value) -> Option<Arc<Value>> {
    (!output.is_null()).then(|| Arc::new(output.clone()))
}

fn after_failure(
    failure: &Failure,
    last: bool,
    again: Status,
    never: impl FnOnce(String) -> Status,
) -> Status {
    if last || failure.kind == FailureKind::Fatal { never(failure.error.clone()) } else { again }
}

fn after_probe(result: &ProbeResult) -> Status {
    match result {
        ProbeResult::Done => Status::Done,
        ProbeResult::Absent | ProbeResult::Partial(_) => Status::Waiting,
        ProbeResult::Foreign(why) => Status::Foreign(why.clone()),
        ProbeResult::Unknown(why) => {
            Status::Foreign(format!("it could not be found out what is there: {why}"))
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Suspended(_) => "suspended",
            Self::NeedsProbe => "to be probed",
            Self::Done => "done",
            Self::Failed(_) => "failed",
            Self::Foreign(_) => "foreign",
            Self::ToUndo => "to be undone",
            Self::Undoing => "being undone",
            Self::Undone => "undone",
            Self::UndoFailed(_) => "undo failed",
        })
    }
}
