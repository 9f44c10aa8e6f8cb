//! Each check's refusal, provoked on a simulated node. `tests/fixtures/refusals.txt` holds their words.

use crate::support::TestSite;
use fulcrum_simulator::rehearsal::Setup;
use fulcrum_simulator::{Ability, Origin};
use fulcrum_steps::check::{Check, Ignored};
use fulcrum_steps::cluster::{Cluster, Lock};
use fulcrum_steps::component::Component;
use fulcrum_steps::host::{ManifestsDir, Strain, Systemd};
use fulcrum_steps::preflight::{CheckResult, Level, PreflightInput, preflight};
use fulcrum_steps::settings::{HandoverMode, Wanted};
use http::Request;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use kube::client::Body;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const WORDS: &str = include_str!("fixtures/refusals.txt");

/// What no simulated node shows: `root` and `journal` are the command's (tests/cli.rs), `host` needs a machine
/// without /proc, and `priority` only warns. `api-servers` and `etcd` need several nodes (tests/simulator/tests/several),
/// `certificates` is asked for (tests/certs_in_secrets.rs).
const NOT_HERE: [Check; 7] = [
    Check::Root,
    Check::Journal,
    Check::Host,
    Check::ApiServers,
    Check::Etcd,
    Check::Priority,
    Check::Certificates,
];

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_is_provoked_and_says_the_same_as_ever() {
    let mut refused = Vec::new();
    refused.extend(by_input().await);
    refused.extend(by_files().await);
    refused.extend(by_the_cluster().await);
    refused.extend(by_the_machine().await);
    for kind in ["74-advertise-by-env", "84-requests-too-large-twice", "a11-v1.20-insecure-ports"] {
        let world = TestSite::boot_with(&wild(kind)).await;
        let check = match kind {
            "74-advertise-by-env" => Check::AdvertiseAddress,
            "84-requests-too-large-twice" => Check::Fit,
            _ => Check::InsecurePort,
        };
        refused.push(one(&world, check, &world.preflight_input()).await);
    }
    refused.sort();
    let checks: BTreeSet<Check> = refused.iter().map(|(check, _)| *check).collect();
    let missing: Vec<Check> =
        Check::ALL.into_iter().filter(|check| !checks.contains(check) && !NOT_HERE.contains(check)).collect();
    assert_eq!(missing, [], "not provoked");
    let found: String = refused.into_iter().map(|(_, words)| words).collect();
    assert_eq!(found.trim(), WORDS.trim(), "the words are now:\n{found}");
}

/// A check that refuses hides no other one, and what could not be learned is named.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_hides_no_other() {
    let world = TestSite::boot().await;
    let input = PreflightInput {
        state_dir: "/proc/fulcrum".into(),
        node_name: Some("cp9".into()),
        ..world.preflight_input()
    };
    let refused = preflight(&input).await.unwrap_err();
    let of = |level: Level| -> Vec<Check> {
        refused.results.iter().filter(|one| one.level == level).map(|one| one.check).collect()
    };
    assert_eq!(of(Level::Refuse), [Check::Disk, Check::Node]);
    let unknown = of(Level::NotChecked);
    assert!(unknown.contains(&Check::Role) && unknown.contains(&Check::Lock), "{unknown:?}");
    assert!(of(Level::Pass).contains(&Check::StaticPod), "what needs no API is checked");
    let all: BTreeSet<Check> = refused.results.iter().map(|one| one.check).collect();
    assert_eq!(all.len(), Check::ALL.len() - 2, "every check but the command's own has a result");
}

