//! `fulcrum rehearse --nodes`: all nodes of a simulated cluster by one command, there and back.

use super::refused::from_rehearsal;
use crate::exit::{Exit, Failure};
use crate::render::{happened, show_nodes_tour};
use crate::shell::Shell;
use fulcrum_simulator::rehearsal::{Setup, SimulatedSite, there_and_back_on_all};
use fulcrum_steps::all_nodes::Happened;
use std::path::Path;

pub(super) async fn rehearse_nodes(setup: &Setup, root: &Path, shell: &Shell) -> Result<Exit, Failure> {
    let from_rehearsal = |error| from_rehearsal(error, shell);
    let sites = SimulatedSite::boot_all(setup, root).await.map_err(from_rehearsal)?;
    let hear = |what: Happened<'_>| match what {
        // Each pod waits for milliseconds.
        Happened::Pending(..) => {}
        what => happened(what, shell),
    };
    let summary = there_and_back_on_all(sites, setup, &hear).await.map_err(from_rehearsal)?;
    show_nodes_tour(&summary, shell).map_err(|error| Failure::new(Exit::Other, error))?;
    Ok(if summary.is_exact() { Exit::Done } else { Exit::NeedsOperator })
}
