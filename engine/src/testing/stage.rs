//! One world with one journal. Processes come and go on it.

use super::crash::{Death, Mortality};
use super::meddler::{Meddler, Meddling};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::{Event, Outcome, Session};
use crate::load::decode;
use crate::plan::{Plan, StepId};
use crate::run::Phase;
use crate::step::StepRegistry;
use fulcrum_state::{Journal, MemoryDisk, Options};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// A dropped step is gone at its next await. A step that blocks its thread for longer is in error.
const GONE_MAX: Duration = Duration::from_secs(60);

/// The world of a workflow, and the way to look at it.
pub trait World: Sized + Send + Sync {
    /// The value that is compared. It must be equal for two worlds with equal histories: no directory names,
    /// no times.
    type Seen: PartialEq + fmt::Debug + Send;

    /// A world in which nothing was done yet. It may take its time: a whole simulated cluster, say.
    fn fresh() -> impl Future<Output = Self> + Send;

    /// The plan to carry out in it.
    fn plan(&self) -> Plan;

    /// The steps of the plan. The checks ask for them once for each imagined process.
    fn registry(&self) -> impl StepRegistry + 'static;

    /// Looks at the world.
    fn seen(&self) -> impl Future<Output = Self::Seen> + Send;

    /// The process that worked on the world has died. Drops what lived in that process and not in the world.
    fn crashed(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// A workflow does not hold what it should.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant says what its fields are")]
pub enum Broken {
    /// The world is not what it should be.
    #[error("{at}: the world should look like {expected}, but looks like {found}")]
    Differs { at: String, expected: String, found: String },
    /// The run did not end as it should.
    #[error("{at}: the run should be {expected}, but is {found}")]
    Ended { at: String, expected: Outcome, found: String },
    /// A step was run although the run was being undone.
    #[error("{at}: step {step} was run although the run was being undone")]
    RunToBeUndone { at: String, step: StepId },
    /// A run that had ended was taken up again.
    #[error("{at}: the run had ended, and yet there was something to do")]
    GoesOn { at: String },
    /// The engine could not carry it out.
    #[error("{at}: the run could not be carried out")]
    Engine { at: String, source: EngineError },
    /// A step goes on although its process, for all it knows, is dead.
    #[error("{at}: a step still runs a minute after it was dropped; it must not block its thread")]
    Lingers { at: String },
}

/// The work of a process on the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Go {
    /// Starts the run. If it exists, resumes it.
    Forward,
    /// Undoes the run.
    Back,
}

/// A world with its journal.
pub(crate) struct Stage<W: World> {
    pub(crate) world: W,
    pub(crate) before: W::Seen,
    journal: Journal,
    with: Option<(StepId, Meddling)>,
}

impl<W: World> Stage<W> {
    pub(crate) async fn new(with: Option<(StepId, Meddling)>) -> Self {
        let world = W::fresh().await;
        let before = world.seen().await;
        // A small segment: there are thousands of journals.
        let options = Options { segment_bytes: 512 * 1024, ..Options::default() };
        let journal = Journal::on(Arc::new(MemoryDisk::new()), options).expect("memory takes a journal");
        Self { world, before, journal, with }
    }

    /// Has a process do the work, to the end or to its death. Returns whether it lived.
    pub(crate) async fn process(&self, at: &str, go: Go, death: Option<Death>) -> Result<bool, Broken> {
        let broken = |source| Broken::Engine { at: at.to_owned(), source };
        let mortality = Arc::new(Mortality::new(death));
        let run = self.events().last().map(|(run, _)| *run);
        let (alive, mut gone) = mpsc::channel(1);
        let registry = Meddler { inner: self.world.registry(), with: self.with.clone(), alive };
        let session = Session {
            boot_id: "testing".into(),
            pid: 1,
            program: "testing".into(),
            role: crate::event::Role::default(),
            actor: crate::Actor::new(),
        };
        let mut engine = Engine::new(self.journal.clone(), registry, session);
        engine.mortality = Some(Arc::clone(&mortality));
        let result = match (run, go) {
            (None, Go::Forward) => engine.start(self.world.plan()).await,
            (None, Go::Back) => return Ok(true), // It died before there was a run.
            (Some(run), Go::Forward) => engine.resume(run).await,
            (Some(run), Go::Back) => engine.roll_back(run, "the test has it undone").await,
        };
        drop(engine);
        if tokio::time::timeout(GONE_MAX, gone.recv()).await.is_err() {
            return Err(Broken::Lingers { at: at.to_owned() });
        }
        match result {
            Ok(_) | Err(EngineError::Over { .. }) => Ok(true),
            Err(_) if mortality.died() => {
                self.world.crashed().await;
                Ok(false)
            }
            Err(source) => Err(broken(source)),
        }
    }

    /// The entries so far.
    pub(crate) fn events(&self) -> Vec<(fulcrum_state::RunId, Event)> {
        let reader = self.journal.reader();
        let Some(run) = reader.runs().ok().and_then(|runs| Some(runs.last()?.run)) else {
            return Vec::new();
        };
        let events = reader.entries(run).map_while(Result::ok).filter_map(|entry| decode(&entry).ok());
        events.map(|event| (run, event)).collect()
    }

    /// Compares the run's end, and the world, with what they should be.
    pub(crate) async fn check(&self, at: &str, outcome: Outcome, expected: &W::Seen) -> Result<(), Broken> {
        let events = self.events();
        let at = at.to_owned();
        match events.last() {
            Some((_, Event::Ended { outcome: found, .. })) if *found == outcome => {}
            last => {
                let found = match last {
                    Some((_, Event::Ended { outcome, reason })) => {
                        format!("{} ({reason})", Phase::Ended(*outcome, String::new()))
                    }
                    other => format!("at {:?}", other.map(|(_, event)| event)),
                };
                return Err(Broken::Ended { at, expected: outcome, found });
            }
        }
        let back = events.iter().skip_while(|(_, event)| !matches!(event, Event::RollbackStarted { .. }));
        for (_, event) in back {
            if let Event::AttemptStarted { step, .. } = event {
                return Err(Broken::RunToBeUndone { at, step: step.clone() });
            }
        }
        let found = self.world.seen().await;
        if found != *expected {
            return Err(Broken::Differs {
                at,
                expected: format!("{expected:#?}"),
                found: format!("{found:#?}"),
            });
        }
        Ok(())
    }
}
