//! Breaks the run on the second of several nodes. The first one is self-hosted, the others are static, and clients read
//! at all of them meanwhile.
//!
//! A cluster serves one case after the other: a case that ends well leaves it exactly as the case has found it, which is
//! checked.

use super::error::RehearsalError;
use super::inventory::inventory;
use super::load::{Answers, Load};
use super::pace::{POLL, SOON};
use super::point::Case;
use super::setup::Setup;
use super::simulated_site::{SimulatedSite, Steps};
use super::tour::{outcome, reason};
use fulcrum_engine::{Outcome, Silent};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The number of the node that is broken. The nodes count from 0.
const BROKEN: usize = 1;
/// How many cases a cluster serves. The node's journal has a run more with each.
const CASES: u32 = 16;
/// How often each client asks. Many clusters have their clients on one machine.
const EVERY: Duration = POLL.saturating_mul(4);

/// Clusters that wait for their next case.
#[derive(Debug, Default)]
pub(super) struct Clusters {
    idle: Mutex<Vec<NodesWorld>>,
}

/// A cluster, and its clients.
#[derive(Debug)]
struct NodesWorld {
    load: Arc<Load>,
    /// How many cases it has served.
    served: u32,
    sites: Vec<SimulatedSite>,
}

impl Clusters {
    /// Has the second node's run broken and brought to its end by `break_in`, and requires that the others served all the
    /// while. `steps` are others than the usual ones.
    pub(super) async fn serve<T>(
        &self,
        (setup, root): (&Setup, &Path),
        steps: Option<&Steps>,
        case: &Case,
        break_in: impl AsyncFnOnce(&SimulatedSite) -> Result<T, RehearsalError>,
    ) -> Result<(T, Answers), RehearsalError> {
        // The key is made once in a journal's life. The cluster whose place a new one takes ends: what waits computes, too.
        let used = self.take().filter(|_| !case.point.when.is_signing());
        let mut world = match used {
            Some(world) => world,
            None => NodesWorld::boot(setup, root).await?,
        };
        let site = &mut world.sites[BROKEN];
        site.set_on_reboot(case.then);
        if let Some(steps) = steps {
            site.steps = Arc::clone(steps);
        }
        world.load.phase("case");
        let broken = break_in(&world.sites[BROKEN]).await?;
        world.is_as_found().await?;
        let mut answers = Answers::default();
        for phase in world.load.take("pause").iter().filter(|phase| phase.phase == "case") {
            answers.add(&phase.all());
        }
        check(&answers)?;
        world.served += 1;
        self.give_back(world);
        Ok((broken, answers))
    }

    fn take(&self) -> Option<NodesWorld> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Keeps a cluster for another case, or ends it.
    fn give_back(&self, world: NodesWorld) {
        if world.served < CASES {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(world);
        }
    }
}

/// Whether clients have lost no more than the fault may cost.
fn check(answers: &Answers) -> Result<(), RehearsalError> {
    match answers.failed.is_empty() && answers.answered > 0 {
        true => Ok(()),
        false => Err(RehearsalError::Clients {
            answered: answers.answered,
            failed: answers.failed.iter().map(|(kind, count)| format!("{count} of {kind}")).collect(),
        }),
    }
}

impl NodesWorld {
    /// Boots a cluster and pivots its first node.
    async fn boot(setup: &Setup, root: &Path) -> Result<Self, RehearsalError> {
        let mut sites = SimulatedSite::boot_all(setup, root).await?;
        let pivoted = sites[0].pivot(&sites[0].journal()?, Arc::new(Silent)).await?;
        if outcome(&pivoted) != Some(Outcome::Completed) {
            let why = format!("on the first node, before anything was broken: {}", reason(&pivoted));
            return Err(RehearsalError::Ended(why));
        }
        sites[0].is_self_hosted().await?;
        let load = Arc::new(Load::start(&sites[0].simulator, "pause", EVERY));
        let objects = inventory(sites[0].machine()).await?;
        for site in &mut sites {
            site.objects = objects.clone();
        }
        sites[BROKEN].load = Some(Arc::clone(&load));
        let world = Self { load, served: 0, sites };
        world.is_as_found().await?;
        Ok(world)
    }

    /// Whether everything is as the first node's pivot has left it: the processes and files of every node, and the
    /// objects that all share, the first node's pods among them.
    async fn is_as_found(&self) -> Result<(), RehearsalError> {
        let all = self.sites.len();
        let led = |seen: &crate::Snapshot| seen.leaders.len() == 2 && seen.endpoints.len() >= all;
        self.sites[0].machine().until("two leaders and every node's address", SOON, led).await?;
        self.sites[0].is_self_hosted().await?;
        for site in &self.sites[1..] {
            site.is_static().await?;
        }
        // The objects are those of all nodes, whichever is asked.
        Ok(self.sites[BROKEN].is_as_before().await?)
    }
}
