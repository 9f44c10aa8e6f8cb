//! `fulcrum rehearse --story`: a change of a control plane that was pivoted, there and back, or the plan to break.

use super::refused::{from_rehearsal, refuse};
use crate::exit::{Exit, Failure};
use crate::render::{Progress, show_tour};
use crate::shell::Shell;
use fulcrum_engine::{Observer, Outcome, Plan};
use fulcrum_simulator::rehearsal::{SOON, Setup, SimulatedSite, Story, Summary, change_and_back};
use fulcrum_steps::plan;
use fulcrum_steps::settings::Settings;
use std::path::Path;
use std::sync::Arc;

/// Pivots out of sight, and carries the change out and takes it back.
pub(super) async fn tour(story: Story, setup: &Setup, root: &Path, shell: &Shell) -> Result<Exit, Failure> {
    let from_rehearsal = |error| from_rehearsal(error, shell);
    let world = SimulatedSite::boot(setup, root).await.map_err(from_rehearsal)?;
    let begun = world.begin(story, setup.version()).await.map_err(from_rehearsal)?;
    shell.talk(format_args!("pivoted; what follows is {}", story.noun()));
    let progress = Arc::new(Progress::new(shell, None));
    let watching: Arc<dyn Observer> = Arc::clone(&progress) as _;
    let summary = change_and_back(&world, (setup, story), &begun, watching).await;
    progress.finish();
    let summary = summary.map_err(from_rehearsal)?;
    show_tour(&summary, shell);
    Ok(exit_of(&summary))
}

/// The plan of the run that is broken: the pivot's, or that of the change after one.
pub(super) async fn plan_of(
    story: Story,
    setup: &Setup,
    root: &Path,
    shell: &Shell,
) -> Result<Plan, Failure> {
    let from_rehearsal = |error| from_rehearsal(error, shell);
    // All of them: a node whose files are gone is none. The run that is broken is the only node's, or the second's.
    let sites = SimulatedSite::boot_all(setup, root).await.map_err(from_rehearsal)?;
    let world = &sites[usize::from(sites.len() > 1)];
    let settings = world.preflight().await.map_err(|refused| refuse(refused, shell))?.settings;
    let made = match story {
        Story::Pivot | Story::Secrets => plan::pivot(&settings, SOON),
        Story::Upgrade | Story::Certs => {
            let begun = world.begin(story, setup.version()).await.map_err(from_rehearsal)?;
            begun.change.plan(&Settings { of_pivot: Some(begun.pivot), ..settings }, begun.pivot)
        }
    };
    made.map_err(|error| Failure::new(Exit::Other, error))
}

/// The exit code of a rehearsal there and back.
pub(super) fn exit_of(summary: &Summary) -> Exit {
    match summary.pivot.0 {
        Some(Outcome::RolledBack) => Exit::Undone,
        _ if summary.is_exact() => Exit::Done,
        _ => Exit::NeedsOperator,
    }
}
