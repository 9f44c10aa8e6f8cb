//! The faults, and their effects.

use super::*;
use std::time::Instant;

fn waits_for(pod: Option<&Pod>) -> String {
    let status = pod.and_then(|pod| serde_json::to_value(&pod.status).ok()).unwrap_or_default();
    let waiting = &status["containerStatuses"][0]["state"]["waiting"]["reason"];
    waiting.as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_slow_answer_is_an_answer() {
    let bench = Bench::up().await;
    let delay = Duration::from_millis(80);
    let outcome = Outcome::Slow(delay);
    bench.simulator.inject(ApiFault { method: None, path: "nodes".into(), times: 1, outcome });
    let nodes = Api::<Node>::all(bench.simulator.client());
    let began = Instant::now();
    nodes.get("node-1").await.unwrap();
    assert!(began.elapsed() >= delay);
}

#[tokio::test]
async fn a_full_disk_lets_nothing_start_and_spares_what_is_critical() {
    let bench = Bench::up().await;
    let (pods, sets) = (bench.api::<Pod>(), bench.api::<DaemonSet>());
    let plain: DaemonSet = serde_json::from_value(json!({
        "metadata": {"name": "plain"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {
                "tolerations": [{"operator": "Exists"}],
                "containers": [{"name": "c", "image": "registry.k8s.io/pause:3.10.1"}],
            },
        }},
    }))
    .unwrap();
    sets.create(&PostParams::default(), &plain).await.unwrap();
    let number_ready = |n| {
        move |set: Option<&DaemonSet>| {
            set.and_then(|s| s.status.as_ref()).is_some_and(|s| s.number_ready == n)
        }
    };
    bench.until_object(&sets, "plain", number_ready(1)).await;

    bench.simulator.disk(Disk::UnderPressure);
    bench.until_object(&sets, "plain", number_ready(0)).await;
    let nodes = Api::<Node>::all(bench.simulator.client());
    let tainted = |node: Option<&Node>| format!("{node:?}").contains("node.kubernetes.io/disk-pressure");
    bench.until_object(&nodes, "node-1", tainted).await;
    let evicted = |p: &Happened| p.what.contains("Evicted");
    assert!(bench.simulator.log().iter().any(evicted));
    assert!(bench.simulator.snapshot().serves("kube-scheduler", Origin::Static), "static pods are critical");

    bench.simulator.disk(Disk::Full);
    bench.simulator.crash("kube-scheduler");
    let refused = |pod: Option<&Pod>| waits_for(pod) == "CreateContainerError";
    bench.until_object(&pods, "kube-scheduler-node-1", refused).await;

    bench.simulator.disk(Disk::Roomy);
    bench.until("the scheduler is back", |s| s.serves("kube-scheduler", Origin::Static)).await;
    bench.until_object(&sets, "plain", number_ready(1)).await;
    bench.until_object(&nodes, "node-1", |node| !tainted(node)).await;
}

#[tokio::test]
async fn a_slow_kubelet_is_slow() {
    let bench = Bench::up().await;
    let took = async |factor: u32| {
        bench.simulator.slow_kubelet(factor);
        let before = bench.simulator.snapshot().of("kube-scheduler", Origin::Static).next().unwrap().pid;
        bench.simulator.crash("kube-scheduler");
        let began = Instant::now();
        let back = |s: &Snapshot| {
            s.serves("kube-scheduler", Origin::Static)
                && s.of("kube-scheduler", Origin::Static).all(|p| p.pid != before)
        };
        bench.until("the scheduler is back", back).await;
        began.elapsed()
    };
    let slow = took(100).await;
    // A hundred times the 2 ms that a start takes.
    assert!(slow >= Duration::from_millis(200), "{slow:?}");
    bench.simulator.slow_kubelet(1);
    bench.until("it is itself again", |s| s.leaders.len() == 2).await;
}

