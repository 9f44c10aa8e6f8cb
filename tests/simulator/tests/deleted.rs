//! The DaemonSets are deleted while the guard watches.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

use fulcrum_engine::Silent;
use fulcrum_simulator::rehearsal::{SOON, Setup, SimulatedSite, Version, intervals};
use fulcrum_simulator::{Origin, Snapshot};
use fulcrum_steps::component::Component;
use fulcrum_steps::guard::{Ended, Guard};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

async fn pivoted() -> (SimulatedSite, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let world = SimulatedSite::boot(&Setup::built_in(Version::DEFAULT).unwrap(), dir.path()).await.unwrap();
    let _ = world.pivot(&world.journal().unwrap(), Arc::new(Silent)).await.unwrap();
    world.is_self_hosted().await.unwrap();
    (world, dir)
}

async fn delete(world: &SimulatedSite, component: Component) {
    let name = component.daemonset_name();
    let live = world.cluster.daemonset(name).await.unwrap().unwrap();
    world.cluster.delete_daemonset(name, live["metadata"]["uid"].as_str().unwrap()).await.unwrap();
}

/// Waits until these are static, under a guard that is as patient as this.
async fn until_static(world: &SimulatedSite, patience: Duration, components: &[Component]) {
    let guard = Guard {
        env: world,
        intervals: intervals(patience),
        roll_certificates: false,
        stop: CancellationToken::new(),
    };
    let guarded = async {
        loop {
            match guard.run(|| {}).await {
                Ended::RunIsOver => {}
                ended => panic!("the guard has ended: {ended:?}"),
            }
        }
    };
    let is_static =
        |seen: &Snapshot| components.iter().all(|component| seen.serves(component.name(), Origin::Static));
    tokio::select! {
        () = guarded => {}
        seen = world.simulator.until("static pods", SOON, is_static) => drop(seen.unwrap()),
    }
}

/// Nothing would start them again: there is nothing to be patient for.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_daemonset_falls_back_at_once() {
    let (world, _dir) = pivoted().await;
    let deleted = [Component::ControllerManager, Component::Scheduler];
    for component in deleted {
        delete(&world, component).await;
    }
    until_static(&world, Duration::from_secs(3600), &deleted).await;
}

/// A controller manager that is started before the API server ends, and is started again late.
#[tokio::test(flavor = "multi_thread")]
async fn the_controller_manager_falls_back_behind_the_api_server() {
    let (world, _dir) = pivoted().await;
    let before = world.simulator.log().len();
    for component in Component::ALL.into_iter().rev() {
        delete(&world, component).await;
    }
    // A controller manager that went first has not collected the API server's pod.
    let labels = format!("k8s-app={}", Component::ApiServer.daemonset_name());
    for pod in world.cluster.pods_labelled(&labels).await.unwrap_or_default() {
        let (name, uid) = (pod.metadata.name.unwrap(), pod.metadata.uid.unwrap());
        let _ = world.cluster.delete_pod(&name, &uid).await; // It may just be going.
    }
    world.simulator.until("no API", SOON, |seen| !seen.api_up).await.unwrap();
    until_static(&world, Duration::from_millis(300), &Component::ALL).await;
    let log = world.simulator.log();
    // The DaemonSet's own pod may be left: nobody collects it any more.
    let is_static = |to: &str| to == "pod kube-system/kube-controller-manager-node-1";
    let starts = log.iter().skip(before).filter(|line| is_static(&line.to));
    let vain: Vec<_> = starts.filter(|line| line.what.contains("ends: there is no API")).collect();
    assert!(vain.is_empty(), "{vain:#?}");
}
