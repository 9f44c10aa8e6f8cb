//! A change of a self-hosted control plane, there and back, and a report.

use super::begun::Begun;
use super::error::RehearsalError;
use super::pace::{QUIET, SOON};
use super::pulse::Pulse;
use super::setup::Setup;
use super::simulated_site::SimulatedSite;
use super::story::Story;
use super::tour::{Summary, look, outcome, reason, step_times};
use fulcrum_engine::state::Journal;
use fulcrum_engine::{Ending, Observer, Outcome, Silent};
use fulcrum_evidence::verify::Standing;
use std::collections::BTreeMap;
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
    let pulse = Pulse::start(world.cluster.clone(), world.machine().name().to_owned());
    let journal = world.journal()?;
    let mut control_plane = BTreeMap::from([("before", look(&world.machine().snapshot()))]);
    tokio::time::sleep(QUIET).await;
    pulse.phase(story.name());
    let changed = world.carry_out(&journal, begun, Arc::clone(&watching)).await?;
    pulse.phase("between");
    let mut wrong = arrived(world, begun, &changed, Outcome::Completed).await.err();
    control_plane.insert("between", look(&world.machine().snapshot()));
    tokio::time::sleep(QUIET).await;
    let mut rollback = None;
    if outcome(&changed) != Some(Outcome::RolledBack) {
        pulse.phase("rollback");
        let back = world.rollback(&journal, changed.run, watching).await?;
        pulse.phase("after");
        let back_wrong = arrived(world, begun, &back, Outcome::RolledBack).await.err();
        wrong = wrong.or(back_wrong);
        tokio::time::sleep(QUIET).await;
        rollback = Some((outcome(&back), reason(&back)));
    }
    control_plane.insert("after", look(&world.machine().snapshot()));
    let requests = pulse.stop();
    let timed = requests.iter().filter(|asked| [story.name(), "rollback"].contains(&asked.phase));
    let took = timed.map(|asked| asked.took).sum();
    let steps = step_times(&journal, changed.run)?;
    wrong = wrong.or(goes_back(world, &journal, begun).await.err());
    Ok(Summary {
        story,
        run: changed.run,
        kubernetes: setup.version(),
        manifests: setup.from().map(Into::into),
        pivot: (outcome(&changed), reason(&changed)),
        rollback,
        difference: wrong.map(|wrong| wrong.to_string()),
        steps,
        took,
        requests,
        control_plane,
    })
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
