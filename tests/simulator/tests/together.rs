//! What happens on several nodes at once: they start together, and they all lose their power.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

use fulcrum_engine::run::Phase;
use fulcrum_engine::state::{RunId, Timestamp};
use fulcrum_engine::{Ending, Event, Observer, Outcome, Silent, StepId};
use fulcrum_simulator::rehearsal::{Setup, SimulatedSite, Version};
use fulcrum_steps::cluster::LOCK_LEASE;
use futures::future::join_all;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

async fn boot() -> (Vec<SimulatedSite>, TempDir) {
    let root = tempfile::tempdir().unwrap();
    let setup = Setup::built_in(Version::DEFAULT).unwrap().with_nodes(3);
    (SimulatedSite::boot_all(&setup, root.path()).await.unwrap(), root)
}

async fn pivot(site: &SimulatedSite, hears: &Arc<Notes>) -> RunId {
    let watching: Arc<dyn Observer> = Arc::clone(hears) as _;
    let ending = site.pivot(&site.journal().unwrap(), watching).await.unwrap();
    ended_as(&ending, Outcome::Completed);
    ending.run
}

fn ended_as(ending: &Ending, expected: Outcome) {
    match &ending.phase {
        Phase::Ended(outcome, why) => assert_eq!(*outcome, expected, "{why}"),
        other => panic!("{other}"),
    }
}

async fn all_come_back(sites: &[SimulatedSite], runs: &[RunId]) {
    for (site, run) in sites.iter().zip(runs) {
        let back = site.rollback(&site.journal().unwrap(), *run, Arc::new(Silent)).await.unwrap();
        ended_as(&back, Outcome::RolledBack);
    }
    for site in sites {
        site.is_as_before().await.unwrap();
    }
}

/// What the steps of a run have said that they wait for.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Observer for Notes {
    fn event(&self, _run: RunId, _time: Timestamp, _event: &Event) {}

    fn note(&self, step: &StepId, text: &str) {
        self.0.lock().unwrap().push(format!("{step}: {text}"));
    }
}

impl Notes {
    /// Whether the lock was waited for, of a run on this node.
    fn waited_for(&self, node: &str) -> bool {
        let holder = format!("{node}/");
        self.0.lock().unwrap().iter().any(|said| said.starts_with("lock: ") && said.contains(&holder))
    }
}

/// One of them runs. The other one waits, and says for whom. Both are pivoted.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_nodes_that_start_together_one_waits_and_says_for_whom() {
    let (sites, _root) = boot().await;
    let said = [(); 2].map(|()| Arc::new(Notes::default()));
    let runs = tokio::join!(pivot(&sites[0], &said[0]), pivot(&sites[1], &said[1]));
    for site in &sites[..2] {
        site.is_self_hosted().await.unwrap();
    }
    let waited = [said[0].waited_for("node-2"), said[1].waited_for("node-1")];
    assert!(
        waited[0] != waited[1],
        "one waits: {waited:?}, {:?}",
        said.map(|said| said.0.lock().unwrap().clone())
    );
    all_come_back(&sites[..2], &[runs.0, runs.1]).await;
    sites[2].is_as_before().await.unwrap();
}

/// etcd has no majority until two nodes are there, and each guard hands over on its own node, under one lock.
#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_that_lose_their_power_at_once_come_back_by_themselves() {
    let (sites, _root) = boot().await;
    let mut runs = Vec::new();
    for site in &sites {
        runs.push(pivot(site, &Arc::default()).await);
    }
    for site in &sites {
        site.machine().power_off();
    }
    let boots = join_all(sites.iter().map(SimulatedSite::reboot));
    for booted in boots.await {
        booted.unwrap();
    }
    for site in &sites {
        site.is_self_hosted().await.unwrap();
    }
    assert!(sites[0].cluster.lease(LOCK_LEASE).await.unwrap().is_none());
    all_come_back(&sites, &runs).await;
}
