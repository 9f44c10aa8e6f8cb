//! The engine: what a program calls.

use crate::error::EngineError;
use crate::event::{Event, PauseCause, Session};
use crate::executor::Executor;
use crate::load::load;
use crate::observe::{Observer, Silent};
use crate::plan::{Plan, StepId};
use crate::run::{Phase, Rollback, Run};
use crate::step::StepRegistry;
use fulcrum_state::{Journal, RunId, fault};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// Carries out runs: one journal, one registry of steps.
#[derive(Clone)]
pub struct Engine {
    pub(crate) journal: Journal,
    pub(crate) registry: Arc<dyn StepRegistry>,
    pub(crate) session: Session,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) parallelism: usize,
    pub(crate) pause_after: BTreeSet<StepId>,
    pub(crate) control: Control,
    /// Each entry in a commit of its own, so that a test can die between any two.
    #[cfg(feature = "testing")]
    pub(crate) entry_by_entry: bool,
}

/// How a session on a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a run that ended is not a run that succeeded"]
pub struct Ending {
    /// Which run.
    pub run: RunId,
    /// [`Phase::Ended`] or [`Phase::Paused`], with the reason.
    pub phase: Phase,
}

/// Pauses a run from outside, for example from a signal handler.
#[derive(Debug, Clone, Default)]
pub struct Control {
    pub(crate) pause: CancellationToken,
    why: Arc<Mutex<Option<(String, PauseCause)>>>,
}

impl Control {
    /// Asks for a pause. The engine starts nothing new, asks what is in flight to stop, and journals the
    /// pause once it has. A second call changes nothing.
    pub fn pause(&self, reason: impl Into<String>, cause: PauseCause) {
        let mut why = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        why.get_or_insert_with(|| (reason.into(), cause));
        self.pause.cancel();
    }

    pub(crate) fn why(&self) -> (String, PauseCause) {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
    }
}

impl Engine {
    /// An engine that runs up to four steps at once and has no observer.
    pub fn new(journal: Journal, registry: impl StepRegistry + 'static, session: Session) -> Self {
        Self {
            journal,
            registry: Arc::new(registry),
            session,
            observer: Arc::new(Silent),
            parallelism: 4,
            pause_after: BTreeSet::new(),
            control: Control::default(),
            #[cfg(feature = "testing")]
            entry_by_entry: false,
        }
    }

    /// Sets the observer.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }

    /// How many steps may be in flight at once; at least one.
    #[must_use]
    pub fn parallelism(mut self, steps: usize) -> Self {
        self.parallelism = steps.max(1);
        self
    }

    /// Breakpoints: after any of these steps is done, what is in flight ends and the run pauses.
    #[must_use]
    pub fn pause_after(mut self, steps: impl IntoIterator<Item = StepId>) -> Self {
        self.pause_after = steps.into_iter().collect();
        self
    }

    /// The handle that pauses this engine's run.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Starts a run of `plan` and carries it on until it ends or pauses.
    ///
    /// # Errors
    /// When the journal cannot be written, or the registry does not know a step: nothing was done then.
    pub async fn start(&self, plan: Plan) -> Result<Ending, EngineError> {
        let encode =
            |cause: serde_json::Error| EngineError::Encode { what: "the plan", cause: cause.to_string() };
        let digest = self.journal.put_blob(serde_json::to_vec(&plan).map_err(encode)?).await?;
        fault::point("blob/unnamed-plan");
        let begun = Event::Begun {
            workflow: plan.workflow().to_owned(),
            plan: digest,
            session: self.session.clone(),
        };
        Executor::new(self, Run::new(Arc::new(plan)), None)?.carry_on(vec![begun]).await
    }

    /// Takes a run up where its journal ends. A run that went forward goes forward, one that was being
    /// rolled back is rolled back.
    ///
    /// # Errors
    /// When the run is over (completed or rolled back), cannot be read, or cannot be written.
    pub async fn resume(&self, run: RunId) -> Result<Ending, EngineError> {
        let loaded = load(&self.journal, run)?;
        self.refuse_if_over(run, &loaded, "resumed", loaded.is_over())?;
        let resumed = Event::Resumed { session: self.session.clone() };
        Executor::new(self, loaded, Some(run))?.carry_on(vec![resumed]).await
    }

    /// Rolls a run back, whether it completed, paused, crashed or got stuck. If a rollback had begun,
    /// that one goes on, for its own reason and in its own mode.
    ///
    /// # Errors
    /// When the run has been rolled back already, cannot be read, or cannot be written.
    pub async fn roll_back(&self, run: RunId, rollback: impl Into<Rollback>) -> Result<Ending, EngineError> {
        let loaded = load(&self.journal, run)?;
        self.refuse_if_over(run, &loaded, "rolled back", loaded.is_rolled_back())?;
        let resumed = Event::Resumed { session: self.session.clone() };
        let Rollback { reason, mode } = rollback.into();
        let events = match loaded.rollback() {
            Some(_) => vec![resumed],
            None => vec![Event::RollbackStarted { reason, mode }, resumed],
        };
        Executor::new(self, loaded, Some(run))?.carry_on(events).await
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
