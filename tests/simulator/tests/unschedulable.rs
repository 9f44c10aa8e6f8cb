//! A pod for which the scheduler finds no node.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

use fulcrum_engine::Outcome;
use fulcrum_engine::run::Phase;
use fulcrum_simulator::rehearsal::{SOON, Setup, SimulatedSite, Version, timeouts};
use fulcrum_steps::plan;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;
use std::time::Instant;

/// What takes the room comes after the checks. The kubelet and the scheduler are not asked for three minutes.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_fits_nowhere_is_given_up_with_the_schedulers_words() {
    let dir = tempfile::tempdir().unwrap();
    let world = SimulatedSite::boot(&Setup::built_in(Version::DEFAULT).unwrap(), dir.path()).await.unwrap();
    let journal = world.journal().unwrap();
    let settings = world.preflight().await.unwrap().settings;
    let node = settings.node.clone();
    let plan = plan::pivot(&settings, SOON * 2).unwrap();
    let engine = world.engine(&journal, settings).await.unwrap();
    let paused = engine.pause_after(["label-node".into()]).start(plan).await.unwrap();
    let requests = json!({ "requests": { "cpu": "1000" } });
    let hog = json!({
        "metadata": { "name": "hog", "namespace": "default" },
        "spec": { "nodeName": node, "containers": [{ "name": "hog", "image": "hog", "resources": requests }] }
    });
    let pods: Api<Pod> = Api::namespaced(world.simulator.client(), "default");
    pods.create(&PostParams::default(), &serde_json::from_value(hog).unwrap()).await.unwrap();
    let began = Instant::now();
    let ending = world.resume(&journal, paused.run).await.unwrap();
    let Phase::Ended(Outcome::RolledBack, said) = &ending.phase else { panic!("{}", ending.phase) };
    let limit = timeouts().unschedulable;
    assert!(said.contains("found no node for pod self-hosted-kube-"), "{said}");
    assert!(said.contains(&format!("for {limit:?}: ")) && said.contains("Insufficient cpu"), "{said}");
    assert!(began.elapsed() >= limit);
    world.is_as_before().await.unwrap();
}
