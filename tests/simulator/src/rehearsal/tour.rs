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
    let pulse = Pulse::start(world.cluster.clone(), node);
    let journal = world.journal()?;
    let mut control_plane = BTreeMap::from([("before", look(&world.machine().snapshot()))]);
    tokio::time::sleep(QUIET).await;
    pulse.phase("pivot");
    let pivoted = world.pivot(&journal, Arc::clone(&watching)).await?;
    pulse.phase("between");
    let mut wrong = arrived(world, &pivoted, Outcome::Completed).await.err();
    control_plane.insert("between", look(&world.machine().snapshot()));
    tokio::time::sleep(QUIET).await;
    let mut rollback = None;
    if outcome(&pivoted) != Some(Outcome::RolledBack) {
        pulse.phase("rollback");
        let back = world.rollback(&journal, pivoted.run, watching).await?;
        pulse.phase("after");
        let back_wrong = arrived(world, &back, Outcome::RolledBack).await.err();
        wrong = wrong.or(back_wrong);
        tokio::time::sleep(QUIET).await;
        rollback = Some((outcome(&back), reason(&back)));
    }
    wrong = wrong.or(world.is_verified(&journal.reader(), Standing::Verified).await.err());
    control_plane.insert("after", look(&world.machine().snapshot()));
    let requests = pulse.stop();
    let timed = requests.iter().filter(|asked| matches!(asked.phase, "pivot" | "rollback"));
    Ok(Summary {
        story: Story::Pivot,
        run: pivoted.run,
        kubernetes: setup.version(),
        manifests: setup.from().map(Into::into),
        pivot: (outcome(&pivoted), reason(&pivoted)),
        rollback,
        difference: wrong.map(|wrong| wrong.to_string()),
        steps: step_times(&journal, pivoted.run)?,
        took: timed.map(|asked| asked.took).sum(),
        requests,
        control_plane,
    })
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
pub(super) fn step_times(journal: &Journal, run: RunId) -> Result<Vec<StepTime>, RehearsalError> {
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

pub(super) fn look(snapshot: &Snapshot) -> Vec<ComponentSeen> {
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
