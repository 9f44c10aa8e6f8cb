//! The engine and its settings.

use crate::clip::clip;
use crate::clock::Clock;
use crate::control::Control;
use crate::desk::Desk;
use crate::event::Session;
use crate::observe::{AfterRun, Observer, Watcher};
use crate::plan::StepId;
use crate::retention::Automatic;
use crate::run::Phase;
use crate::step::StepRegistry;
use fulcrum_state::{Journal, RunId};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Carries out runs: one journal, one registry of steps.
#[derive(Clone)]
pub struct Engine {
    pub(crate) journal: Journal,
    pub(crate) registry: Arc<dyn StepRegistry>,
    pub(crate) clock: Clock,
    pub(crate) session: Session,
    pub(crate) watcher: Watcher,
    pub(crate) parallelism: usize,
    pub(crate) pause_after: BTreeSet<StepId>,
    pub(crate) control: Control,
    pub(crate) desk: Desk,
    pub(crate) after: Option<Arc<dyn AfterRun>>,
    pub(crate) retention: Option<Automatic>,
    /// Whether it carries out runs of steps. A call then waits for a run that another machine has claimed, as long as
    /// that claim lasts if nobody renews it; and such a run goes on where the step above it is.
    pub(crate) is_child: bool,
    /// Each entry is a commit of its own: a test can die between any two.
    #[cfg(feature = "testing")]
    pub(crate) mortality: Option<Arc<crate::testing::Mortality>>,
}

/// How a session on a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a run that ended is not a run that succeeded"]
#[non_exhaustive]
pub struct Ending {
    /// The run.
    pub run: RunId,
    /// [`Phase::Ended`] or [`Phase::Paused`], with the reason, or [`Phase::Waiting`].
    pub phase: Phase,
}

impl Engine {
    /// An engine that runs up to four steps at once and has no observer.
    pub fn new(journal: Journal, registry: impl StepRegistry + 'static, session: Session) -> Self {
        Self {
            journal,
            registry: Arc::new(registry),
            clock: Clock::default(),
            session,
            watcher: Watcher::default(),
            parallelism: 4,
            pause_after: BTreeSet::new(),
            control: Control::default(),
            desk: Desk::default(),
            after: None,
            retention: None,
            is_child: false,
            #[cfg(feature = "testing")]
            mortality: None,
        }
    }

    /// Adds an observer. Each of several sees every event, in the order in which they were added.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.watcher = self.watcher.and(observer);
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

    /// Adds a fact about who is at work, or why, to this engine's sessions. A long one is clipped.
    #[must_use]
    pub fn actor(mut self, name: &str, fact: impl Into<String>) -> Self {
        self.session.actor.insert(name.to_owned(), clip(&fact.into()));
        self
    }

    /// Sets what is done after each run's end.
    #[must_use]
    pub fn after(mut self, after: Arc<dyn AfterRun>) -> Self {
        self.after = Some(after);
        self
    }

    /// The handle that pauses this engine's run.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// The right to write the next entry, if a test may want to die of it.
    #[cfg(feature = "testing")]
    pub(crate) async fn turn(&self) -> Result<Option<crate::testing::Turn<'_>>, crate::EngineError> {
        match &self.mortality {
            Some(mortality) => mortality.turn().await.map(Some),
            None => Ok(None),
        }
    }

    /// Whether a test wants to die between any two entries.
    pub(crate) fn entry_by_entry(&self) -> bool {
        #[cfg(feature = "testing")]
        return self.mortality.is_some();
        #[cfg(not(feature = "testing"))]
        false
    }
}
