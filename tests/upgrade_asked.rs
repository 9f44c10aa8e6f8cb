//! What is asked before an upgrade: each API server, which APIs its clients use that go, and each node, which images it
//! has.

use crate::edit::settings;
use crate::support::{TestSite, outcome, reason, setup};
use crate::upgrade::{live, noted_by_kubeadm};
use crate::upgrade_etcd::load_image;
use fulcrum_engine::Outcome;
use fulcrum_engine::state::RunId;
use fulcrum_simulator::DeprecatedApi;
use fulcrum_simulator::rehearsal::{SimulatedKubeadm, SimulatedSite, Version};
use fulcrum_steps::component::Component;
use fulcrum_steps::settings::{HandoverMode, Wanted};
use fulcrum_steps::upgrade::{Found, TargetError, Wish, target};

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
