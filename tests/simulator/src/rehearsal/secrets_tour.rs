//! A pivot with certificates in Secrets, the years after it, the way back, and a report.

use super::error::RehearsalError;
use super::pace::QUIET;
use super::pulse::Pulse;
use super::setup::Setup;
use super::simulated_site::SimulatedSite;
use super::story::Story;
use super::tour::{Summary, arrived, look, outcome, reason, step_times};
use fulcrum_engine::state::RunId;
use fulcrum_engine::{Observer, Outcome};
use fulcrum_evidence::verify::Standing;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Pivots the world, cuts its power, rotates a certificate, and goes back, with requests to its API all the while.
///
/// # Errors
/// As [`there_and_back`](super::there_and_back).
pub async fn secrets_and_back(
    world: &SimulatedSite,
    setup: &Setup,
    watching: Arc<dyn Observer>,
) -> Result<Summary, RehearsalError> {
    let pulse = Pulse::start(world.cluster.clone(), world.machine().name().to_owned());
    let keys = world.keys()?;
    let mut control_plane = BTreeMap::from([("before", look(&world.machine().snapshot()))]);
    tokio::time::sleep(QUIET).await;
    pulse.phase("pivot");
    let pivoted = world.pivot(&world.journal()?, Arc::clone(&watching)).await?;
    let mut wrong = arrived(world, &pivoted, Outcome::Completed).await.err();
    if wrong.is_none() {
        wrong = lives(world, pivoted.run, &pulse).await.err();
    }
    control_plane.insert("between", look(&world.machine().snapshot()));
    let journal = world.journal()?;
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
    wrong = wrong.or(world.keeps_no_secret(&journal, pivoted.run, keys).await.err());
    wrong = wrong.or(world.is_verified(&journal.reader(), Standing::Verified).await.err());
    control_plane.insert("after", look(&world.machine().snapshot()));
    let requests = pulse.stop();
    let timed = requests.iter().filter(|asked| matches!(asked.phase, "pivot" | "rollback"));
    Ok(Summary {
        story: Story::Secrets,
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

/// What comes after the pivot, each part of it in a phase of its own.
async fn lives(world: &SimulatedSite, pivot: RunId, pulse: &Pulse) -> Result<(), RehearsalError> {
    pulse.phase("between");
    let of = world.in_secrets_of(pivot)?;
    world.stands_with_secrets(&of).await?;
    tokio::time::sleep(QUIET).await;
    pulse.phase("power-cut");
    world.survives_a_power_cut(&of, Some(pulse)).await?;
    pulse.phase("rotation");
    world.rotates(&of).await
}
