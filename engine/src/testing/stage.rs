//! A workflow's world, and one world with one journal. Processes come and go on it.

use super::crash::{Death, Ledger, Mortality};
use super::meddler::{Meddler, Meddling};
use super::process::Process;
use crate::clock::Clock;
use crate::engine::Ending;
use crate::error::EngineError;
use crate::event::{Event, Outcome};
use crate::load::{decode, load};
use crate::plan::{Plan, StepId};
use crate::run::Phase;
use crate::step::StepRegistry;
use crate::wait::{Verdict, Wait};
use fulcrum_state::{Journal, MemoryDisk, Options, RunId};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// A dropped step is gone at its next await. A step that blocks its thread for longer is in error.
const GONE_MAX: Duration = Duration::from_secs(60);

/// A run that has waited this often waits for something that never comes.
const WAITS_MAX: usize = 1000;

/// The world of a workflow, and the way to look at it.
pub trait World: Sized + Send + Sync {
    /// The value that is compared. It must be equal for two worlds with equal histories: no directory names,
    /// no times.
    type Seen: PartialEq + fmt::Debug + Send;

    /// A world in which nothing was done yet. It may take its time: a whole simulated cluster, say.
    fn fresh() -> impl Future<Output = Self> + Send;

    /// The plan to carry out in it.
    fn plan(&self) -> Plan;

    /// The steps of the plan, for one imagined process. A [`ChildRun`](crate::ChildRun) takes its engine from
    /// [`Process::engine`].
    fn registry(&self, process: &Process) -> impl StepRegistry + 'static;

    /// Looks at the world.
    fn seen(&self) -> impl Future<Output = Self::Seen> + Send;

    /// The process that worked on the world has died, or it has ended because the run waits. Drops what lived in
    /// that process and not in the world.
    fn crashed(&self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// What becomes of the question that a step of the run, or of a child, asks. An imagined person approves or
    /// rejects. With [`Verdict::Expired`] no person says anything, and the question expires. Without this method
    /// every question is approved.
    fn answer(&self, step: &StepId, question: &str) -> Verdict {
        let _ = (step, question);
        Verdict::Approved
    }
}

/// A workflow does not hold what it should.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant says what its fields are")]
#[non_exhaustive]
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
    /// A question never expires, and the world leaves it unanswered; or a step waits again and again.
    #[error("{at}: the run waits, and nothing ends its waits: {waits}")]
    WaitsForEver { at: String, waits: String },
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
    ledger: Ledger,
    clock: Clock,
    with: Option<(StepId, Meddling)>,
}

impl<W: World> Stage<W> {
    pub(crate) async fn new(with: Option<(StepId, Meddling)>) -> Self {
        let world = W::fresh().await;
        let before = world.seen().await;
        // A small segment: there are thousands of journals.
        let options = Options { segment_bytes: 512 * 1024, ..Options::default() };
        let journal = Journal::on(Arc::new(MemoryDisk::new()), options).expect("memory takes a journal");
        Self { world, before, journal, ledger: Ledger::default(), clock: Clock::default(), with }
    }

    /// Has processes do the work, one after the other, to the end of the run or to the death of one. While the
    /// run waits, there is none. Returns whether all lived.
    pub(crate) async fn process(&self, at: &str, go: Go, death: Option<Death>) -> Result<bool, Broken> {
        let mut go = go;
        for _ in 0..WAITS_MAX {
            let mortality = Arc::new(Mortality::new(death, self.ledger.clone()));
            let worked = match self.work(at, go, &mortality).await? {
                Ok(Some(Ending { phase: Phase::Waiting { .. }, .. })) => {
                    self.world.crashed().await;
                    self.end_a_wait(at, &mortality).await?
                }
                Ok(_) => return Ok(true),
                Err(error) => Err(error),
            };
            match worked {
                Ok(()) => go = Go::Forward,
                Err(_) if mortality.died().await => {
                    self.world.crashed().await;
                    return Ok(false);
                }
                Err(source) => return Err(Broken::Engine { at: at.to_owned(), source }),
            }
        }
        Err(Broken::WaitsForEver { at: at.to_owned(), waits: self.waits() })
    }

    /// One process, until the run ends or waits. `None`: there is no run, or nothing left to do.
    async fn work(
        &self,
        at: &str,
        go: Go,
        mortality: &Arc<Mortality>,
    ) -> Result<Result<Option<Ending>, EngineError>, Broken> {
        let run = self.run();
        let (alive, mut gone) = mpsc::channel(1);
        let process = self.at_work(mortality, alive);
        let registry = Meddler {
            inner: self.world.registry(&process),
            with: self.with.clone(),
            alive: process.alive.clone(),
        };
        let engine = process.engine_of(registry);
        let result = match (run, go) {
            (None, Go::Forward) => engine.start(self.world.plan()).await,
            (None, Go::Back) => return Ok(Ok(None)), // It died before there was a run.
            (Some(run), Go::Forward) => engine.resume(run).await,
            (Some(run), Go::Back) => engine.roll_back(run, "the test has it undone").await,
        };
        drop((engine, process));
        if tokio::time::timeout(GONE_MAX, gone.recv()).await.is_err() {
            return Err(Broken::Lingers { at: at.to_owned() });
        }
        Ok(match result {
            Err(EngineError::Over { .. }) => Ok(None),
            result => result.map(Some),
        })
    }

