//! Another release of Kubernetes for a control plane that runs from its DaemonSets.

use crate::edit::{guard_goes_on, settings};
use crate::support::{SOON, TestSite, outcome, reason, setup};
use fulcrum_engine::load::load;
use fulcrum_engine::state::{Journal, RunId};
use fulcrum_engine::{Ending, Outcome};
use fulcrum_simulator::rehearsal::{
    Change, ChildExit, Fault, Point, SimulatedKubeadm, SimulatedSite, Then, Version, When,
};
use fulcrum_steps::component::Component;
use fulcrum_steps::doctor::{Area, Health};
use fulcrum_steps::guard::{JournalView, boot};
use fulcrum_steps::handover::standby::Standby;
use fulcrum_steps::manifest::{FlagChange, StaticPod, Words};
use fulcrum_steps::plan;
use fulcrum_steps::settings::{HandoverMode, Settings, Wanted};
use fulcrum_steps::unit::HOLD_OFF;
use fulcrum_steps::upgrade::{
    EMULATED, Found, Outrun, Phase, TargetError, Wish, end_of_emulation, kubeadm_copy, refuse_newer_kubelets,
    target,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// Long enough for a comparison on a busy machine.
const LONG: Duration = Duration::from_millis(100);

const NEXT: Version = Version { minor: 36, patch: 3 };

/// A pivoted node of a cluster that kubeadm has set up.
pub(crate) async fn ready() -> (TestSite, RunId) {
    ready_at(Duration::from_millis(5)).await
}

/// As `ready`. Both API servers of a roll-out listen for 20 of these seconds.
async fn ready_at(second: Duration) -> (TestSite, RunId) {
    let setup = setup().with_handover(Wanted::Way(HandoverMode::Steer)).with_second(second);
    let world = TestSite::boot_with(&setup).await;
    let ending = world.pivot(&world.journal()).await;
    assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
    let pivot = ending.run;
    noted_by_kubeadm(world.simulator.client()).await;
    (world, pivot)
}

/// What kubeadm keeps of the cluster.
pub(crate) async fn noted_by_kubeadm(client: Client) {
    let mut map = ConfigMap::default();
    map.metadata.name = Some("kubeadm-config".to_owned());
    let text = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: v1.35.3\n";
    map.data = Some([("ClusterConfiguration".to_owned(), text.to_owned())].into());
    let maps: Api<ConfigMap> = Api::namespaced(client, "kube-system");
    maps.create(&PostParams::default(), &map).await.unwrap();
}

pub(crate) async fn live(world: &SimulatedSite) -> Vec<(Component, Value)> {
    let mut live = Vec::new();
    for component in Component::ALL {
        let found = world.cluster.daemonset(component.daemonset_name()).await.unwrap().unwrap();
        live.push((component, found));
    }
    live
}

async fn templates(world: &TestSite) -> Vec<Value> {
    live(world).await.into_iter().map(|(_, live)| live["spec"]["template"].clone()).collect()
}

async fn find(world: &TestSite, pivot: RunId, to: Version) -> Result<Found, TargetError> {
    let settings = settings(&world.journal(), pivot);
    let (live, kubeadm) = (live(world).await, SimulatedKubeadm(to));
    let wish = Wish::new((&world.cluster, &*world.host), &settings, &live, &kubeadm);
    target(&wish).await
}

async fn upgrade_to(world: &TestSite, pivot: RunId, to: Version) -> plan::Upgrade {
    let found = find(world, pivot, to).await.unwrap();
    plan::Upgrade {
        merged: found.merged,
        noted: found.noted,
        rest: None,
        within: SOON,
        why: format!("{} to {}", found.from, found.to),
    }
}

async fn carry_out(world: &TestSite, pivot: RunId, upgrade: plan::Upgrade, end: bool) -> Ending {
    let journal = world.journal();
    let settings = Settings { of_pivot: Some(pivot), ..settings(&journal, pivot) };
    let make = if end { plan::finalize } else { plan::upgrade };
    let plan = make(&settings, pivot, upgrade).unwrap();
    keep_standby(world, &journal);
    world.engine(&journal, settings).await.start(plan).await.unwrap()
}

/// As the guard does when it starts.
pub(crate) fn keep_standby(world: &SimulatedSite, journal: &Journal) {
    let told = JournalView::of(&journal.reader()).unwrap().unwrap();
    told.standby(&world.state_dir()).begin(&told.retired).unwrap();
}

/// The image and the emulated release of each component.
async fn releases(world: &TestSite) -> Vec<(String, Option<String>)> {
    let mut releases = Vec::new();
    for (component, live) in live(world).await {
        let template = &live["spec"]["template"];
        let flags = Words::of(component, template).unwrap().flags(component).unwrap();
        let image = template["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
        releases.push((image, flags.get(EMULATED).cloned()));
    }
    releases
}

/// The release in kubeadm's configuration of the cluster.
async fn noted(world: &TestSite) -> String {
    let text = world.cluster.kubeadm_configuration().await.unwrap().unwrap();
    text.lines().find_map(|line| line.strip_prefix("kubernetesVersion: ")).unwrap().to_owned()
}

fn all(releases: &[(String, Option<String>)], version: &str, emulated: Option<&str>) -> bool {
    let right =
        |(image, of): &(String, Option<String>)| image.ends_with(version) && of.as_deref() == emulated;
    releases.len() == 3 && releases.iter().all(right)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_emulates_the_release_before_comes_back_exactly_and_is_finalized() {
    let (world, pivot) = ready_at(LONG).await;
    let mine = FlagChange::Set("v".to_owned(), "7".to_owned());
    let (component, mut changed) = live(&world).await.swap_remove(2);
    let words = Words::of(component, &changed["spec"]["template"]).unwrap();
    words.changed(component, &[mine]).unwrap().put(component, &mut changed["spec"]["template"]);
    world.cluster.replace_daemonset(&changed, false).await.unwrap();
    let before = templates(&world).await;

    let upgrade = upgrade_to(&world, pivot, NEXT).await;
    let ending = carry_out(&world, pivot, upgrade.clone(), false).await;
    assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
    assert!(all(&releases(&world).await, ":v1.36.3", Some("1.35")), "{:?}", releases(&world).await);
    let kept = |component: Component| {
        let standby = Standby::of(&world.state_dir(), pivot).get(component).unwrap().unwrap();
        StaticPod::parse(component, standby.content.as_bytes()).unwrap().image().to_owned()
    };
    assert!(
        Component::ALL.into_iter().all(|component| kept(component).ends_with(":v1.36.3")),
        "the standby follows"
    );
    let flags = Words::of(component, &templates(&world).await[2]).unwrap().flags(component).unwrap();
    assert_eq!(flags["v"], "7", "a person's flag stays");
    assert_eq!(noted(&world).await, "v1.36.3");
    let compared = load(&world.journal().reader(), ending.run).unwrap();
    let compared = compared.output(&"await-roll-out/kube-apiserver".into()).unwrap()["compared"].clone();
    assert!(compared["lists"].as_u64() >= Some(5), "{compared}");
    assert!(compared["objects"].as_u64() >= Some(5), "{compared}");
    world.assert_pivoted("after an upgrade").await;

    a_kubelet_that_is_newer_is_named(&world, ending.run).await;
    let back = world.rollback(&world.journal(), ending.run).await;
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    assert_eq!(templates(&world).await, before);
    assert_eq!(noted(&world).await, "v1.35.3");
    assert!(
        Component::ALL.into_iter().all(|component| kept(component).ends_with(":v1.35.3")),
        "and comes back"
    );

    let again = carry_out(&world, pivot, upgrade, false).await;
    assert_eq!(outcome(&again), Outcome::Completed, "{}", reason(&again));
    let merged = end_of_emulation(&live(&world).await).unwrap();
    let end = plan::Upgrade { merged, noted: None, rest: None, within: SOON, why: "finalize".to_owned() };
    let finalized = carry_out(&world, pivot, end, true).await;
    assert_eq!(outcome(&finalized), Outcome::Completed, "{}", reason(&finalized));
    assert!(all(&releases(&world).await, ":v1.36.3", None), "{:?}", releases(&world).await);
    assert_eq!(end_of_emulation(&live(&world).await).unwrap(), [], "a second time there is nothing to do");
    world.assert_pivoted("after a finalized upgrade").await;
    let refused = format!("fulcrum rollback is refused: {}", Outrun::Here(finalized.run));
    let warned = crate::doctor::find(&world, Area::Manifests, &refused).await;
    assert_eq!(warned.health, Health::Warning, "{warned:?}");
}

/// A way back may not leave kubelets newer than the API server. None of this changes anything.
async fn a_kubelet_that_is_newer_is_named(world: &TestSite, upgrade: RunId) {
    let journal = world.journal();
    let changes = plan::edited(load(&journal.reader(), upgrade).unwrap().plan());
    refuse_newer_kubelets(&world.cluster, &changes).await.unwrap();
    let nodes: Api<Node> = Api::all(world.simulator.client());
    let mut worker = Node::default();
    worker.metadata.name = Some("w1".to_owned());
    nodes.create(&PostParams::default(), &worker).await.unwrap();
    let version = Patch::Merge(json!({ "status": { "nodeInfo": { "kubeletVersion": "v1.36.3" } } }));
    nodes.patch_status("w1", &PatchParams::default(), &version).await.unwrap();
    let refused = refuse_newer_kubelets(&world.cluster, &changes).await.unwrap_err().to_string();
    assert!(refused.contains("node w1 is v1.36.3") && refused.contains("v1.35.3 again"), "{refused}");
    // The scheduler alone leaves the API server as it is.
    refuse_newer_kubelets(&world.cluster, &changes[2..]).await.unwrap();
    nodes.delete("w1", &DeleteParams::default()).await.unwrap();
}

/// What kubeadm has made beside the control plane: the configuration of kubelets, and CoreDNS, whose pods are available.
async fn kubeadm_made_the_rest(world: &TestSite) {
    let client = world.simulator.client();
    let map = json!({ "metadata": { "name": "kubelet-config" }, "data": { "kubelet": "kind: KubeletConfiguration\n" } });
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
    maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
    let labels = json!({ "k8s-app": "kube-dns" });
    let coredns = json!({
        "metadata": { "name": "coredns" },
        "spec": {
            "replicas": 2, "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "coredns", "image": "registry.k8s.io/coredns/coredns:v1.13.1" }] },
            },
        },
    });
    let deployments: Api<Deployment> = Api::namespaced(client, "kube-system");
    let made =
        deployments.create(&PostParams::default(), &serde_json::from_value(coredns).unwrap()).await.unwrap();
    let mut through = made;
    let status = json!({ "observedGeneration": 1, "updatedReplicas": 2, "availableReplicas": 2 });
    through.status = Some(serde_json::from_value(status).unwrap());
    deployments.replace_status("coredns", &PostParams::default(), &through).await.unwrap();
}

/// The configuration of kubelets, and CoreDNS's image and number of pods.
async fn rest(world: &TestSite) -> (String, String, i32) {
    let client = world.simulator.client();
    let map =
        Api::<ConfigMap>::namespaced(client.clone(), "kube-system").get("kubelet-config").await.unwrap();
    let coredns = Api::<Deployment>::namespaced(client, "kube-system").get("coredns").await.unwrap();
    let spec = coredns.spec.unwrap();
    let image = spec.template.spec.unwrap().containers.swap_remove(0).image.unwrap();
    (map.data.unwrap()["kubelet"].clone(), image, spec.replicas.unwrap())
}

async fn with_the_rest(world: &TestSite, pivot: RunId) -> plan::Upgrade {
    let found = find(world, pivot, NEXT).await.unwrap();
    assert_eq!(found.phases, [Phase::KubeletConfig, Phase::CoreDns]);
    assert!(found.config.ends_with("---\nkind: KubeletConfiguration\n\n"), "{}", found.config);
    let kubeadm = kubeadm_copy(&world.state_dir());
    std::fs::write(&kubeadm, "kubeadm").unwrap();
    let rest = plan::Rest { kubeadm, config: found.config, phases: found.phases };
    plan::Upgrade { rest: Some(rest), ..upgrade_to(world, pivot, NEXT).await }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubeadm_brings_the_rest_to_the_release_and_the_way_back_brings_it_back() {
    let (world, pivot) = ready().await;
    kubeadm_made_the_rest(&world).await;
    let before = rest(&world).await;
    let upgrade = with_the_rest(&world, pivot).await;
    let ending = carry_out(&world, pivot, upgrade.clone(), false).await;
    assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
    let (kubelet, image, _) = rest(&world).await;
    assert!(kubelet.contains("# as kubeadm v1.36.3 writes it"), "{kubelet}");
    assert!(image.ends_with(":of-v1.36.3"), "{image}");

    // A person has CoreDNS scaled meanwhile, and that stays.
    let deployments: Api<Deployment> = Api::namespaced(world.simulator.client(), "kube-system");
    let scale = Patch::Merge(json!({ "spec": { "replicas": 5 } }));
    deployments.patch("coredns", &PatchParams::default(), &scale).await.unwrap();
    let back = world.rollback(&world.journal(), ending.run).await;
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    assert_eq!(rest(&world).await, (before.0.clone(), before.1.clone(), 5));

    // What a person has written since stays as well.
    let again = carry_out(&world, pivot, upgrade, false).await;
    assert_eq!(outcome(&again), Outcome::Completed, "{}", reason(&again));
    let maps: Api<ConfigMap> = Api::namespaced(world.simulator.client(), "kube-system");
    let mine = Patch::Merge(json!({ "data": { "kubelet": "mine" } }));
    maps.patch("kubelet-config", &PatchParams::default(), &mine).await.unwrap();
    let back = world.rollback(&world.journal(), again.run).await;
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    assert_eq!(rest(&world).await, ("mine".to_owned(), before.1, 5));
}

/// The API server is upgraded first. If a later component does not serve, everything comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_does_not_serve_comes_back_by_itself() {
    let (world, pivot) = ready().await;
    let before = templates(&world).await;
    let mut upgrade = upgrade_to(&world, pivot, NEXT).await;
    let order: Vec<Component> = upgrade.merged.iter().map(|merged| merged.component).collect();
    assert_eq!(order, Component::ALL);
    let words =
        upgrade.merged[2].changes.iter_mut().find(|change| change.path.ends_with(&["command".into()]));
    let words = words.unwrap().now.as_mut().unwrap().as_array_mut().unwrap();
    words.push("--simulate=crash".into());
    let ending = carry_out(&world, pivot, upgrade, false).await;
    assert_eq!(outcome(&ending), Outcome::RolledBack, "{}", reason(&ending));
    assert!(reason(&ending).contains("does not come up"), "{}", reason(&ending));
    assert_eq!(templates(&world).await, before);
    world.assert_pivoted("after an upgrade that did not serve").await;
}

/// The new API server is asked what the old one is asked, before it gets any client.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_answers_otherwise_gets_no_client() {
    let (world, pivot) = ready_at(LONG).await;
    let before = templates(&world).await;
    let mut upgrade = upgrade_to(&world, pivot, NEXT).await;
    let words =
        upgrade.merged[0].changes.iter_mut().find(|change| change.path.ends_with(&["command".into()]));
    let words = words.unwrap().now.as_mut().unwrap().as_array_mut().unwrap();
    words.push("--simulate=serves-less".into());
    let ending = carry_out(&world, pivot, upgrade, false).await;
    assert_eq!(outcome(&ending), Outcome::RolledBack, "{}", reason(&ending));
    assert!(reason(&ending).contains("as the old one d"), "{}", reason(&ending));
    assert!(reason(&ending).contains("does not serve discovery.k8s.io/v1"), "{}", reason(&ending));
    assert_eq!(templates(&world).await, before);
    assert_eq!(noted(&world).await, "v1.35.3");
    world.assert_pivoted("after an upgrade whose API server lacked something").await;
}

/// A patch release may change the images alone, and then both pods have the same words.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_be_had_takes_the_upgrade_back() {
    let (world, pivot) = ready().await;
    let before = templates(&world).await;
    let mut upgrade = upgrade_to(&world, pivot, Version { minor: 35, patch: 9 }).await;
    let image = upgrade.merged[0].changes.as_mut_slice();
    let [image] = image else { panic!("{image:?}") };
    image.now = Some("registry.invalid/kube-apiserver:v1.35.9".into());
    let ending = carry_out(&world, pivot, upgrade, false).await;
    assert_eq!(outcome(&ending), Outcome::RolledBack, "{}", reason(&ending));
    assert!(reason(&ending).contains("has had no image"), "{}", reason(&ending));
    assert_eq!(templates(&world).await, before);
    world.assert_pivoted("after an upgrade without an image").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_upgraded_is_refused_before_anything_changes() {
    let (world, pivot) = ready().await;
    let refused = async |to: Version| find(&world, pivot, to).await.unwrap_err().to_string();
    let skipped = refused(Version { minor: 37, patch: 0 }).await;
    assert!(skipped.contains("skips a minor release"), "{skipped}");
    let back = refused(Version { minor: 34, patch: 9 }).await;
    assert!(back.contains("older than v1.35.3"), "{back}");

    let (component, mut changed) = live(&world).await.swap_remove(2);
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = "mirror.example/own:v1".into();
    world.cluster.replace_daemonset(&changed, false).await.unwrap();
    let conflict = refused(NEXT).await;
    assert!(conflict.contains("kube-scheduler.image"), "{conflict}");
    assert!(conflict.contains("mirror.example/own:v1"), "{conflict}");
    let now = world.cluster.daemonset(component.daemonset_name()).await.unwrap().unwrap();
    assert_eq!(now["spec"], changed["spec"]);

    let mut other = Node::default();
    other.metadata.name = Some("cp2".to_owned());
    let role = settings(&world.journal(), pivot).role_label;
    other.metadata.labels = Some([(role, String::new())].into());
    let nodes: Api<Node> = Api::all(world.simulator.client());
    nodes.create(&PostParams::default(), &other).await.unwrap();
    let beside = refused(NEXT).await;
    assert!(beside.contains("cp2 still runs static pods"), "{beside}");
}

/// SIGKILL at each boundary of the steps that differ from an edit's. The guard goes on.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_is_killed_anywhere_is_finished_by_the_guard() {
    let (world, pivot) = ready().await;
    let fulcrum = Path::new(env!("CARGO_BIN_EXE_fulcrum"));
    let each = Component::ALL.into_iter().flat_map(|component| {
        [("edit-daemonset", When::Effect), ("await-roll-out", When::Started)]
            .map(|(step, when)| (format!("{step}/{component}"), when))
    });
    kubeadm_made_the_rest(&world).await;
    let before = rest(&world).await;
    let noting = [When::Started, When::Effect].map(|when| ("upload-config".to_owned(), when));
    let phases = [When::Started, When::Effect].map(|when| ("kubeadm-phase/coredns".to_owned(), when));
    for (step, when) in each.chain(noting).chain(phases) {
        let point = Point { step: step.as_str().into(), when };
        keep_standby(&world, &world.journal());
        let upgrade = Change::Upgrade(with_the_rest(&world, pivot).await);
        let killed =
            world.inject_fault_in_change(fulcrum, upgrade, (&point, Fault::Kill, Then::Resume)).await;
        assert_eq!(killed.unwrap(), ChildExit::Killed, "{point}");
        let kubeadm = kubeadm_copy(&world.state_dir());
        boot(&*world, HOLD_OFF).await.unwrap();
        assert!(kubeadm.exists(), "{point}: the run still needs its kubeadm");
        let ending = guard_goes_on(&world).await;
        assert!(!kubeadm.exists(), "{point}: no run needs it");
        assert_eq!(outcome(&ending), Outcome::Completed, "{point}: {}", reason(&ending));
        assert!(all(&releases(&world).await, ":v1.36.3", Some("1.35")), "{point}");
        assert_eq!(noted(&world).await, "v1.36.3", "{point}");
        assert!(rest(&world).await.1.ends_with(":of-v1.36.3"), "{point}");
        world.assert_pivoted(&point.to_string()).await;
        let back = world.rollback(&world.journal(), ending.run).await;
        assert_eq!(outcome(&back), Outcome::RolledBack, "{point}: {}", reason(&back));
        assert_eq!(rest(&world).await, before, "{point}");
    }
    assert!(all(&releases(&world).await, ":v1.35.3", None));

    // The process was killed right after the end of the run, while it copied for the next one.
    let kubeadm = kubeadm_copy(&world.state_dir());
    let half = kubeadm.with_file_name(".fulcrum-kubeadm-half.tmp");
    for left in [&kubeadm, &half] {
        std::fs::write(left, "kubeadm").unwrap();
    }
    boot(&*world, HOLD_OFF).await.unwrap();
    assert!(!kubeadm.exists() && !half.exists(), "the guard sweeps it");
}
