//! What is asked before an upgrade: each API server, which APIs its clients use that go; each node, which images it has; each
//! component, whether it would start with its command line; and each member of etcd, which version it runs.

use crate::edit::settings;
use crate::support::{TestSite, outcome, reason, setup};
use crate::upgrade::{live, noted_by_kubeadm};
use crate::upgrade_etcd::load_image;
use fulcrum_engine::Outcome;
use fulcrum_engine::state::RunId;
use fulcrum_simulator::DeprecatedApi;
use fulcrum_simulator::rehearsal::{SimulatedKubeadm, SimulatedSite, Version};
use fulcrum_steps::component::Component;
use fulcrum_steps::manifest::{FlagChange, Words};
use fulcrum_steps::settings::{HandoverMode, Wanted};
use fulcrum_steps::upgrade::{EMULATED, Found, TargetError, Wish, target, would_start_finalized};
use serde_json::Value;

const NEXT: Version = Version { minor: 36, patch: 3 };

/// The release that is wanted does not serve it.
pub(crate) const GOES: DeprecatedApi =
    DeprecatedApi { group: "flows.example", version: "v1beta3", resource: "flows", removed_release: "1.36" };
const STAYS: DeprecatedApi = DeprecatedApi { resource: "pools", removed_release: "1.37", ..GOES };

/// Finds the upgrade on a node, with or without the option `--allow-removed-apis`.
async fn find(site: &SimulatedSite, pivot: RunId, allow_removed_apis: bool) -> Result<Found, TargetError> {
    let (settings, live) = (settings(&site.journal().unwrap(), pivot), live(site).await);
    let kubeadm = SimulatedKubeadm(NEXT);
    let wish = Wish::new((&site.cluster, &*site.host), &settings, &live, &kubeadm);
    target(&Wish { allow_removed_apis, ..wish }).await
}

fn about_apis(found: &Found) -> Vec<&String> {
    found.warnings.iter().filter(|warning| warning.contains("clients ask for APIs")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_goes_and_is_asked_for_is_refused_unless_a_person_allows_it() {
    let world = TestSite::boot_with(&setup().with_handover(Wanted::Way(HandoverMode::Steer))).await;
    let ending = world.pivot(&world.journal()).await;
    assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
    noted_by_kubeadm(world.simulator.client()).await;
    world.simulator.ask_deprecated(STAYS);
    let found = find(&world, ending.run, false).await.unwrap();
    assert_eq!(about_apis(&found), [""; 0], "1.36 still serves it");

    world.simulator.ask_deprecated(GOES);
    let refused = find(&world, ending.run, false).await.unwrap_err().to_string();
    let named = "flows.v1beta3.flows.example (gone in 1.36, asked of node-1)";
    assert!(refused.contains(named) && !refused.contains("pools"), "{refused}");
    assert!(refused.contains("--allow-removed-apis"), "{refused}");
    let allowed = find(&world, ending.run, true).await.unwrap();
    assert!(matches!(*about_apis(&allowed), [warning] if warning.contains(named)), "{allowed:?}");
    assert_eq!(allowed.merged.len(), 3);
    the_images_to_be_pulled_are_named(&world, ending.run).await;
    let etcd = "kubeadm takes etcd 3.6.8 for v1.36.3, and older ones run: ";
    let told = |found: &Found| found.warnings.iter().filter(|one| one.starts_with(etcd)).count();
    assert_eq!(told(&allowed), 1, "{allowed:?}");
}

/// They refuse nothing.
async fn the_images_to_be_pulled_are_named(world: &TestSite, pivot: RunId) {
    let image = |component: Component| format!("registry.k8s.io/{component}:v1.36.3");
    load_image(world, &image(Component::ApiServer)).await;
    let warned = find(world, pivot, true).await.unwrap().warnings;
    let [manager, scheduler] = [Component::ControllerManager, Component::Scheduler].map(image);
    let expected = format!("node node-1 does not list {manager}, {scheduler} among its images");
    assert!(warned.iter().any(|one| one.starts_with(&expected)), "{warned:?}");
    load_image(world, &manager).await;
    load_image(world, &scheduler).await;
    let warned = find(world, pivot, true).await.unwrap().warnings;
    assert!(!warned.iter().any(|one| one.contains("among its images")), "{warned:?}");
}

/// The DaemonSets with these flags changed in one.
fn with(live: &[(Component, Value)], of: Component, changes: &[FlagChange]) -> Vec<(Component, Value)> {
    let mut live = live.to_vec();
    let (_, daemonset) = live.iter_mut().find(|(component, _)| *component == of).unwrap();
    let template = &mut daemonset["spec"]["template"];
    let words = Words::of(of, template).unwrap().changed(of, changes).unwrap();
    assert!(words.put(of, template));
    live
}

/// What a component of the release does not take on its command line is refused by name, for all components at once. What it
/// takes only until the upgrade is finalized is named, and refused then. None of this changes anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_would_not_start_is_named_before_anything_changes() {
    let (world, pivot) = crate::upgrade::ready().await;
    let (settings, live) = (settings(&world.journal(), pivot), live(&world).await);
    let find = async |live: &[(Component, Value)], to: Version| {
        let kubeadm = SimulatedKubeadm(to);
        target(&Wish::new((&world.cluster, &*world.host), &settings, live, &kubeadm)).await
    };
    let set = |name: &str, value: &str| FlagChange::Set(name.to_owned(), value.to_owned());
    let (api, scheduler) = (Component::ApiServer, Component::Scheduler);
    let gone = set("feature-gates", "HonorPVReclaimPolicy=true,ImageVolume=false,Mine=true");
    let gone = with(&live, api, &[gone]);
    let gone =
        with(&gone, scheduler, &[set("feature-gates", "MemoryManager=true"), set("logtostderr", "true")]);

    let refused = find(&gone, NEXT).await.unwrap_err();
    assert!(matches!(&refused, TargetError::Outdated(_)), "{refused}");
    let said = refused.to_string();
    for named in [
        "kube-apiserver would not start with its --feature-gates: 1.36 and later do not know HonorPVReclaimPolicy; leave the \
         others with `fulcrum edit kube-apiserver --set feature-gates=ImageVolume=false,Mine=true`",
        "kube-scheduler of 1.26 and later does not know --logtostderr",
        "do not know MemoryManager; take it out with `fulcrum edit kube-scheduler --unset feature-gates`",
        "nothing was changed",
    ] {
        assert!(said.contains(named), "{named}\n{said}");
    }

    // 1.36 takes it as long as it behaves as 1.35.
    let locked = with(&live, api, &[set("feature-gates", "ImageVolume=false")]);
    let found = find(&locked, NEXT).await.unwrap();
    let later = "before `fulcrum upgrade finalize`: kube-apiserver would not start with its --feature-gates: 1.36 and later take \
                 ImageVolume as true only";
    assert!(found.warnings.iter().any(|one| one.starts_with(later)), "{found:?}");
    would_start_finalized(&locked).unwrap();
    let mut upgraded = with(&locked, api, &[set(EMULATED, "1.35")]);
    let image = &mut upgraded[0].1["spec"]["template"]["spec"]["containers"][0]["image"];
    *image = "registry.k8s.io/kube-apiserver:v1.36.3".into();
    let refused = would_start_finalized(&upgraded).unwrap_err().to_string();
    assert!(
        refused.contains("take ImageVolume as true only") && refused.contains("nothing was changed"),
        "{refused}"
    );
}
