//! There and back: a pivot, the way back, and a report.

use super::error::RehearsalError;
use super::pace::{QUIET, SOON};
use super::pulse::{Asked, Pulse, millis};
use super::setup::Setup;
use super::simulated_site::SimulatedSite;
use super::story::Story;
use super::version::Version;
use crate::{Origin, Snapshot};
use fulcrum_engine::history::{Direction, History};
use fulcrum_engine::run::Phase;
use fulcrum_engine::state::{Journal, RunId};
use fulcrum_engine::{Ending, Observer, Outcome, StepId};
use fulcrum_evidence::verify::Standing;
use fulcrum_steps::component::Component;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The report on the way there and back.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// What was rehearsed.
    pub story: Story,
    /// The run, which is both the way there and the way back.
    pub run: RunId,
    /// The simulated version.
    pub kubernetes: Version,
    /// The directory of the manifests. `None` for the built-in ones.
    pub manifests: Option<PathBuf>,
    /// How the way there ended, and why: that of the pivot, or of the change.
    pub pivot: (Option<Outcome>, String),
    /// How the way back ended, and why. `None` if there was nothing to go back from.
    pub rollback: Option<(Option<Outcome>, String)>,
    /// What is not as it must be. `None` if the way there completed and everything is as it was before.
    pub difference: Option<String>,
    /// The steps, in the order of the plan.
    pub steps: Vec<StepTime>,
    /// The requests, by phase.
    pub requests: Vec<Asked>,
    /// The control plane before, between and after.
    pub control_plane: BTreeMap<&'static str, Vec<ComponentSeen>>,
    /// How long both ways took, without the looks before, between and after.
    #[serde(rename = "took_ms", serialize_with = "millis")]
    pub took: Duration,
}

/// How long a step took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepTime {
    /// The step.
    pub step: StepId,
    /// The time forward.
    #[serde(rename = "run_ms", serialize_with = "millis")]
    pub run: Duration,
    /// The time back.
    #[serde(rename = "undo_ms", serialize_with = "millis")]
    pub undo: Duration,
}

/// The processes that do a component's work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComponentSeen {
    /// The component.
    pub component: Component,
    /// The processes that serve it.
    pub serving: Vec<Seen>,
}

/// One process of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Its pid in the simulated machine.
    pub pid: u32,
    /// Its pod.
    pub pod: String,
    /// Whether a file in the manifests directory makes it run. If not, a DaemonSet does.
    pub is_static: bool,
    /// Whether its port can be shared.
    pub shares_port: bool,
    /// Whether it holds the component's lease. `None` if there is no lease.
    pub leads: Option<bool>,
}

/// Pivots the world and goes back, with requests to its API all the while.
///
/// # Errors
/// When the checks refuse or the simulation itself fails. A run that ends otherwise than it must is no error
/// here: the [`Summary`] reports it.
pub async fn there_and_back(
    world: &SimulatedSite,
    setup: &Setup,
    watching: Arc<dyn Observer>,
) -> Result<Summary, RehearsalError> {
    let node = world.preflight().await?.settings.node;
    let mut tour = Tour::begin(world, node).await;
    let journal = world.journal()?;
    tour.pulse.phase("pivot");
    let pivoted = world.pivot(&journal, Arc::clone(&watching)).await?;
    tour.pulse.phase("between");
    tour.seen.found(arrived(world, &pivoted, Outcome::Completed).await);
    tour.look("between");
    tokio::time::sleep(QUIET).await;
    let is_back = async |back: &Ending| arrived(world, back, Outcome::RolledBack).await;
    tour.goes_back(&journal, &pivoted, watching, is_back).await?;
    tour.seen.found(world.is_verified(&journal.reader(), Standing::Verified).await);
    tour.end().summary((setup, Story::Pivot), &journal, &pivoted)
}

/// A tour on its way.
pub(super) struct Tour<'a> {
    world: &'a SimulatedSite,
    pub(super) pulse: Pulse,
    pub(super) seen: Findings,
}

/// What a tour has seen.
#[derive(Default)]
pub(super) struct Findings {
    wrong: Option<RehearsalError>,
    rollback: Option<(Option<Outcome>, String)>,
    requests: Vec<Asked>,
    control_plane: BTreeMap<&'static str, Vec<ComponentSeen>>,
}

impl<'a> Tour<'a> {
    /// Asks the API from now on, and looks at the control plane as it is before.
    pub(super) async fn begin(world: &'a SimulatedSite, node: String) -> Self {
        let pulse = Pulse::start(world.cluster.clone(), node);
        let mut tour = Self { world, pulse, seen: Findings::default() };
        tour.look("before");
        tokio::time::sleep(QUIET).await;
        tour
    }

    pub(super) fn look(&mut self, phase: &'static str) {
        let _ = self.seen.control_plane.insert(phase, look(&self.world.machine().snapshot()));
    }