/// One server on each of two ports, and clients of each, also over TCP.
#[tokio::test]
async fn a_second_server_is_a_way_in_while_the_first_is_down() {
    let bench = Bench::up().await;
    let text = std::fs::read_to_string(bench.manifest(SERVER)).unwrap();
    let second = text
        .replace("  name: kube-apiserver\n  namespace", "  name: second\n  namespace")
        // With this host port the kubelet would reject the pod.
        .replace("containerPort: 6443", "containerPort: 6444")
        .replace("--secure-port=6443", "--secure-port=6444\n    - --endpoint-reconciler-type=none");
    std::fs::write(bench.dir.path().join(".second"), second).unwrap();
    std::fs::rename(bench.dir.path().join(".second"), bench.dir.path().join("second.yaml")).unwrap();
    bench.until("both serve", |s| s.of(SERVER, Origin::Static).filter(|p| p.ready).count() == 2).await;

    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = bench.simulator.serve_port_on(6444, listener).unwrap();
    let (remote, _) = Simulator::connect(address).unwrap();
    std::fs::rename(bench.manifest(SERVER), bench.dir.path().join(".kube-apiserver.yaml")).unwrap();
    let seen = bench.until("the first is gone", |s| !s.api_up && s.endpoints.is_empty()).await;
    assert!(seen.serves(SERVER, Origin::Static), "the second one serves, on its own port");
    for client in [bench.simulator.client_at(6444), remote] {
        Api::<Node>::all(client).get("node-1").await.unwrap();
    }
    let nodes = Api::<Node>::all(bench.simulator.client());
    assert_eq!(reason(nodes.get("node-1").await.unwrap_err()).0, 0, "nobody listens on the first's port");
    std::fs::rename(bench.dir.path().join(".kube-apiserver.yaml"), bench.manifest(SERVER)).unwrap();
    bench.until("the first is back", |s| s.api_up && s.endpoints == ["192.0.2.10"]).await;
}

/// With a port that two servers share, a new connection may end at the one that has not started yet. An
/// established connection stays where it is.
#[tokio::test]
async fn a_connection_stays_with_its_server() {
    let bench = Bench::up().await;
    let share = "    - --secure-port=6443\n    - --permit-port-sharing=true\n";
    bench.rewrite(SERVER, "    - --secure-port=6443\n", share);
    let shared = |s: &Snapshot| s.api_up && s.of(SERVER, Origin::Static).all(|p| p.shares_port);
    bench.until("a port that can be shared", shared).await;
    let nodes = || Api::<Node>::all(bench.simulator.client());
    let stays = nodes();
    stays.get("node-1").await.unwrap();
    bench.simulator.flaw((SERVER, Origin::Api), Flaw::NeverReady);
    let set = daemon_set(SERVER, &["--permit-port-sharing=true", "--etcd-servers=https://127.0.0.1:2379"]);
    bench.api::<DaemonSet>().create(&PostParams::default(), &set).await.unwrap();
    let two = |s: &Snapshot| s.of(SERVER, Origin::Api).any(|p| p.listening == [6443]);
    bench.until("two listeners", two).await;
    let mut met = std::collections::BTreeSet::new();
    for _ in 0..64 {
        stays.get("node-1").await.unwrap();
        met.insert(nodes().get("node-1").await.map_or_else(|error| reason(error).0, |_| 200));
    }
    assert_eq!(met, [200, 403].into());
}

/// At any instant of its start, a reboot leaves a cluster that comes up.
#[tokio::test]
async fn a_control_plane_comes_back_from_a_reboot_at_any_instant() {
    let bench = Bench::up().await;
    let maps = bench.api::<ConfigMap>();
    let kept: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "kept"}})).unwrap();
    let kept = maps.create(&PostParams::default(), &kept).await.unwrap();
    for milliseconds in [0, 1, 3, 7, 12, 20, 35] {
        let boot = bench.simulator.snapshot().boot_id;
        bench.simulator.reboot();
        let after = bench.simulator.snapshot();
        assert!(after.processes.is_empty() && after.leaders.is_empty() && after.boot_id != boot);
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
    bench.until("a control plane", |s| s.api_up && s.leaders.len() == 2).await;
    assert_eq!(maps.get("kept").await.unwrap(), kept, "what etcd has is on the disk");
}
