//! Holding the endpoints while one of two API servers ends.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

use fulcrum_simulator::{Origin, Simulator, SimulatorOptions, Snapshot, write_control_plane};
use fulcrum_steps::cluster::Cluster;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::watch;

/// How long pods find no API server when one of two on the same address ends.
async fn gap(holding: bool) -> Duration {
    let dir = tempfile::tempdir().unwrap();
    let mut options = SimulatorOptions::new(dir.path());
    // The tick at which the other one would put it back.
    options.pace.endpoints = Duration::from_secs(3);
    let at = SocketAddr::new(options.node_address, options.api_port);
    write_control_plane(&options).unwrap();
    let path = dir.path().join("kube-apiserver.yaml");
    let first = std::fs::read_to_string(&path).unwrap();
    let first =
        first.replace("    - kube-apiserver\n", "    - kube-apiserver\n    - --permit-port-sharing=true\n");
    let second = first.replace("  name: kube-apiserver\n  namespace", "  name: second\n  namespace");
    std::fs::write(&path, first).unwrap();
    // Its ports are no ports of the host, by which the kubelet would reject it, nor are they probed.
    let second = second.replace("containerPort: 6443", "containerPort: 6444");
    let second = second.replace("livenessProbe:", "not-live:").replace("startupProbe:", "not-started:");
    std::fs::write(dir.path().join("second.yaml"), second).unwrap();
    let simulator = Simulator::start(options).unwrap();
    let soon = Duration::from_secs(10);
    let two = |s: &Snapshot| s.of("kube-apiserver", Origin::Static).filter(|p| p.ready).count() == 2;
    simulator.until("two API servers", soon, two).await.unwrap();
    let cluster = Cluster::new(simulator.client());
    let held = tokio::spawn(async move {
        if holding {
            match cluster.hold_endpoints(at.ip(), at.port(), &watch::Sender::new(false)).await {}
        }
    });
    std::fs::remove_file(path).unwrap();
    while !simulator.log().iter().any(|line| line.what.contains("taken out")) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let taken_out = std::time::Instant::now();
    simulator.until("endpoints", soon, |s| s.endpoints == [at.ip().to_string()]).await.unwrap();
    held.abort();
    taken_out.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_a_dying_server_takes_out_is_put_back_at_once() {
    let (held, left_alone) = tokio::join!(gap(true), gap(false));
    assert!(
        held < Duration::from_millis(500) && left_alone > Duration::from_secs(1),
        "{held:?} {left_alone:?}"
    );
}
