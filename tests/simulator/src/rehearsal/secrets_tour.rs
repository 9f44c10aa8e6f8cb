//! A pivot with certificates in Secrets, the years after it, the way back, and a report.

use super::error::RehearsalError;
use super::pace::QUIET;
use super::pulse::Pulse;
use super::setup::Setup;
use super::simulated_site::SimulatedSite;
use super::story::Story;
use super::tour::{Summary, Tour, arrived};
use fulcrum_engine::state::RunId;
use fulcrum_engine::{Ending, Observer, Outcome};
use fulcrum_evidence::verify::Standing;
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
    let keys = world.keys()?;
    let mut tour = Tour::begin(world, world.machine().name().to_owned()).await;
    tour.pulse.phase("pivot");
    let pivoted = world.pivot(&world.journal()?, Arc::clone(&watching)).await?;
    match arrived(world, &pivoted, Outcome::Completed).await {
        Ok(()) => tour.seen.found(lives(world, pivoted.run, &tour.pulse).await),
        wrong => tour.seen.found(wrong),
    }
    tour.look("between");
    // The guard has had the journal meanwhile.
    let journal = world.journal()?;
    let is_back = async |back: &Ending| arrived(world, back, Outcome::RolledBack).await;
    tour.goes_back(&journal, &pivoted, watching, is_back).await?;
    tour.seen.found(world.keeps_no_secret(&journal, pivoted.run, keys).await);
    tour.seen.found(world.is_verified(&journal.reader(), Standing::Verified).await);
    tour.end().summary((setup, Story::Secrets), &journal, &pivoted)
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
