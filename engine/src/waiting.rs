//! How a step waits without a process: for a time, or for a person.

use crate::clip::clip;
use crate::step::Context;
use crate::step_error::StepError;
use crate::wait::{Decision, Question, Verdict, Wait, after};
use fulcrum_state::Timestamp;
use std::time::Duration;

/// # Waiting without a process
///
/// These methods return at once. What is waited for is there, or the attempt ends here: `?` hands the engine a
/// [`StepError`] that says so. The engine journals the wait and calls [`run`](crate::Step::run) again, as a new
/// attempt, once it is over. `run` begins anew then: what comes before the wait is done a second time. Neither a
/// restart nor a reboot ends a wait. A wait is no failure, and no pause follows it.
///
/// A step waits for one timer and one decision. Only `run` may wait.
///
/// If nothing else of the run can go on, the engine's call returns with
/// [`Phase::Waiting`](crate::Phase::Waiting).
///
/// ```
/// use fulcrum_engine::{ClosureStep, Question, step};
/// use std::time::Duration;
///
/// fn drop_column() -> ClosureStep {
///     step("drop-column").run(|cx| async move {
///         let day = Duration::from_secs(24 * 60 * 60);
///         let approval = cx.approval(&Question::new("Is nobody reading it any more?").expires_in(7 * day))?;
///         Ok(format!("dropped, {approval}"))
///     })
/// }
/// # let _ = drop_column();
/// ```
impl Context {
    /// Waits for `time` to pass since the step first came here.
    ///
    /// The journal keeps the end of the wait as a time of the wall clock. If the clock is set back, the wait is
    /// as much longer; if it is set forward, as much shorter.
    ///
    /// # Errors
    /// A [`StepError`] that lets the step wait, as long as the time has not passed.
    pub fn sleep(&self, time: Duration) -> Result<(), StepError> {
        let timer = self.waited.as_ref().and_then(|waited| waited.timer);
        self.sleep_until(timer.unwrap_or_else(|| after(self.clock.now(), time)))
    }

    /// Waits until this time of the wall clock. A step may wait like this again and again, each time for a later
    /// time.
    ///
    /// # Errors
    /// A [`StepError`] that lets the step wait, as long as the time has not come.
    pub fn sleep_until(&self, until: Timestamp) -> Result<(), StepError> {
        if until <= self.clock.now() {
            return Ok(());
        }
        Err(StepError::wait(Wait::Time { until }))
    }

    /// Waits for a person's approval ([`Engine::approve`](crate::Engine::approve)). A long question is clipped.
    ///
    /// # Errors
    /// A [`StepError`] that lets the step wait, as long as nothing is decided. A fatal one, with the decision,
    /// if it was rejected or has expired.
    pub fn approval(&self, question: &Question) -> Result<Decision, StepError> {
        let decision = self.decision(question)?;
        match decision.verdict {
            Verdict::Approved => Ok(decision),
            _ => Err(StepError::fatal(format!("{decision}: {}", question.text))),
        }
    }

    /// Waits for a person's decision, whatever it is. A long question is clipped.
    ///
    /// # Errors
    /// A [`StepError`] that lets the step wait, as long as nothing is decided and the question has not expired.
    pub fn decision(&self, question: &Question) -> Result<Decision, StepError> {
        match self.waited.as_ref().and_then(|waited| waited.decision.clone()) {
            Some(decision) => Ok(decision),
            None => {
                let expires = question.expires_in.map(|time| after(self.clock.now(), time));
                Err(StepError::wait(Wait::Decision { question: clip(&question.text), expires }))
            }
        }
    }
}