/// A balancer that takes an API server away ends the connections to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_ends_once_refuses_nothing() {
    let world = TestSite::boot().await;
    let (client, ended) = (world.simulator.client(), Arc::new(AtomicBool::new(false)));
    let asked = Arc::clone(&ended);
    let service = tower::service_fn(move |request: Request<Body>| {
        let ends = request.uri().path().ends_with("/pods") && !asked.swap(true, Ordering::Relaxed);
        let client = client.clone();
        async move {
            match ends {
                true => Err(kube::Error::Service("the connection has ended".into())),
                false => client.send(request).await,
            }
        }
    });
    let cluster = Cluster::new(Client::new(service, "default"));
    let input = PreflightInput { cluster, ..world.preflight_input() };
    let results = match preflight(&input).await {
        Ok(report) => report.results,
        Err(refused) => refused.results,
    };
    assert!(ended.load(Ordering::Relaxed), "no pods were asked for");
    let api = results.iter().find(|one| one.check == Check::Api).unwrap();
    assert_eq!(api.level, Level::Pass, "{}", api.seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ignored_is_a_warning_and_stored_with_the_run() {
    let world = TestSite::boot().await;
    world.simulator.memory(1 << 30);
    assert!(world.preflight().await.is_err());
    let ignored = Ignored::of(["memory"]).unwrap();
    let report =
        preflight(&PreflightInput { ignored: ignored.clone(), ..world.preflight_input() }).await.unwrap();
    let memory = report.results.iter().find(|one| one.check == Check::Memory).unwrap();
    assert_eq!((memory.level, memory.ignored), (Level::Warn, true));
    // The step `preflight` looks once more, and must not refuse what the person has overruled.
    let journal = world.journal();
    let plan = fulcrum_steps::plan::pivot(&report.settings, crate::support::SOON).unwrap();
    let ending = world.engine(&journal, report.settings).await.start(plan).await.unwrap();
    assert_eq!(crate::support::outcome(&ending), fulcrum_engine::Outcome::Completed);
}

async fn by_input() -> Vec<(Check, String)> {
    let world = TestSite::boot().await;
    let usual = || world.preflight_input();
    let mut nowhere = usual();
    nowhere.node.manifests = ManifestsDir::new("/nowhere/manifests");
    let mut sandboxed = usual();
    sandboxed.node.units = Arc::new(Systemd::default());
    sandboxed.state_dir = "/tmp/fulcrum".into();
    world.simulator.lack(Ability::Steering);
    vec![
        one(&world, Check::ManifestsDir, &nowhere).await,
        one(&world, Check::Guard, &sandboxed).await,
        one(&world, Check::Disk, &PreflightInput { state_dir: "/proc/fulcrum".into(), ..usual() }).await,
        one(&world, Check::Node, &PreflightInput { node_name: Some("cp9".into()), ..usual() }).await,
        one(
            &world,
            Check::Handover,
            &PreflightInput { handover: Wanted::Way(HandoverMode::Steer), ..usual() },
        )
        .await,
    ]
}

/// Changed files are looked at without a kubelet: what is refused is what they say.
async fn by_files() -> Vec<(Check, String)> {
    let world = TestSite::boot().await;
    let scheduler = world.manifests().read(Component::Scheduler.manifest_file()).unwrap().unwrap().content;
    let elects = scheduler.replace("--leader-elect=true", "--leader-elect=false");
    let kms = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../steps/tests/fixtures/wild/03-kms-sidecar/kube-apiserver.yaml");
    let kms = std::fs::read_to_string(kms).unwrap();
    let mut refused = Vec::new();
    for (check, name, text) in [
        (Check::Manifest, "kube-scheduler.yaml", "not: a pod\n"),
        (Check::ForeignFile, "kube-scheduler.yaml.bak", scheduler.as_str()),
        (Check::LeaderElection, "kube-scheduler.yaml", elects.as_str()),
        (Check::Containers, "kube-apiserver.yaml", kms.as_str()),
    ] {
        let dir = tempfile::tempdir().unwrap();
        for (name, image) in &world.before {
            std::fs::write(dir.path().join(name), &image.content).unwrap();
        }
        std::fs::write(dir.path().join(name), text).unwrap();
        let mut input = world.preflight_input();
        input.node.manifests = ManifestsDir::new(dir.path());
        refused.push(one(&world, check, &input).await);
    }
    refused
}

async fn by_the_cluster() -> Vec<(Check, String)> {
    let mut refused = Vec::new();
    for (check, status, patch) in [
        (Check::Taint, false, json!({ "spec": { "taints": [{ "key": "gpu", "effect": "NoSchedule" }] } })),
        (
            Check::Role,
            false,
            json!({ "metadata": { "labels": { "node-role.kubernetes.io/control-plane": null } } }),
        ),
        (Check::Version, true, json!({ "status": { "nodeInfo": { "kubeletVersion": "v1.20.2" } } })),
    ] {
        let world = TestSite::boot().await;
        patch_node(&world, status, patch).await;
        refused.push(one(&world, check, &world.preflight_input()).await);
    }
    let world = TestSite::boot().await;
    let report = world.preflight().await.unwrap();
    let made = report.static_pods[2].daemonset(&report.settings.target(None));
    Lock::of("node-1", "0192").take(&world.cluster).await.unwrap();
    refused.push(one(&world, Check::Lock, &world.preflight_input()).await);
    let fault = fulcrum_simulator::ApiFault {
        method: Some("POST"),
        path: "daemonsets".into(),
        times: 1,
        outcome: fulcrum_simulator::Outcome::InternalError,
    };
    world.simulator.inject(fault);
    refused.push(one(&world, Check::Admission, &world.preflight_input()).await);
    world.cluster.create_daemonset(&made, false).await.unwrap();
    refused.push(one(&world, Check::Daemonset, &world.preflight_input()).await);
    refused
}

async fn by_the_machine() -> Vec<(Check, String)> {
    let world = TestSite::boot().await;
    world.simulator.memory(1 << 30);
    let mut refused = vec![one(&world, Check::Memory, &world.preflight_input()).await];
    world.simulator.sync_time(Duration::from_millis(1700));
    world.simulator.strain(Strain {
        cpu: Some(99.0),
        memory: Some(35.0),
        io: Some(80.0),
        load: 50.0,
        processors: 2,
    });
    refused.push(one(&world, Check::Load, &world.preflight_input()).await);
    world.simulator.hold_down(("kube-scheduler", Origin::Static));
    let name = format!("kube-scheduler-{}", node_name(&world).await);
    while fulcrum_steps::cluster::is_ready(&world.cluster.pod(&name).await.unwrap().unwrap()) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    for check in [Check::StaticPod, Check::MirrorPod] {
        refused.push(one(&world, check, &world.preflight_input()).await);
    }
    world.simulator.hold_down(("kube-apiserver", Origin::Static));
    refused.push(one(&world, Check::Api, &world.preflight_input()).await);
    refused
}

/// The check's refusals, without what differs from one machine or boot to the next.
async fn one(world: &TestSite, check: Check, input: &PreflightInput) -> (Check, String) {
    let refused = preflight(input).await.expect_err(check.name());
    let of_it = refused.results.iter().filter(|one| (one.check, one.level) == (check, Level::Refuse));
    let words: String = of_it.map(|one| words(one, world, input.node.manifests.path())).collect();
    assert!(!words.is_empty(), "{check} does not refuse: {refused}");
    (check, words)
}

fn words(result: &CheckResult, world: &TestSite, dir: &Path) -> String {
    let state = world.state_dir();
    let root = state.parent().unwrap().display().to_string();
    let text = format!("{result}\n").replace(&format!("{}/", dir.display()), "DIR/").replace(&root, "ROOT");
    // How often the kubelet has tried since is a matter of time.
    let text = match (result.check, text.split_once("; not Ready"), text.rsplit_once("; ")) {
        (Check::MirrorPod, Some((seen, _)), Some((_, remedy))) => format!("{seen}; ...; {remedy}"),
        _ => text,
    };
    let mut out = String::new();
    for (at, part) in text.split("pid ").enumerate() {
        out += if at == 0 { part } else { "pid N" };
        out += if at == 0 { "" } else { part.trim_start_matches(|c: char| c.is_ascii_digit()) };
    }
    out
}

async fn patch_node(world: &TestSite, status: bool, patch: Value) {
    let nodes: Api<Node> = Api::all(world.simulator.client());
    let name = node_name(world).await;
    let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
    match status {
        true => nodes.patch_status(&name, &params, &patch).await.unwrap(),
        false => nodes.patch(&name, &params, &patch).await.unwrap(),
    };
}

async fn node_name(world: &TestSite) -> String {
    world.cluster.nodes_labelled("").await.unwrap().remove(0)
}

fn wild(kind: &str) -> Setup {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../steps/tests/fixtures/wild").join(kind);
    Setup::own(&dir, None).unwrap()
}
