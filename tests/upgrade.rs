//! Another release of Kubernetes for a control plane that runs from its DaemonSets.

use crate::edit::{guard_goes_on, pivoted, settings};
use crate::support::{SOON, TestSite, outcome, reason};
use fulcrum_engine::state::RunId;
use fulcrum_engine::{Ending, Outcome};
use fulcrum_simulator::rehearsal::{Change, ChildExit, Fault, Point, SimulatedKubeadm, Then, Version, When};
use fulcrum_steps::component::Component;
use fulcrum_steps::manifest::{FlagChange, Words};
use fulcrum_steps::plan;
use fulcrum_steps::settings::Settings;
use fulcrum_steps::upgrade::{EMULATED, Found, TargetError, Wish, end_of_emulation, target};
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::Api;
use kube::api::PostParams;
use serde_json::Value;
use std::path::Path;

const NEXT: Version = Version { minor: 36, patch: 3 };

/// A pivoted node of a cluster that kubeadm has set up.
async fn ready() -> (TestSite, RunId) {
    let (world, pivot) = pivoted().await;
    let mut map = ConfigMap::default();
    map.metadata.name = Some("kubeadm-config".to_owned());
    let text = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: v1.35.3\n";
    map.data = Some([("ClusterConfiguration".to_owned(), text.to_owned())].into());
    let maps: Api<ConfigMap> = Api::namespaced(world.simulator.client(), "kube-system");
    maps.create(&PostParams::default(), &map).await.unwrap();
    (world, pivot)
}

async fn live(world: &TestSite) -> Vec<(Component, Value)> {
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
    let wish = Wish {
        cluster: &world.cluster,
        settings: &settings,
        live: &live,
        kubeadm: &kubeadm,
        base: None,
        to: None,
        allow_removed_apis: false,
    };
    target(&wish).await
}

async fn upgrade_to(world: &TestSite, pivot: RunId, to: Version) -> plan::Upgrade {
    let found = find(world, pivot, to).await.unwrap();
    plan::Upgrade { merged: found.merged, within: SOON, why: format!("{} to {}", found.from, found.to) }
}

async fn carry_out(world: &TestSite, pivot: RunId, upgrade: plan::Upgrade, end: bool) -> Ending {
    let journal = world.journal();
    let settings = Settings { of_pivot: Some(pivot), ..settings(&journal, pivot) };
    let make = if end { plan::finalize } else { plan::upgrade };
    let plan = make(&settings, pivot, upgrade).unwrap();
    world.engine(&journal, settings).await.start(plan).await.unwrap()
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

fn all(releases: &[(String, Option<String>)], version: &str, emulated: Option<&str>) -> bool {
    let right =
        |(image, of): &(String, Option<String>)| image.ends_with(version) && of.as_deref() == emulated;
    releases.len() == 3 && releases.iter().all(right)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_emulates_the_release_before_comes_back_exactly_and_is_finalized() {
    let (world, pivot) = ready().await;
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
    let flags = Words::of(component, &templates(&world).await[2]).unwrap().flags(component).unwrap();
    assert_eq!(flags["v"], "7", "a person's flag stays");
    world.assert_pivoted("after an upgrade").await;

    let back = world.rollback(&world.journal(), ending.run).await;
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    assert_eq!(templates(&world).await, before);

    let again = carry_out(&world, pivot, upgrade, false).await;
    assert_eq!(outcome(&again), Outcome::Completed, "{}", reason(&again));
    let merged = end_of_emulation(&live(&world).await).unwrap();
    let end = plan::Upgrade { merged, within: SOON, why: "finalize".to_owned() };
    let finalized = carry_out(&world, pivot, end, true).await;
    assert_eq!(outcome(&finalized), Outcome::Completed, "{}", reason(&finalized));
    assert!(all(&releases(&world).await, ":v1.36.3", None), "{:?}", releases(&world).await);
    assert_eq!(end_of_emulation(&live(&world).await).unwrap(), [], "a second time there is nothing to do");
    world.assert_pivoted("after a finalized upgrade").await;
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

    let (component, mut changed) = live(&world).await.swap_remove(0);
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = "mirror.example/own:v1".into();
    world.cluster.replace_daemonset(&changed, false).await.unwrap();
    let conflict = refused(NEXT).await;
    assert!(conflict.contains("kube-apiserver.image"), "{conflict}");
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
    for component in Component::ALL {
        for (step, when) in [("edit-daemonset", When::Effect), ("await-roll-out", When::Started)] {
            let point = Point { step: format!("{step}/{component}").as_str().into(), when };
            let upgrade = Change::Upgrade(upgrade_to(&world, pivot, NEXT).await);
            let killed =
                world.inject_fault_in_change(fulcrum, upgrade, (&point, Fault::Kill, Then::Resume)).await;
            assert_eq!(killed.unwrap(), ChildExit::Killed, "{point}");
            let ending = guard_goes_on(&world).await;
            assert_eq!(outcome(&ending), Outcome::Completed, "{point}: {}", reason(&ending));
            assert!(all(&releases(&world).await, ":v1.36.3", Some("1.35")), "{point}");
            world.assert_pivoted(&point.to_string()).await;
            let back = world.rollback(&world.journal(), ending.run).await;
            assert_eq!(outcome(&back), Outcome::RolledBack, "{point}: {}", reason(&back));
        }
    }
    assert!(all(&releases(&world).await, ":v1.35.3", None));
}