    /// Takes the run back, if it has not gone back by itself. `arrived` says whether all is as it must be then.
    pub(super) async fn goes_back(
        &mut self,
        journal: &Journal,
        run: &Ending,
        watching: Arc<dyn Observer>,
        arrived: impl AsyncFnOnce(&Ending) -> Result<(), RehearsalError>,
    ) -> Result<(), RehearsalError> {
        if outcome(run) == Some(Outcome::RolledBack) {
            return Ok(());
        }
        self.pulse.phase("rollback");
        let back = self.world.rollback(journal, run.run, watching).await?;
        self.pulse.phase("after");
        self.seen.found(arrived(&back).await);
        tokio::time::sleep(QUIET).await;
        self.seen.rollback = Some((outcome(&back), reason(&back)));
        Ok(())
    }

    /// Looks for the last time. Nobody asks the API any more.
    pub(super) fn end(mut self) -> Findings {
        self.look("after");
        Findings { requests: self.pulse.stop(), ..self.seen }
    }
}

impl Findings {
    /// Keeps the first thing that is not as it must be.
    pub(super) fn found(&mut self, looked: Result<(), RehearsalError>) {
        self.wrong = self.wrong.take().or(looked.err());
    }

    /// The report on this run.
    pub(super) fn summary(
        self,
        (setup, story): (&Setup, Story),
        journal: &Journal,
        run: &Ending,
    ) -> Result<Summary, RehearsalError> {
        let there = if story.is_a_change() { story.name() } else { Story::Pivot.name() };
        let timed = self.requests.iter().filter(|asked| [there, "rollback"].contains(&asked.phase));
        Ok(Summary {
            story,
            run: run.run,
            kubernetes: setup.version(),
            manifests: setup.from().map(Into::into),
            pivot: (outcome(run), reason(run)),
            rollback: self.rollback,
            difference: self.wrong.map(|wrong| wrong.to_string()),
            steps: step_times(journal, run.run)?,
            took: timed.map(|asked| asked.took).sum(),
            requests: self.requests,
            control_plane: self.control_plane,
        })
    }
}

impl Summary {
    /// Whether the pivot completed, and the way back left everything as it was before.
    pub fn is_exact(&self) -> bool {
        self.difference.is_none()
    }
}

/// Whether a run ended as expected and has left what it must.
pub(super) async fn arrived(
    world: &SimulatedSite,
    ending: &Ending,
    expected: Outcome,
) -> Result<(), RehearsalError> {
    let Some(outcome) = outcome(ending) else { return Err(RehearsalError::Ended(reason(ending))) };
    world.ended_well(outcome).await?;
    world.machine().until("leaders", SOON, |seen| seen.leaders.len() == 2).await?;
    match outcome == expected {
        true => Ok(()),
        false => Err(RehearsalError::Ended(format!("as {outcome}: {}", reason(ending)))),
    }
}

/// How a run ended, if it did.
pub(super) fn outcome(ending: &Ending) -> Option<Outcome> {
    match &ending.phase {
        Phase::Ended(outcome, _) => Some(*outcome),
        _ => None,
    }
}

/// Why the run ended in this way.
pub(super) fn reason(ending: &Ending) -> String {
    match &ending.phase {
        Phase::Ended(_, reason) | Phase::Paused { reason, .. } => reason.clone(),
        other => other.to_string(),
    }
}

/// From the journal: the report shows what was written down.
fn step_times(journal: &Journal, run: RunId) -> Result<Vec<StepTime>, RehearsalError> {
    let history = History::read(&journal.reader(), run)?;
    let plan = fulcrum_engine::load::load(&journal.reader(), run)?;
    let time = |step: &StepId, direction: Direction| -> Duration {
        let attempts = history.attempts.iter().filter(|attempt| attempt.step == *step);
        let attempts = attempts.filter(|attempt| attempt.direction == direction);
        attempts.filter_map(|attempt| attempt.ended.map(|ended| ended.since(attempt.started))).sum()
    };
    let steps = plan.plan().steps().iter().map(|spec| StepTime {
        step: spec.id.clone(),
        run: time(&spec.id, Direction::Run),
        undo: time(&spec.id, Direction::Undo),
    });
    Ok(steps.collect())
}

fn look(snapshot: &Snapshot) -> Vec<ComponentSeen> {
    let of = |component: Component| {
        let leader = component.lease_name().map(|lease| snapshot.leaders.get(lease).copied());
        let processes = snapshot.processes.iter().filter(|process| process.component == component.name());
        let serving = processes.filter(|process| process.ready && !process.ending).map(|process| Seen {
            pid: process.pid,
            pod: process.pod.clone(),
            is_static: process.origin == Origin::Static,
            shares_port: process.shares_port,
            leads: leader.map(|leader| leader == Some(process.pid)),
        });
        ComponentSeen { component, serving: serving.collect() }
    };
    Component::ALL.map(of).into()
}
