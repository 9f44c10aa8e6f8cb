//! The hand-over without a failed request, there and back, against the rehearsal cluster.

use crate::support::{SOON, TestSite, outcome, reason, setup};
use fulcrum_engine::{Outcome, Silent};
use fulcrum_simulator::Origin;
use fulcrum_simulator::rehearsal::{
    ChildExit, Fault, Point, SimulatedSite, Then, Verb, When, there_and_back,
};
use fulcrum_steps::component::Component;
use fulcrum_steps::handover::bridge::BRIDGE_FILE;
use fulcrum_steps::host::RedirectState;
use fulcrum_steps::manifest::StaticPod;
use fulcrum_steps::run_info::RollbackMode;
use fulcrum_steps::settings::{HandoverMode, Wanted};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// The exact way back included: manifests byte for byte, and nothing left in the cluster.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_there_or_back() {
    for handover in [HandoverMode::Steer, HandoverMode::Bridge] {
        let setup = setup().with_handover(Wanted::Way(handover));
        let dir = tempfile::tempdir().unwrap();
        let world = SimulatedSite::boot(&setup, dir.path()).await.unwrap();
        let summary = there_and_back(&world, &setup, Arc::new(Silent)).await.unwrap();
        assert_eq!(summary.difference, None, "{handover:?}: {:?} {:?}", summary.pivot, summary.rollback);
        assert_eq!(summary.pivot.0, Some(Outcome::Completed), "{handover:?}: {}", summary.pivot.1);
        for asked in &summary.requests {
            assert_eq!(asked.failed, [].into(), "{handover:?}, {}, of {}", asked.phase, asked.requests);
        }
    }
}

/// Killed while new connections go to the bridge, and then the bridge goes. The process that takes the run up
/// next ends the redirect first.
#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_that_points_nowhere_is_mended() {
    let world = TestSite::boot_with(&setup().with_handover(Wanted::Way(HandoverMode::Steer))).await;
    let pivoted = world.pivot(&world.journal()).await;
    assert_eq!(outcome(&pivoted), Outcome::Completed, "{}", reason(&pivoted));
    let point = Point { step: "way-back/redirect".into(), when: When::UndoEffect };
    let fulcrum = Path::new(env!("CARGO_BIN_EXE_fulcrum"));
    let exit = world.inject_fault(fulcrum, Verb::Rollback, Some((&point, Fault::Kill, Then::Rollback))).await;
    assert_eq!(exit.unwrap(), ChildExit::Killed);
    assert_eq!(world.host.redirect_state().await.unwrap(), RedirectState::Active);
    assert!(world.manifests().file(BRIDGE_FILE).exists());
    world.manifests().remove(BRIDGE_FILE).unwrap();
    world.simulator.until("nobody to answer", SOON, |seen| !seen.api_up).await.unwrap();
    let journal = world.journal();
    let settings = serde_json::from_value(
        fulcrum_engine::load::load(&journal.reader(), pivoted.run).unwrap().plan().shared().clone(),
    );
    let _mends = world.engine(&journal, settings.unwrap()).await;
    assert_eq!(world.host.redirect_state().await.unwrap(), RedirectState::Ended);
    world.simulator.until("the API to answer again", SOON, |seen| seen.api_up).await.unwrap();
    let back = world.rollback(&journal, pivoted.run).await;
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    world.assert_static("after a bridge that died").await;
    assert_eq!(world.host.redirect_state().await.unwrap(), RedirectState::Absent);
}

/// Asks until it is told to stop; says how many requests failed.
pub(crate) fn ask_all_the_while(world: &TestSite) -> (Arc<AtomicBool>, tokio::task::JoinHandle<u32>) {
    let (stop, cluster) = (Arc::new(AtomicBool::new(false)), world.cluster.clone());
    let stopped = Arc::clone(&stop);
    let failed = AtomicU32::new(0);
    let asking = tokio::spawn(async move {
        while !stopped.load(Ordering::Relaxed) {
            if let Err(error) = cluster.pods_labelled("").await {
                println!("{error}");
                failed.fetch_add(1, Ordering::Relaxed);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        failed.into_inner()
    });
    (stop, asking)
}

/// Static pods with one more flag, no bridge, no failed request; and the next pivot begins from there.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_keeps_port_sharing_steers_back() {
    let world = TestSite::boot_with(&setup().with_handover(Wanted::Way(HandoverMode::Steer))).await;
    let journal = world.journal();
    let pivoted = world.pivot(&journal).await;
    assert_eq!(outcome(&pivoted), Outcome::Completed, "{}", reason(&pivoted));
    let (stop, asking) = ask_all_the_while(&world);
    let back = world
        .rollback_for(&journal, pivoted.run, RollbackMode::KeepPortSharing, Arc::new(Silent))
        .await
        .unwrap();
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    assert_eq!(reason(&back), RollbackMode::KeepPortSharing.asked_for().reason);
    let is_static = |seen: &fulcrum_simulator::Snapshot| {
        let mut all = Component::ALL.iter().map(|component| component.name());
        all.all(|name| seen.serves(name, Origin::Static) && !seen.runs(name, Origin::Api))
    };
    world.simulator.until("static pods", SOON, is_static).await.unwrap();
    stop.store(true, Ordering::Relaxed);
    assert_eq!(asking.await.unwrap(), 0);
    assert!(!world.manifests().file(BRIDGE_FILE).exists());
    for component in Component::ALL {
        let name = component.manifest_file();
        let before = StaticPod::parse(component, world.before[name].content.as_bytes()).unwrap();
        let now = world.manifests().read(name).unwrap().unwrap();
        assert_eq!(now.content.as_bytes(), before.with_port_sharing(), "{name}");
    }
    world.settle().await.unwrap();
    let again = world.pivot(&journal).await;
    assert_eq!(outcome(&again), Outcome::Completed, "{}", reason(&again));
    world.assert_pivoted("from static pods that share their ports").await;
}
