//! One of several nodes has lost its journal. It is taken over, and the other one never notices.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

use fulcrum_engine::run::Phase;
use fulcrum_engine::{Ending, Outcome, Silent};
use fulcrum_simulator::rehearsal::{POLL, SOON, Setup, SimulatedSite, Version};
use fulcrum_steps::component::Component;
use fulcrum_steps::host::Units;
use fulcrum_steps::plan;
use fulcrum_steps::preflight::self_hosted;
use fulcrum_steps::unit::UNIT;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

async fn uids(site: &SimulatedSite) -> Vec<Value> {
    let mut uids = Vec::new();
    for component in Component::ALL {
        let live = site.cluster.daemonset(component.daemonset_name()).await.unwrap().unwrap();
        uids.push(live["metadata"]["uid"].clone());
    }
    uids
}

fn assert_ended(ending: &Ending, expected: Outcome) {
    let Phase::Ended(outcome, reason) = &ending.phase else { panic!("{}", ending.phase) };
    assert_eq!(*outcome, expected, "{reason}");
}

async fn pivot(site: &SimulatedSite) {
    site.settle().await.unwrap();
    let ending = site.pivot(&site.journal().unwrap(), Arc::new(Silent)).await.unwrap();
    assert_ended(&ending, Outcome::Completed);
    site.is_self_hosted().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_lost_its_journal_leaves_the_daemonsets_and_comes_back() {
    let root = tempfile::tempdir().unwrap();
    let setup = Setup::built_in(Version::DEFAULT).unwrap().with_nodes(2);
    let sites = SimulatedSite::boot_all(&setup, root.path()).await.unwrap();
    let (first, second) = (&sites[0], &sites[1]);
    pivot(first).await;
    pivot(second).await;
    std::fs::remove_dir_all(second.state_dir()).unwrap();
    second.units().disable(UNIT, true).await.unwrap();
    std::fs::remove_file(second.units().dir().join(UNIT)).unwrap();
    let before = uids(first).await;

    let failed = Arc::new(AtomicU64::new(0));
    let mut clients: Vec<kube::Client> = sites.iter().map(|site| site.machine().client()).collect();
    clients.push(first.simulator.from_outside());
    let asking: Vec<_> = clients
        .into_iter()
        .map(|client| {
            let failed = Arc::clone(&failed);
            tokio::spawn(async move {
                loop {
                    if Api::<Node>::all(client.clone()).get("node-1").await.is_err() {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                    tokio::time::sleep(POLL).await;
                }
            })
        })
        .collect();

    let there = self_hosted(&second.preflight_input()).await.unwrap();
    let journal = second.journal().unwrap();
    let plan = plan::adopt(&there.settings, &there.found, SOON).unwrap();
    let engine = second.engine(&journal, there.settings.clone()).await.unwrap();
    let adopted = engine.start(plan).await.unwrap();
    drop(engine);
    assert_ended(&adopted, Outcome::Completed);
    assert_eq!(uids(first).await, before, "the other node's DaemonSets stay");
    first.is_self_hosted().await.unwrap();
    let back = second.rollback(&journal, adopted.run, Arc::new(Silent)).await.unwrap();
    assert_ended(&back, Outcome::RolledBack);
    second.is_self_hosted().await.unwrap();
    let engine = second.engine(&journal, there.settings.clone()).await.unwrap();
    let plan = plan::adopt(&there.settings, &there.found, SOON).unwrap();
    assert_ended(&engine.start(plan).await.unwrap(), Outcome::Completed);
    drop((engine, journal));
    pivot(second).await;
    assert_eq!(uids(first).await, before, "it runs on the DaemonSets that are there");
    asking.iter().for_each(tokio::task::JoinHandle::abort);
    assert_eq!(failed.load(Ordering::Relaxed), 0, "requests failed");
}