    /// Answers what is asked. If nothing is, or no answer comes, the time passes until the first wait is over.
    async fn end_a_wait(
        &self,
        at: &str,
        mortality: &Arc<Mortality>,
    ) -> Result<Result<(), EngineError>, Broken> {
        let (alive, _gone) = mpsc::channel(1);
        let desk = self.at_work(mortality, alive).engine(crate::Steps::new());
        let mut decided = false;
        for (run, step, wait) in self.waiting() {
            let Wait::Decision { question, .. } = &wait else { continue };
            let answer = match self.world.answer(&step, question) {
                Verdict::Approved => desk.approve(run, step, "a test", "").await,
                Verdict::Rejected => desk.reject(run, step, "a test", "").await,
                Verdict::Expired => continue,
            };
            if answer.is_err() {
                return Ok(answer);
            }
            decided = true;
        }
        if !decided {
            let phase = self.run().and_then(|run| load(&self.journal.reader(), run).ok());
            let Some(Phase::Waiting { until: Some(until) }) = phase.as_ref().map(crate::Run::phase) else {
                return Err(Broken::WaitsForEver { at: at.to_owned(), waits: self.waits() });
            };
            self.clock.forward_to(*until);
        }
        Ok(Ok(()))
    }

    /// The waits of all runs that go forward.
    fn waiting(&self) -> Vec<(RunId, StepId, Wait)> {
        let runs: BTreeSet<RunId> = self.ledger.entries().into_iter().map(|(run, _)| run).collect();
        let loaded = runs.into_iter().filter_map(|run| Some((run, load(&self.journal.reader(), run).ok()?)));
        let forward = loaded.filter(|(_, loaded)| !loaded.is_over() && loaded.rollback().is_none());
        let waits = forward.map(|(run, loaded)| {
            let waits = loaded.waits().map(|(step, wait)| (run, step.clone(), wait.clone()));
            waits.collect::<Vec<_>>()
        });
        waits.flatten().collect()
    }

    fn waits(&self) -> String {
        let waits = self.waiting().into_iter().map(|(_, step, wait)| format!("step {step} waits {wait}"));
        waits.collect::<Vec<_>>().join(", ")
    }

    fn at_work(&self, mortality: &Arc<Mortality>, alive: mpsc::Sender<std::convert::Infallible>) -> Process {
        let (journal, clock) = (self.journal.clone(), self.clock.clone());
        Process { journal, clock, mortality: Arc::clone(mortality), alive }
    }

    /// The run that is tested. Others are its children.
    fn run(&self) -> Option<RunId> {
        self.ledger.entries().first().map(|(run, _)| *run)
    }

    /// The entries so far, of all runs, in the order in which they were written.
    pub(crate) fn entries(&self) -> Vec<(RunId, Event)> {
        self.ledger.entries()
    }

    /// The entries of the run that is tested, as its journal has them.
    pub(crate) fn events(&self) -> Vec<Event> {
        let reader = self.journal.reader();
        let entries = self.run().map(|run| reader.entries(run));
        entries.into_iter().flatten().map_while(Result::ok).filter_map(|entry| decode(&entry).ok()).collect()
    }

    /// How the run has ended, if it has.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        match self.events().last() {
            Some(Event::Ended { outcome, .. }) => Some(*outcome),
            _ => None,
        }
    }

    /// Whether anything that was asked was not approved.
    pub(crate) fn was_refused(&self) -> bool {
        let entries = self.entries();
        let mut decisions = entries.iter().filter_map(|(_, event)| match event {
            Event::Decided { decision, .. } => Some(decision.verdict),
            _ => None,
        });
        decisions.any(|verdict| verdict != Verdict::Approved)
    }

    /// Compares the run's end, and the world, with what they should be.
    pub(crate) async fn check(&self, at: &str, outcome: Outcome, expected: &W::Seen) -> Result<(), Broken> {
        let events = self.events();
        let at = at.to_owned();
        match events.last() {
            Some(Event::Ended { outcome: found, .. }) if *found == outcome => {}
            last => {
                let found = match last {
                    Some(Event::Ended { outcome, reason }) => {
                        format!("{} ({reason})", Phase::Ended(*outcome, String::new()))
                    }
                    other => format!("at {:?}", other),
                };
                return Err(Broken::Ended { at, expected: outcome, found });
            }
        }
        let back = events.iter().skip_while(|event| !matches!(event, Event::RollbackStarted { .. }));
        for event in back {
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
