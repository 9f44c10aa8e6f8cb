use super::*;
use bench::{Bench, SOON};
use fulcrum_steps::host::Question;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::time::Duration;

mod bench;
mod defaults;
mod faults;
mod nodes;
mod watches;

const SERVER: &str = "kube-apiserver";
const MANAGER: &str = "kube-controller-manager";

/// A self-hosted component as small as the API accepts it.
fn daemon_set(component: &str, flags: &[&str]) -> DaemonSet {
    let name = format!("self-hosted-{component}");
    let labels = json!({"k8s-app": name});
    let command: Vec<&str> = std::iter::once(component).chain(flags.iter().copied()).collect();
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {
            "hostNetwork": true,
            "nodeSelector": {"node-role.kubernetes.io/control-plane": ""},
            "tolerations": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule", "operator": "Exists"}],
            "containers": [{"name": component, "image": format!("registry.k8s.io/{component}:v1.35.3"), "command": command}],
        }}},
    }))
    .unwrap()
}

fn reason(error: kube::Error) -> (u16, String) {
    match error {
        kube::Error::Api(status) => (status.code, status.reason),
        other => (0, other.to_string()),
    }
}

fn is_ready(pod: &Pod) -> bool {
    let status = serde_json::to_value(&pod.status).unwrap_or_default();
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.any(|c| c["type"] == "Ready" && c["status"] == "True")
}

#[tokio::test]
async fn a_manifest_becomes_a_mirror_pod_and_ends_with_its_file() {
    let bench = Bench::up().await;
    let pods = bench.api::<Pod>();
    bench.until_object(&pods, "kube-scheduler-node-1", |p| p.is_some_and(is_ready)).await;
    let pod = pods.get("kube-scheduler-node-1").await.unwrap();
    let hash = pod.metadata.annotations.unwrap()["kubernetes.io/config.hash"].clone();
    let seen = bench.simulator.snapshot();
    assert_eq!(seen.of("kube-scheduler", Origin::Static).next().unwrap().pod_uid, hash);
    let processes = bench.simulator.host().pod_processes(&hash).await.unwrap();
    assert_eq!(processes.len(), 2, "the sandbox belongs to the pod: {processes:?}");
    let owners = pod.metadata.owner_references.unwrap();
    let node = Api::<Node>::all(bench.simulator.client()).get("node-1").await.unwrap();
    assert_eq!((owners[0].kind.as_str(), &owners[0].uid), ("Node", &node.metadata.uid.unwrap()));

    // A copy that begins with a dot is no pod. The renamed file is none either.
    std::fs::rename(bench.manifest("kube-scheduler"), bench.dir.path().join(".kube-scheduler.yaml")).unwrap();
    bench.until("the scheduler is gone", |s| !s.runs("kube-scheduler", Origin::Static)).await;
    bench.until_object(&pods, "kube-scheduler-node-1", |p| p.is_none()).await;

    // Equal bytes under an equal name are one pod.
    std::fs::rename(bench.dir.path().join(".kube-scheduler.yaml"), bench.manifest("kube-scheduler")).unwrap();
    let back = bench.until("the scheduler is back", |s| s.serves("kube-scheduler", Origin::Static)).await;
    assert_eq!(back.of("kube-scheduler", Origin::Static).next().unwrap().pod_uid, hash);
}

