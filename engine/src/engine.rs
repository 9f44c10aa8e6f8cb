//! The engine: the interface for programs.

use crate::clip::clip;
use crate::error::EngineError;
use crate::event::{Event, PauseCause, Session};
use crate::executor::Executor;
use crate::limits::{PROGRAM_BYTES_MAX, WORD_BYTES_MAX, check_depth, check_text};
use crate::load::{load, unread};
use crate::observe::{Observer, Watcher};
use crate::plan::{Plan, StepId};
use crate::run::{Phase, Rollback, Run};
use crate::step::StepRegistry;
use fulcrum_state::{AppendError, Digest, Journal, RunId, RunWriter};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The longest wait for a run that another call of this process works on. A dropped call has steps that end
/// at their next await.
const CLAIM_MAX: Duration = Duration::from_secs(2);
const CLAIM_EVERY: Duration = Duration::from_millis(10);

/// Carries out runs: one journal, one registry of steps.
#[derive(Clone)]
pub struct Engine {
    pub(crate) journal: Journal,
    pub(crate) registry: Arc<dyn StepRegistry>,
    pub(crate) session: Session,
    pub(crate) watcher: Watcher,
    pub(crate) parallelism: usize,
    pub(crate) pause_after: BTreeSet<StepId>,
    pub(crate) control: Control,
    /// Each entry is a commit of its own: a test can die between any two.
    #[cfg(feature = "testing")]
    pub(crate) mortality: Option<Arc<crate::testing::Mortality>>,
}

/// How a session on a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a run that ended is not a run that succeeded"]
pub struct Ending {
    /// The run.
    pub run: RunId,
    /// [`Phase::Ended`] or [`Phase::Paused`], with the reason.
    pub phase: Phase,
}

/// Pauses a run from outside, for example from a signal handler.
#[derive(Debug, Clone, Default)]
pub struct Control {
    state: Arc<Mutex<Asked>>,
}

/// The request for a pause, if there is one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) pause: CancellationToken,
    why: Option<(String, PauseCause)>,
    /// How many earlier requests were answered.
    answered: u64,
}

impl Control {
    /// Asks for a pause. The engine starts nothing new, asks the steps in flight to stop, and journals the
    /// pause once they have. A second call changes nothing.
    ///
    /// The request is for the call that is at work, or for the next one if there is none. Once that call has
    /// returned, a run can be taken up again.
    pub fn pause(&self, reason: impl Into<String>, cause: PauseCause) {
        let mut state = self.state();
        state.why.get_or_insert_with(|| (reason.into(), cause));
        state.pause.cancel();
    }

    pub(crate) fn asked(&self) -> Asked {
        self.state().clone()
    }

    pub(crate) fn why(&self) -> (String, PauseCause) {
        self.state().why.clone().unwrap_or_default()
    }

    /// The run has paused, or has ended first.
    pub(crate) fn answered(&self, asked: &Asked) {
        let mut state = self.state();
        if state.pause.is_cancelled() && state.answered == asked.answered {
            *state = Asked { answered: asked.answered + 1, ..Asked::default() };
        }
    }

    fn state(&self) -> MutexGuard<'_, Asked> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// An engine that runs up to four steps at once and has no observer.
    pub fn new(journal: Journal, registry: impl StepRegistry + 'static, session: Session) -> Self {
        Self {
            journal,
            registry: Arc::new(registry),
            session,
            watcher: Watcher(None),
            parallelism: 4,
            pause_after: BTreeSet::new(),
            control: Control::default(),
            #[cfg(feature = "testing")]
            mortality: None,
        }
    }

    /// Sets the observer.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.watcher = Watcher(Some(observer));
        self
    }

    /// How many steps may be in flight at once; at least one.
    #[must_use]
    pub fn parallelism(mut self, steps: usize) -> Self {
        self.parallelism = steps.max(1);
        self
    }

    /// Sets breakpoints. After any of these steps is done, what is in flight ends and the run pauses.
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
        let resumed = Event::Resumed { session: self.session.clone() };
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
        let resumed = Event::Resumed { session: self.session.clone() };
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

    /// Whether a test wants to die between any two entries.
    pub(crate) fn entry_by_entry(&self) -> bool {
        #[cfg(feature = "testing")]
        return self.mortality.is_some();
        #[cfg(not(feature = "testing"))]
        false
    }

    fn check_session(&self) -> Result<(), EngineError> {
        let Session { boot_id, program, role, .. } = &self.session;
        check_text(|| "the boot id of a session".to_owned(), boot_id, WORD_BYTES_MAX)?;
        check_text(|| "the program of a session".to_owned(), program, PROGRAM_BYTES_MAX)?;
        check_text(|| "the role of a session".to_owned(), role.as_str(), WORD_BYTES_MAX)?;
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
