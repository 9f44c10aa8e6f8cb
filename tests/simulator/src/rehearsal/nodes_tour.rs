//! There and back on several nodes, as `pivot --all-nodes` and `rollback --all-nodes` go: the real driver, a pod on each
//! node, and the node's own run.

use super::error::RehearsalError;
use super::hosts::Hosts;
use super::load::{Load, PhaseLoad};
use super::pace::{POLL, PULSE, QUIET, SOON};
use super::pulse::millis;
use super::setup::Setup;
use super::simulated_site::SimulatedSite;
use super::version::Version;
use fulcrum_engine::state::Reader;
use fulcrum_evidence::verify::Standing;
use fulcrum_steps::all_nodes::{Driver, Happened, InCluster, Limits, Own, Stop, Task};
use fulcrum_steps::overview::{Overview, gather, judge};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// An image that every simulated node has.
const IMAGE: &str = "docker.io/library/fulcrum:rehearsal";
/// The pause between two nodes. A real one's is 10 s.
const SETTLE: Duration = Duration::from_millis(20);

/// The report on the way there and back of several nodes.
#[derive(Debug, Serialize)]
pub struct NodesSummary {
    /// The simulated version.
    pub kubernetes: Version,
    /// The directory of the manifests. `None` for the built-in ones.
    pub manifests: Option<PathBuf>,
    /// The nodes, in the order in which they were pivoted.
    pub nodes: Vec<NodeTime>,
    /// The requests, by phase.
    pub requests: Vec<PhaseLoad>,
    /// What `status --cluster` tells when all nodes are pivoted.
    pub between: Overview,
    /// What is not as it must be. `None` if every node was pivoted and everything is as it was before.
    pub difference: Option<String>,
    /// How long the pivots and the ways back took, with the pauses between the nodes.
    #[serde(rename = "took_ms", serialize_with = "millis")]
    pub took: Duration,
}

/// How long a node took, its pod included. Zero for what it did not come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeTime {
    /// The node.
    pub node: String,
    /// Its pivot.
    #[serde(rename = "pivot_ms", serialize_with = "millis")]
    pub pivot: Duration,
    /// Its way back.
    #[serde(rename = "rollback_ms", serialize_with = "millis")]
    pub rollback: Duration,
}

/// Hears what happens. The task is what all nodes are asked for.
pub type Hears<'a> = &'a (dyn Fn(Happened<'_>) + Send + Sync);

/// Pivots all nodes by one command and brings them back by one, with requests through the balancer and at each node all
/// the while.
///
/// # Errors
/// When the checks refuse on the first node, or the simulation itself fails. What ends otherwise than it must is no error
/// here: the [`NodesSummary`] reports it.
pub async fn there_and_back_on_all(
    sites: Vec<SimulatedSite>,
    setup: &Setup,
    hear: Hears<'_>,
) -> Result<NodesSummary, RehearsalError> {
    let Some(first) = sites.first() else { return Err(RehearsalError::Ended("without a node".to_owned())) };
    first.preflight().await?;
    let load = Load::start(&first.simulator, "before", PULSE);
    let sites = Arc::new(sites);
    let tour = NodesTour { hosts: Hosts::start(&sites), load, times: Mutex::default(), sites, hear };
    tokio::time::sleep(QUIET).await;
    let pivoted = tour.drive(Task::Pivot).await;
    tour.load.phase("between");
    let mut wrong = match pivoted {
        Ok(()) => tour.are_self_hosted().await.err().map(|error| error.to_string()),
        Err(stop) => Some(tour.words(&stop)),
    };
    let between = judge(&gather(&tour.sites[0].cluster).await?);
    tokio::time::sleep(QUIET).await;
    let back = tour.drive(Task::Rollback).await;
    tour.load.phase("after");
    let back = match back {
        Ok(()) => tour.are_as_before().await.err().map(|error| error.to_string()),
        Err(stop) => Some(tour.words(&stop)),
    };
    wrong = wrong.or(back);
    tokio::time::sleep(QUIET).await;
    let requests = tour.load.take("over");
    let timed =
        requests.iter().filter(|phase| !matches!(phase.phase.as_str(), "before" | "between" | "after"));
    Ok(NodesSummary {
        kubernetes: setup.version(),
        manifests: setup.from().map(Into::into),
        nodes: std::mem::take(&mut *tour.times()),
        took: timed.map(|phase| phase.took).sum(),
        requests,
        between,
        difference: wrong,
    })
}

impl NodesSummary {
    /// Whether every node was pivoted, and the way back left everything as it was before.
    pub fn is_exact(&self) -> bool {
        self.difference.is_none()
    }
}

struct NodesTour<'a> {
    hosts: Hosts,
    load: Load,
    times: Mutex<Vec<NodeTime>>,
    sites: Arc<Vec<SimulatedSite>>,
    hear: Hears<'a>,
}

impl NodesTour<'_> {
    /// One command for all nodes, as the command line has it.
    async fn drive(&self, task: Task) -> Result<(), Stop> {
        let first = &self.sites[0];
        let nodes = InCluster {
            cluster: first.cluster.clone(),
            host: Arc::clone(&first.host),
            own: Own::default(),
            task,
            image: IMAGE.to_owned(),
            options: vec!["--yes".to_owned()],
        };
        let (run, settle) = (SOON * 4, SETTLE);
        let limits = Limits { poll: POLL, api: SOON, pod: SOON, run, guard: SOON, ready: SOON, settle };
        let say = |what: Happened<'_>| {
            match what {
                Happened::Begun(node) => self.load.phase(&format!("{task} {node}")),
                Happened::Done(node, took) => self.took(task, node, took),
                _ => {}
            }
            (self.hear)(what);
        };
        let program = super::simulated_site::PROGRAM;
        Driver { nodes: &nodes, task, program, image: IMAGE, without_down: false, limits, say: &say }
            .drive()
            .await
    }

    fn times(&self) -> std::sync::MutexGuard<'_, Vec<NodeTime>> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn took(&self, task: Task, node: &str, took: Duration) {
        let mut times = self.times();
        let at = times.iter().position(|time| time.node == node).unwrap_or_else(|| {
            let (pivot, rollback) = (Duration::ZERO, Duration::ZERO);
            times.push(NodeTime { node: node.to_owned(), pivot, rollback });
            times.len() - 1
        });
        match task {
            Task::Rollback => times[at].rollback = took,
            Task::Pivot | Task::Resume => times[at].pivot = took,
        }
    }

    async fn are_self_hosted(&self) -> Result<(), RehearsalError> {
        for site in self.sites.iter() {
            site.is_self_hosted().await?;
        }
        Ok(())
    }

    /// Files, processes and objects, and each node's journal.
    async fn are_as_before(&self) -> Result<(), RehearsalError> {
        for site in self.sites.iter() {
            site.is_as_before().await?;
            site.is_verified(&Reader::open(site.state_dir())?, Standing::Verified).await?;
        }
        Ok(())
    }

    /// Why the command stopped, with what the run on its node said.
    fn words(&self, stop: &Stop) -> String {
        let node = match stop {
            Stop::Ended { node, .. } => self.hosts.said(node),
            _ => None,
        };
        match node {
            Some(said) => format!("{stop}: {said}"),
            None => stop.to_string(),
        }
    }
}
