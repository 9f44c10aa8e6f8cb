//! Runs that were begun by another version of the program: adopt one, or give one up.

use crate::clip::clip;
use crate::engine::{Ending, Engine};
use crate::error::EngineError;
use crate::event::Event;
use crate::executor;
use crate::here;
use crate::plan::Plan;
use crate::run::Run;
use fulcrum_state::{Commit, Digest, RunId, RunWriter};
use std::sync::Arc;

impl Engine {
    /// Gives a run to this version of the program. The run takes on `plan`, or keeps its own if that is
    /// `None`, and the versions of this program's steps. [`Engine::resume`] then goes on. Nothing is carried
    /// out here. The journal keeps the reason, and the process that adopted the run.
    ///
    /// Steps that have started keep their arguments, and the run keeps what all its steps share. A crash leaves
    /// the run as it was, or adopted.
    ///
    /// # Errors
    /// [`EngineError::NotAdopted`], by the name of the step, when a step that has started is not in the plan,
    /// or a new one would come before it. Otherwise as for [`Engine::resume`].
    pub async fn adopt(
        &self,
        run: RunId,
        plan: impl Into<Option<Plan>>,
        reason: &str,
    ) -> Result<(), EngineError> {
        let plan: Option<Plan> = plan.into();
        self.check_session()?;
        let (mut writer, mut loaded) = self.take_up(run).await?;
        let mut plan = plan.unwrap_or_else(|| Plan::clone(loaded.plan()));
        loaded.may_adopt(&plan).map_err(|why| EngineError::NotAdopted { run, why })?;
        loaded.hand_down(&mut plan);
        let plan = executor::with_versions(self, plan)?;
        let stored = encode("the plan", &plan)?;
        let event =
            Event::Adopted { plan: Digest::of(&stored), reason: clip(reason), session: self.session.clone() };
        loaded.adopt(&event, Arc::new(plan)).map_err(|source| EngineError::Illegal { source })?;
        let body = String::from_utf8_lossy(&encode("an event", &event)?).into_owned();
        let commit = Commit::of([body]).with_blob(stored);
        // A completed run stays over.
        writer.append(if loaded.is_over() { commit.over() } else { commit }).await?;
        self.watcher.event(run, writer.time(), &event);
        Ok(())
    }

    /// Ends a run for good, as it is: no step is carried out or undone. The journal keeps the reason, and the
    /// process that gave the run up. Afterwards the run can be neither resumed nor rolled back.
    ///
    /// # Errors
    /// When the run is over, is at work in this process, cannot be read, or cannot be written.
    pub async fn abandon(&self, run: RunId, reason: &str) -> Result<Ending, EngineError> {
        self.check_session()?;
        let (mut writer, mut loaded) = self.take_up(run).await?;
        self.refuse_if_over(run, &loaded, "abandoned", loaded.is_over())?;
        let event = Event::Abandoned { reason: clip(reason), session: self.session.clone() };
        self.append_last(&mut writer, &mut loaded, &event).await?;
        if let Some(after) = &self.after {
            after.ended(&self.journal, run, loaded.phase()).await;
        }
        Ok(Ending { run, phase: loaded.phase().clone() })
    }

    async fn append_last(
        &self,
        writer: &mut RunWriter,
        loaded: &mut Run,
        event: &Event,
    ) -> Result<(), EngineError> {
        loaded.apply(event).map_err(|source| EngineError::Illegal { source })?;
        let body = String::from_utf8_lossy(&encode("an event", event)?).into_owned();
        // Also on a disk that is full.
        writer.append(Commit::of([body]).over().ends()).await?;
        here::ended(writer.run());
        self.watcher.event(writer.run(), writer.time(), event);
        Ok(())
    }
}

fn encode(what: &'static str, value: &impl serde::Serialize) -> Result<Vec<u8>, EngineError> {
    serde_json::to_vec(value).map_err(|cause| EngineError::Encode { what, cause: cause.to_string() })
}
