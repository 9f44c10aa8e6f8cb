//! A person decides what a step waits for.

use crate::clip::clip;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::Event;
use crate::limits::{WORD_BYTES_MAX, check_text};
use crate::plan::StepId;
use crate::wait::{Decision, Verdict};
use fulcrum_state::{Commit, RunId};

impl Engine {
    /// Approves what a step waits for ([`Context::approval`](crate::Context::approval)). When this returns, the
    /// decision is on the disk, with `by`, the note and this engine's session. A run that this engine, or a clone
    /// of it, is at work on goes on at once. Any other goes on by [`Engine::resume`] or
    /// [`Engine::run_or_resume`], with the decision.
    ///
    /// The steps of the run need not be known here. A journal has one process that writes: while another process
    /// has the journal open, the decision is made there.
    ///
    /// # Errors
    /// [`EngineError::NotAsked`] when the step does not wait for a decision (yet, or any more), or its question
    /// has expired. [`EngineError::AtWork`] when another engine of this process is at work on the run. Otherwise
    /// when the run cannot be read or written.
    pub async fn approve(
        &self,
        run: RunId,
        step: impl Into<StepId>,
        by: &str,
        note: &str,
    ) -> Result<(), EngineError> {
        self.decide(run, step.into(), Verdict::Approved, by, note).await
    }

    /// Rejects what a step waits for. Everything else is as for [`Engine::approve`].
    ///
    /// # Errors
    /// As for [`Engine::approve`].
    pub async fn reject(
        &self,
        run: RunId,
        step: impl Into<StepId>,
        by: &str,
        note: &str,
    ) -> Result<(), EngineError> {
        self.decide(run, step.into(), Verdict::Rejected, by, note).await
    }

    async fn decide(
        &self,
        run: RunId,
        step: StepId,
        verdict: Verdict,
        by: &str,
        note: &str,
    ) -> Result<(), EngineError> {
        self.check_session()?;
        check_text(|| "who decided".to_owned(), by, WORD_BYTES_MAX)?;
        let decision = Decision::new(verdict, by).with_note(clip(note));
        let session = self.session.clone();
        if let Some(answer) = self.desk.hand_in(run, step.clone(), decision.clone(), session.clone()).await {
            return answer;
        }
        let (mut writer, mut loaded) = self.take_up(run).await?;
        loaded.asks(&step, self.clock.now()).map_err(|why| EngineError::NotAsked {
            run,
            step: step.clone(),
            why,
        })?;
        let event = Event::Decided { step, decision, session };
        loaded.apply(&event).map_err(|source| EngineError::Illegal { source })?;
        let body = serde_json::to_string(&event)
            .map_err(|cause| EngineError::Encode { what: "an event", cause: cause.to_string() })?;
        #[cfg(feature = "testing")]
        let turn = self.turn().await?;
        writer.append(Commit::of([body])).await?;
        #[cfg(feature = "testing")]
        if let Some(turn) = turn {
            turn.has_written(run, &event)?;
        }
        self.watcher.event(run, writer.time(), &event);
        Ok(())
    }
}