#[tokio::test]
async fn a_port_is_shared_only_by_two_that_permit_it() {
    let bench = Bench::up().await;
    let sets = bench.api::<DaemonSet>();
    sets.create(
        &PostParams::default(),
        &daemon_set(MANAGER, &["--bind-address=127.0.0.1", "--permit-port-sharing=true"]),
    )
    .await
    .unwrap();
    bench
        .until("the new one crashes on the port", |s| {
            !s.runs(MANAGER, Origin::Api) && s.serves(MANAGER, Origin::Static)
        })
        .await;
    let crashed = |p: &crate::Happened| p.what.contains("port 10257 is in use");
    bench.until("a crash", |_| bench.simulator.log().iter().any(crashed)).await;

    bench.rewrite(
        MANAGER,
        "    - --bind-address=127.0.0.1\n",
        "    - --bind-address=127.0.0.1\n    - --permit-port-sharing=true\n",
    );
    bench.until("both listen", |s| s.serves(MANAGER, Origin::Static) && s.serves(MANAGER, Origin::Api)).await;
    let listeners = bench.simulator.host().listeners(10257).await.unwrap();
    assert_eq!(listeners.len(), 2);
    assert!(listeners[0].inode < listeners[1].inode);
    let question =
        Question { address: ([127, 0, 0, 1], 10257).into(), path: "/healthz".into(), tls: true, mark: None };
    let mut answered = std::collections::BTreeSet::new();
    for _ in 0..64 {
        let answer = bench.simulator.host().ask(&question).await.unwrap();
        assert_eq!(answer.status, 200);
        answered.insert(answer.process.unwrap().pid);
    }
    assert_eq!(answered, listeners.iter().map(|l| l.process.pid).collect());
    assert!(
        bench
            .simulator
            .host()
            .ask(&Question { address: ([192, 0, 2, 10], 10257).into(), ..question })
            .await
            .is_err()
    );
}

#[tokio::test]
async fn without_an_api_server_there_is_no_api() {
    let bench = Bench::up().await;
    let maps = bench.api::<ConfigMap>();
    assert_eq!(bench.simulator.client().apiserver_version().await.unwrap().git_version, "v1.35.3");
    bench.simulator.hold_down(SERVER);
    assert!(!bench.simulator.snapshot().api_up);
    assert_eq!(reason(maps.list(&ListParams::default()).await.unwrap_err()).0, 0, "a connection error");
    assert!(!bench.simulator.host().boot_id().await.unwrap().is_empty(), "the machine still answers");
    bench.until("leaders give up", |s| s.leaders.is_empty()).await;

    bench.simulator.repair(SERVER);
    let before = bench.until("the API is back and led", |s| s.api_up && s.leaders.len() == 2).await;
    assert_eq!(bench.simulator.crash(SERVER), 1);
    bench
        .until("the kubelet restarts it", |s| {
            s.serves(SERVER, Origin::Static)
                && s.processes.iter().all(|p| before.of(SERVER, Origin::Static).all(|b| b.pid != p.pid))
        })
        .await;
}

#[tokio::test]
async fn the_api_refuses_what_a_real_one_refuses() {
    let bench = Bench::up().await;
    let (maps, sets, leases) = (bench.api::<ConfigMap>(), bench.api::<DaemonSet>(), bench.api::<Lease>());
    let post = PostParams::default();
    let map: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "m"}, "data": {"a": "1"}})).unwrap();
    let first = maps.create(&post, &map).await.unwrap();
    assert_eq!(reason(maps.create(&post, &map).await.unwrap_err()), (409, "AlreadyExists".into()));
    let merge = |v: Value| Patch::Merge(v);
    let none = PatchParams::default();
    let second = maps.patch("m", &none, &merge(json!({"data": {"a": "2"}}))).await.unwrap();
    assert_ne!(second.metadata.resource_version, first.metadata.resource_version);
    assert_eq!(reason(maps.replace("m", &post, &first).await.unwrap_err()), (409, "Conflict".into()));
    let same = maps.replace("m", &post, &second).await.unwrap();
    assert_eq!(same, second, "no change, no new version");
    let test: json_patch::Patch =
        serde_json::from_value(json!([{"op": "test", "path": "/data/a", "value": "1"}])).unwrap();
    assert_eq!(reason(maps.patch("m", &none, &Patch::Json::<()>(test)).await.unwrap_err()).0, 422);
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    maps.patch("m", &dry, &merge(json!({"data": {"a": "3"}}))).await.unwrap();
    assert_eq!(maps.get("m").await.unwrap(), second, "a dry run changes nothing");

    let stranger = DeleteParams::default()
        .preconditions(kube::api::Preconditions { uid: Some("x".into()), resource_version: None });
    assert_eq!(reason(maps.delete("m", &stranger).await.unwrap_err()), (409, "Conflict".into()));
    assert!(maps.delete("m", &DeleteParams::default()).await.unwrap().is_right());
    assert_eq!(reason(maps.get("m").await.unwrap_err()), (404, "NotFound".into()));

    let mut set = daemon_set(MANAGER, &[]);
    set.spec.as_mut().unwrap().selector.match_labels = Some([("other".into(), "x".into())].into());
    assert_eq!(reason(sets.create(&post, &set).await.unwrap_err()), (422, "Invalid".into()));
    let held = leases.get("kube-scheduler").await.unwrap();
    let blind = Lease { metadata: kube::api::ObjectMeta { resource_version: None, ..held.metadata }, ..held };
    assert_eq!(
        reason(leases.replace("kube-scheduler", &post, &blind).await.unwrap_err()),
        (422, "Invalid".into())
    );

    let fault = |outcome| ApiFault { method: Some("POST"), path: "configmaps".into(), times: 1, outcome };
    bench.simulator.inject(fault(Outcome::LosesAnswer));
    assert_eq!(reason(maps.create(&post, &map).await.unwrap_err()).0, 0, "no answer");
    assert_eq!(reason(maps.create(&post, &map).await.unwrap_err()).1, "AlreadyExists", "but it was done");
    bench.simulator.inject(fault(Outcome::InternalError));
    assert_eq!(reason(maps.create(&post, &map).await.unwrap_err()).0, 500);
}

