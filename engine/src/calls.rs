//! The engine's calls: start a run, take one up, roll one back.

use crate::clip::clip;
use crate::engine::{Ending, Engine};
use crate::error::EngineError;
use crate::event::{Event, Session};
use crate::executor::Executor;
use crate::here;
use crate::limits::{PROGRAM_BYTES_MAX, WORD_BYTES_MAX, check_actor, check_depth, check_text};
use crate::load::{load, unread};
use crate::plan::Plan;
use crate::run::{Rollback, Run};
use fulcrum_state::{AppendError, Digest, RunId, RunWriter};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The longest wait for a run that another call of this process works on. A dropped call has steps that end
/// at their next await.
const CLAIM_MAX: Duration = Duration::from_secs(2);
const CLAIM_EVERY: Duration = Duration::from_millis(10);

impl Engine {
    /// Starts a run of `plan` and carries it on until it ends or pauses.
    ///
    /// # Errors
    /// When the journal cannot be written, the registry does not know a step, or a value cannot be kept
    /// ([`limits`](crate::limits)). Nothing was done then.
    pub async fn start(&self, plan: Plan) -> Result<Ending, EngineError> {
        self.check_session()?;
        check_depth(|| "what all steps of the plan share".to_owned(), plan.shared())?;
        let encode =
            |cause: serde_json::Error| EngineError::Encode { what: "the plan", cause: cause.to_string() };
        let stored = serde_json::to_vec(&plan).map_err(encode)?;
        let begun = Event::Begun {
            workflow: plan.workflow().to_owned(),
            plan: Digest::of(&stored),
            session: self.session.clone(),
        };
        Executor::new(self, Run::new(Arc::new(plan)), None, false)?.carry_on(vec![begun], Some(stored)).await
    }

    /// Takes a run up where its journal ends. A run that went forward goes forward. A run that was being
    /// rolled back is rolled back.
    ///
    /// # Errors
    /// When the run is over (completed or rolled back), is at work in this process, cannot be read, or cannot
    /// be written.
    pub async fn resume(&self, run: RunId) -> Result<Ending, EngineError> {
        self.check_session()?;
        let (writer, loaded) = self.take_up(run).await?;
        self.refuse_if_over(run, &loaded, "resumed", loaded.is_over())?;
        let resumed = self.resumed(run);
        Executor::new(self, loaded, Some(writer), false)?.carry_on(vec![resumed], None).await
    }

    /// Rolls a run back, whether it completed, paused, crashed or got stuck. If a rollback had begun, it goes
    /// on, for its own reason and in its own mode.
    ///
    /// # Errors
    /// When the run has been rolled back already, is at work in this process, cannot be read, or cannot be
    /// written.
    pub async fn roll_back(&self, run: RunId, rollback: impl Into<Rollback>) -> Result<Ending, EngineError> {
        self.check_session()?;
        let Rollback { reason, mode } = rollback.into();
        let word = mode.as_deref().unwrap_or_default();
        check_text(|| "the mode of a rollback".to_owned(), word, WORD_BYTES_MAX)?;
        let (writer, loaded) = self.take_up(run).await?;
        self.refuse_if_over(run, &loaded, "rolled back", loaded.is_rolled_back())?;
        let resumed = self.resumed(run);
        let events = match loaded.rollback() {
            Some(_) => vec![resumed],
            None => vec![Event::RollbackStarted { reason: clip(&reason), mode }, resumed],
        };
        Executor::new(self, loaded, Some(writer), true)?.carry_on(events, None).await
    }

    /// Claims the run, then reads it. A call that was dropped may have left a step behind. This waits for
    /// that step.
    async fn take_up(&self, run: RunId) -> Result<(RunWriter, Run), EngineError> {
        let until = Instant::now() + CLAIM_MAX;
        let writer = loop {
            match self.journal.continue_run(run) {
                Ok(writer) => break writer,
                Err(AppendError::Claimed { .. }) if Instant::now() < until => {
                    tokio::time::sleep(CLAIM_EVERY).await;
                }
                Err(AppendError::Claimed { .. }) => return Err(EngineError::AtWork { run }),
                Err(AppendError::Read { source, .. }) => return Err(unread(run, source).into()),
                Err(error) => return Err(error.into()),
            }
        };
        let loaded = load(&self.journal.reader(), run)?;
        Ok((writer, loaded))
    }

    fn resumed(&self, run: RunId) -> Event {
        Event::Resumed { session: self.session.clone(), same_process: here::was_at_work(run) }
    }

    fn check_session(&self) -> Result<(), EngineError> {
        let Session { boot_id, program, role, actor, .. } = &self.session;
        check_text(|| "the boot id of a session".to_owned(), boot_id, WORD_BYTES_MAX)?;
        check_text(|| "the program of a session".to_owned(), program, PROGRAM_BYTES_MAX)?;
        check_text(|| "the role of a session".to_owned(), role.as_str(), WORD_BYTES_MAX)?;
        check_actor(actor)?;
        Ok(())
    }

    fn refuse_if_over(
        &self,
        run: RunId,
        loaded: &Run,
        verb: &'static str,
        over: bool,
    ) -> Result<(), EngineError> {
        if over {
            return Err(EngineError::Over { run, verb, phase: loaded.phase().clone() });
        }
        Ok(())
    }
}
