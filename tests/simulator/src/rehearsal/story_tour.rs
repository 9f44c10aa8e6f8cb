//! A change of a self-hosted control plane, there and back, and a report.

use super::begun::Begun;
use super::error::RehearsalError;
use super::pace::{QUIET, SOON};
use super::setup::Setup;
use super::simulated_site::SimulatedSite;
use super::story::Story;
use super::tour::{Summary, Tour, outcome, reason};
use fulcrum_engine::state::Journal;
use fulcrum_engine::{Ending, Observer, Outcome, Silent};
use fulcrum_evidence::verify::Standing;
use std::sync::Arc;

/// Carries the change out on the world, which [`SimulatedSite::begin`] has pivoted, and takes it back, with requests to
/// its API all the while. Then takes the pivot back.
///
/// # Errors
/// When the simulation itself fails. A run that ends otherwise than it must is no error here: the [`Summary`] reports
/// it.
pub async fn change_and_back(
    world: &SimulatedSite,
    (setup, story): (&Setup, Story),
    begun: &Begun,
    watching: Arc<dyn Observer>,
) -> Result<Summary, RehearsalError> {
    let mut tour = Tour::begin(world, world.machine().name().to_owned()).await;
    let journal = world.journal()?;
    tour.pulse.phase(story.name());
    let changed = world.carry_out(&journal, begun, Arc::clone(&watching)).await?;
    tour.pulse.phase("between");
    tour.seen.found(arrived(world, begun, &changed, Outcome::Completed).await);
    tour.look("between");
    tokio::time::sleep(QUIET).await;
    let is_back = async |back: &Ending| arrived(world, begun, back, Outcome::RolledBack).await;
    tour.goes_back(&journal, &changed, watching, is_back).await?;
    let mut seen = tour.end();
    seen.found(goes_back(world, &journal, begun).await);
    seen.summary((setup, story), &journal, &changed)
}

/// Whether a change ended as expected and has left what it must.
async fn arrived(
    world: &SimulatedSite,
    begun: &Begun,
    ending: &Ending,
    expected: Outcome,
) -> Result<(), RehearsalError> {
    let Some(outcome) = outcome(ending) else { return Err(RehearsalError::Ended(reason(ending))) };
    if outcome != expected {
        return Err(RehearsalError::Ended(format!("as {outcome}: {}", reason(ending))));
    }
    world.change_stands(begun, outcome).await?;
    world.machine().until("leaders", SOON, |seen| seen.leaders.len() == 2).await?;
    Ok(())
}

/// Takes the pivot back, too: everything is as it was before.
async fn goes_back(world: &SimulatedSite, journal: &Journal, begun: &Begun) -> Result<(), RehearsalError> {
    let back = world.rollback(journal, begun.pivot, Arc::new(Silent)).await?;
    if outcome(&back) != Some(Outcome::RolledBack) {
        return Err(RehearsalError::Ended(format!("otherwise, the pivot: {}", reason(&back))));
    }
    world.is_as_before().await?;
    world.is_verified(&journal.reader(), Standing::Verified).await
}