#[tokio::test]
async fn a_daemon_set_runs_its_pod_until_it_is_deleted() {
    let bench = Bench::up().await;
    let (sets, pods) = (bench.api::<DaemonSet>(), bench.api::<Pod>());
    let share = "    - --bind-address=127.0.0.1\n    - --permit-port-sharing=true\n";
    bench.rewrite(MANAGER, "    - --bind-address=127.0.0.1\n", share);
    let name = "self-hosted-kube-controller-manager";
    let flags = ["--bind-address=127.0.0.1", "--permit-port-sharing=true"];
    sets.create(&PostParams::default(), &daemon_set(MANAGER, &flags)).await.unwrap();
    let rolled_out = |generation: i64| {
        move |set: Option<&DaemonSet>| {
            let status = set.and_then(|s| s.status.as_ref());
            status.is_some_and(|s| {
                s.observed_generation == Some(generation)
                    && s.number_ready == 1
                    && s.updated_number_scheduled == Some(1)
            })
        }
    };
    bench.until_object(&sets, name, rolled_out(1)).await;
    bench.until("it serves", |s| s.serves(MANAGER, Origin::Api)).await;
    let mine = ListParams::default().labels(&format!("k8s-app={name}")).fields("spec.nodeName=node-1");
    let pod = pods.list(&mine).await.unwrap().items.remove(0);
    assert_eq!(bench.simulator.host().pod_processes(&pod.metadata.uid.unwrap()).await.unwrap().len(), 2);

    let surge = json!({"spec": {
        "updateStrategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {"metadata": {"annotations": {"changed": "yes"}}},
    }});
    sets.patch(name, &PatchParams::default(), &Patch::Merge(surge)).await.unwrap();
    bench.until_object(&sets, name, rolled_out(2)).await;
    bench
        .until("only the new pod is left", |s| {
            s.of(MANAGER, Origin::Api).count() == 1 && s.serves(MANAGER, Origin::Api)
        })
        .await;

    sets.delete(name, &DeleteParams::foreground()).await.unwrap();
    bench.until_object(&sets, name, |set| set.is_none()).await;
    bench.until("its process is gone", |s| !s.runs(MANAGER, Origin::Api)).await;
    assert!(pods.list(&mine).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn a_host_port_keeps_the_pod_pending() {
    let bench = Bench::up().await;
    let pods = bench.api::<Pod>();
    bench.until_object(&pods, "kube-scheduler-node-1", |p| p.is_some()).await;
    let mut set = daemon_set("kube-scheduler", &[]);
    let container = &mut set.spec.as_mut().unwrap().template.spec.as_mut().unwrap().containers[0];
    container.ports =
        serde_json::from_value(json!([{"name": "probe-port", "containerPort": 10259}])).unwrap();
    bench.api::<DaemonSet>().create(&PostParams::default(), &set).await.unwrap();
    let refused = |p: &Happened| p.what.contains("didn't have free ports");
    bench.until("the scheduler refuses", |_| bench.simulator.log().iter().any(refused)).await;
    assert!(!bench.simulator.snapshot().runs("kube-scheduler", Origin::Api));
}

/// After a boot the API tells what was true before, and a DaemonSet's pod needs the API to come back.
#[tokio::test]
async fn a_reboot_leaves_objects_and_files_only() {
    // Long enough for the test to look in between.
    let bench = Bench::up_at(Pace { reconnect: Duration::from_millis(300), ..Pace::default() }).await;
    let sets = bench.api::<DaemonSet>();
    let flags = ["--permit-port-sharing=true", "--etcd-servers=https://127.0.0.1:2379"];
    bench.rewrite(
        SERVER,
        "    - --secure-port=6443\n",
        "    - --secure-port=6443\n    - --permit-port-sharing=true\n",
    );
    bench
        .until("the API is back", |s| {
            s.api_up && s.of(SERVER, Origin::Static).all(|p| p.shares_port && p.ready)
        })
        .await;
    sets.create(&PostParams::default(), &daemon_set(SERVER, &flags)).await.unwrap();
    bench.until("two servers", |s| s.serves(SERVER, Origin::Static) && s.serves(SERVER, Origin::Api)).await;
    std::fs::rename(bench.manifest(SERVER), bench.dir.path().join(".standby")).unwrap();
    let before = bench.until("one server", |s| !s.runs(SERVER, Origin::Static)).await;
    assert!(before.api_up);
    bench.until("its address is back", |s| s.endpoints == ["192.0.2.10"]).await;

    bench.simulator.reboot();
    // Static pods start in one round: when this one serves, an API server on disk would have started.
    let after = bench.until("the kubelet has started the rest", |s| s.serves("etcd", Origin::Static)).await;
    assert_ne!(after.boot_id, before.boot_id);
    assert!(!after.api_up && !after.runs(SERVER, Origin::Api), "nothing on disk starts an API server");

    std::fs::rename(bench.dir.path().join(".standby"), bench.manifest(SERVER)).unwrap();
    bench.until("the API is back", |s| s.api_up).await;
    let set = sets.get("self-hosted-kube-apiserver").await.unwrap();
    assert_eq!(set.status.unwrap().number_ready, 1, "the API's word is old");
    assert!(!bench.simulator.snapshot().runs(SERVER, Origin::Api));
    bench.until("the DaemonSet's server is back too", |s| s.serves(SERVER, Origin::Api)).await;
}

#[tokio::test]
async fn flaws_show_in_the_status() {
    let bench = Bench::up().await;
    let sets = bench.api::<DaemonSet>();
    bench.simulator.flaw((SERVER, Origin::Api), Flaw::ImageMissing);
    sets.create(&PostParams::default(), &daemon_set(SERVER, &[])).await.unwrap();
    let mut made = String::new();
    bench
        .until("a pod", |_| {
            let log = bench.simulator.log();
            made =
                log.iter().find_map(|l| l.what.strip_prefix("made pod ").map(Into::into)).unwrap_or_default();
            !made.is_empty()
        })
        .await;
    let shows = |pod: Option<&Pod>| format!("{pod:?}").contains("ImagePullBackOff");
    bench.until_object(&bench.api::<Pod>(), &made, shows).await;

    bench.simulator.repair((SERVER, Origin::Api));
    bench
        .until("it runs, and finds the port taken", |_| {
            bench.simulator.log().iter().any(|l| l.what.contains("port 6443 is in use"))
        })
        .await;
}

#[tokio::test]
async fn another_process_can_use_it_over_tcp() {
    let bench = Bench::up().await;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = bench.simulator.serve_on(listener).unwrap();
    let (client, host) = Simulator::connect(address).unwrap();
    let nodes = Api::<Node>::all(client);
    assert_eq!(nodes.list(&ListParams::default()).await.unwrap().items.len(), 1);
    assert_eq!(host.listeners(6443).await.unwrap().len(), 1);
    assert!(host.memory_available().await.unwrap() > 0);
    bench.simulator.hold_down(SERVER);
    assert_eq!(reason(nodes.get("node-1").await.unwrap_err()).0, 0, "the connection is closed");
    assert_eq!(host.boot_id().await.unwrap(), bench.simulator.snapshot().boot_id);
    assert!(host.listeners(6443).await.unwrap().is_empty());
    bench.simulator.repair(SERVER);
    bench.until("the API is back", |s| s.api_up).await;
    nodes.get("node-1").await.unwrap();
}
