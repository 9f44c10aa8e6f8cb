//! Another image for the etcd of a node whose control plane runs from its DaemonSets.

use crate::edit::{guard_goes_on, settings};
use crate::support::{SOON, TestSite, outcome, reason, setup};
use crate::upgrade::{keep_standby, live, noted_by_kubeadm, ready};
use fulcrum_engine::load::load;
use fulcrum_engine::state::{Digest, RunId};
use fulcrum_engine::{Ending, Outcome, Silent};
use fulcrum_simulator::rehearsal::{
    Change, ChildExit, Fault, Load, POLL, Point, SimulatedKubeadm, SimulatedSite, Then, Version, When,
};
use fulcrum_simulator::{Alarm, Origin};
use fulcrum_steps::cluster::Cluster;
use fulcrum_steps::guard::GuardEnv;
use fulcrum_steps::host::{ManifestsDir, Node as Machine};
use fulcrum_steps::plan::{self, UpgradeEtcd};
use fulcrum_steps::settings::{HandoverMode, Settings, Wanted};
use fulcrum_steps::site::Site;
use fulcrum_steps::upgrade::{
    EtcdError, EtcdFound, EtcdStepError, Wish, etcd_of, etcd_target, with_etcd_image,
};
use k8s_openapi::api::core::v1::{ContainerImage, Node};
use kube::Api;
use kube::api::PostParams;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const MANIFEST: &str = "etcd.yaml";
const OLD: &str = "registry.k8s.io/etcd:3.6.6-0";
const PATCH: &str = "registry.k8s.io/etcd:3.6.8-0";
/// What the members must be of before 3.7 may run beside them.
const LATE: &str = "registry.k8s.io/etcd:3.6.12-0";
const MINOR: &str = "registry.k8s.io/etcd:3.7.0-0";

/// How long an etcd may take that never serves.
const IN_VAIN: Duration = Duration::from_secs(3);

async fn site(world: &SimulatedSite, pivot: RunId) -> Site {
    let settings = Settings { of_pivot: Some(pivot), ..settings(&world.journal().unwrap(), pivot) };
    Site::clone(&*GuardEnv::site(world, settings).await.unwrap())
}

/// What the kubeadm of 1.`minor` makes of this node's etcd.
async fn find_on(site: &Site, world: &SimulatedSite, minor: u16) -> Result<EtcdFound, EtcdError> {
    let (live, kubeadm) = (live(world).await, SimulatedKubeadm(Version { minor, patch: 0 }));
    let wish = Wish::new((&world.cluster, &*world.host), &site.settings, &live, &kubeadm);
    etcd_target(site, &wish, false).await
}

async fn find(world: &SimulatedSite, pivot: RunId, minor: u16) -> Result<EtcdFound, EtcdError> {
    find_on(&site(world, pivot).await, world, minor).await
}

/// The image is on the node.
pub(crate) async fn load_image(world: &SimulatedSite, image: &str) {
    let nodes: Api<Node> = Api::all(world.machine().client());
    loop {
        let mut node = nodes.get(world.machine().name()).await.unwrap();
        let status = node.status.get_or_insert_default();
        let loaded = ContainerImage { names: Some(vec![image.to_owned()]), size_bytes: None };
        status.images.get_or_insert_default().push(loaded);
        // The kubelet writes it, too.
        match nodes.replace_status(world.machine().name(), &PostParams::default(), &node).await {
            Ok(_) => return,
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => panic!("{error}"),
        }
    }
}

async fn upgrade_to(world: &SimulatedSite, pivot: RunId, minor: u16, within: Duration) -> UpgradeEtcd {
    for image in [PATCH, MINOR] {
        load_image(world, image).await;
    }
    let change = find(world, pivot, minor).await.unwrap().change.unwrap();
    let why = format!("{} to {}", change.from.version, change.to.version);
    UpgradeEtcd { change, within, why }
}

async fn carry_out(world: &SimulatedSite, pivot: RunId, upgrade: UpgradeEtcd) -> Ending {
    let journal = world.journal().unwrap();
    let settings = Settings { of_pivot: Some(pivot), ..settings(&journal, pivot) };
    let plan = plan::upgrade_etcd(&settings, pivot, upgrade).unwrap();
    keep_standby(world, &journal);
    world.engine(&journal, settings).await.unwrap().start(plan).await.unwrap()
}

fn manifest(world: &SimulatedSite) -> String {
    world.manifests().read(MANIFEST).unwrap().unwrap().content
}

/// The manifest from before the pivot with this image is there, and etcd and all of the control plane serve.
async fn runs(world: &SimulatedSite, image: &str) {
    let expected = with_etcd_image(&world.before[MANIFEST].content, OLD, image).unwrap();
    assert_eq!(manifest(world), expected);
    assert_eq!(etcd_of(&expected).as_deref(), Some(image));
    let serve = |seen: &fulcrum_simulator::Snapshot| {
        seen.serves("etcd", Origin::Static) && seen.serves("kube-apiserver", Origin::Api)
    };
    world.machine().until("etcd and the API server to serve", SOON, serve).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_gets_its_image_and_comes_back_exactly_within_its_minor_release() {
    let (world, pivot) = ready().await;
    let missing = find(&world, pivot, 36).await.unwrap_err();
    assert!(matches!(&missing, EtcdError::NoImage { image, .. } if image == PATCH), "{missing}");
    assert_eq!(find(&world, pivot, 35).await.unwrap().change, None, "that runs already");

    let upgrade = upgrade_to(&world, pivot, 36, SOON).await;
    let load = Load::start(&world.simulator, "etcd", POLL);
    let ending = carry_out(&world, pivot, upgrade).await;
    assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
    load.phase("after");
    runs(&world, PATCH).await;
    assert_eq!(find(&world, pivot, 36).await.unwrap().change, None);

    let run = load_run(&world, ending.run);
    let snapshot = Path::new(run["snapshot"].as_str().unwrap());
    let written = std::fs::read(snapshot).unwrap();
    assert_eq!((written.len() % 512, written.len() as u64), (32, run["of"]["bytes"].as_u64().unwrap()));
    assert_eq!(snapshot.metadata().unwrap().mode() & 0o777, 0o600);
    assert_eq!(snapshot.parent().unwrap().metadata().unwrap().mode() & 0o777, 0o700);
    let kept = std::fs::read(run["manifest"].as_str().unwrap()).unwrap();
    assert_eq!(Digest::of(&kept), world.before[MANIFEST].digest());

    let mut history = std::process::Command::new(env!("CARGO_BIN_EXE_fulcrum"));
    history.env_clear().arg("--state-dir").arg(world.state_dir()).args(["history", "last", "--diff"]);
    let told = String::from_utf8(history.output().unwrap().stdout).unwrap();
    for line in [format!("-    image: {OLD}"), format!("+    image: {PATCH}")] {
        assert!(told.contains(&line), "{told}");
    }

    // On a single node requests fail while etcd is away, and none fails after that.
    let [during, after] = load.take("back").try_into().unwrap();
    assert!(during.direct.answered > 0 && after.direct.answered > 0, "{during:?} {after:?}");
    assert_eq!((&after.direct.failed, &after.balanced.failed), (&BTreeMap::new(), &BTreeMap::new()));

    let back = world.rollback(&world.journal(), ending.run).await;
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    runs(&world, OLD).await;
    world.assert_pivoted("after an upgrade of etcd was taken back").await;
    assert!(snapshot.exists(), "it is kept");
}

/// What `snapshot-etcd` says.
fn load_run(world: &TestSite, run: RunId) -> serde_json::Value {
    let run = load(&world.journal().reader(), run).unwrap();
    run.output(&"snapshot-etcd".into()).unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_etcd_does_not_allow_is_refused_before_anything_changes() {
    let (world, pivot) = ready().await;
    for (minor, said) in [(33, "does not go back"), (38, "skips a minor release")] {
        let refused = find(&world, pivot, minor).await.unwrap_err();
        assert!(matches!(refused, EtcdError::Step(_)), "{refused}");
        assert!(refused.to_string().contains(said), "{refused}");
    }
    load_image(&world, PATCH).await;
    world.simulator.alarm(Some(Alarm::NoSpace));
    let refused = find(&world, pivot, 36).await.unwrap_err();
    assert!(matches!(&refused, EtcdError::NotSpared(why) if why.contains("NOSPACE")), "{refused}");
    world.simulator.alarm(None);

    let here = site(&world, pivot).await;
    let nowhere = tempfile::tempdir().unwrap();
    let node = Machine { manifests: ManifestsDir::new(nowhere.path()), ..here.node.clone() };
    let outside = find_on(&Site { node, ..here.clone() }, &world, 36).await.unwrap_err();
    assert!(matches!(outside, EtcdError::Outside(_)), "{outside}");

    // The file says what does not run (yet).
    let other = tempfile::tempdir().unwrap();
    let other = ManifestsDir::new(other.path());
    let image = &world.before[MANIFEST];
    let content = with_etcd_image(&image.content, OLD, "registry.k8s.io/etcd:3.6.7-0").unwrap();
    other.write(MANIFEST, &image.with_content(content)).unwrap();
    let node = Machine { manifests: other.clone(), ..here.node.clone() };
    let otherwise = find_on(&Site { node, ..here.clone() }, &world, 36).await.unwrap_err();
    assert!(matches!(otherwise, EtcdError::Otherwise { .. }), "{otherwise}");
    let pinned = with_etcd_image(&image.content, OLD, "registry.k8s.io/etcd:3.6.6-0@sha256:00").unwrap();
    other.write(MANIFEST, &image.with_content(pinned)).unwrap();
    let node = Machine { manifests: other.clone(), ..here.node.clone() };
    let pinned = find_on(&Site { node, ..here.clone() }, &world, 36).await.unwrap_err();
    assert!(matches!(pinned, EtcdError::Step(EtcdStepError::Pinned(_))), "{pinned}");
    // As kubeadm before 1.34 writes it.
    let name = "    - --name=";
    let flags = format!("    - --experimental-initial-corrupt-check=true\n{name}");
    other.write(MANIFEST, &image.with_content(image.content.replacen(name, &flags, 1))).unwrap();
    let node = Machine { manifests: other, ..here.node.clone() };
    let unknown = find_on(&Site { node, ..here }, &world, 37).await.unwrap_err();
    assert!(matches!(unknown, EtcdError::Step(EtcdStepError::Flags { .. })), "{unknown}");
    world.assert_pivoted("after what was refused").await;
}

/// An image that cannot be had, or a process that does not start, is the same to the run.
#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_does_not_come_up_goes_back_or_waits_for_a_person() {
    let (world, pivot) = ready().await;
    let mut upgrade = upgrade_to(&world, pivot, 36, IN_VAIN).await;
    upgrade.change.to.image = "registry.invalid/etcd:3.6.8-0".to_owned();
    let ending = carry_out(&world, pivot, upgrade).await;
    assert_eq!(outcome(&ending), Outcome::RolledBack, "{}", reason(&ending));
    assert!(reason(&ending).contains("etcd 3.6.8 to serve"), "{}", reason(&ending));
    runs(&world, OLD).await;
    world.assert_pivoted("after an etcd that did not come up").await;

    let mut upgrade = upgrade_to(&world, pivot, 37, IN_VAIN).await;
    assert!(!upgrade.change.can_go_back());
    upgrade.change.to.image = "registry.invalid/etcd:3.7.0-0".to_owned();
    let ending = carry_out(&world, pivot, upgrade).await;
    assert_eq!(outcome(&ending), Outcome::NeedsOperator, "{}", reason(&ending));
    assert!(reason(&ending).contains("etcd-snapshot.db"), "{}", reason(&ending));
    assert!(manifest(&world).contains("registry.invalid/etcd:3.7.0-0"), "it stays");

    // A person puts the manifest back, as no container has ever started.
    world.manifests().write(MANIFEST, &world.before[MANIFEST]).unwrap();
    let again = world.resume(&world.journal(), ending.run).await;
    assert_eq!(outcome(&again), Outcome::RolledBack, "{}", reason(&again));
    runs(&world, OLD).await;
    world.assert_pivoted("after a person has put it back").await;
}

/// Another minor release serves, and is not taken back. What it has written keeps the former one from starting.
#[tokio::test(flavor = "multi_thread")]
async fn another_minor_release_stays() {
    let (world, pivot) = ready().await;
    let upgrade = upgrade_to(&world, pivot, 37, SOON).await;
    let ending = carry_out(&world, pivot, upgrade).await;
    assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
    runs(&world, MINOR).await;
    // The command refuses this one.
    let back = world.rollback(&world.journal(), ending.run).await;
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    runs(&world, MINOR).await;
    let refused = find(&world, pivot, 36).await.unwrap_err();
    assert!(refused.to_string().contains("does not go back"), "{refused}");

    world.manifests().write(MANIFEST, &world.before[MANIFEST]).unwrap();
    let down = |seen: &fulcrum_simulator::Snapshot| !seen.serves("etcd", Origin::Static);
    world.machine().until("the former etcd not to start", SOON, down).await.unwrap();
}

/// SIGKILL at each boundary. The guard goes on. It needs no API for that.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_of_etcd_that_is_killed_anywhere_is_finished_by_the_guard() {
    let (world, pivot) = ready().await;
    let fulcrum = Path::new(env!("CARGO_BIN_EXE_fulcrum"));
    let each = ["snapshot-etcd", "change-etcd"].into_iter();
    let each = each.flat_map(|step| [When::Started, When::Effect].map(|when| (step, when)));
    for (step, when) in each.chain([("lock", When::Effect), ("verify", When::Started)]) {
        let point = Point { step: step.into(), when };
        keep_standby(&world, &world.journal());
        let upgrade = Change::UpgradeEtcd(upgrade_to(&world, pivot, 36, SOON).await);
        let killed =
            world.inject_fault_in_change(fulcrum, upgrade, (&point, Fault::Kill, Then::Resume)).await;
        assert_eq!(killed.unwrap(), ChildExit::Killed, "{point}");
        let ending = guard_goes_on(&world).await;
        assert_eq!(outcome(&ending), Outcome::Completed, "{point}: {}", reason(&ending));
        runs(&world, PATCH).await;
        let back = world.rollback(&world.journal(), ending.run).await;
        assert_eq!(outcome(&back), Outcome::RolledBack, "{point}: {}", reason(&back));
        runs(&world, OLD).await;
        world.assert_pivoted(&point.to_string()).await;
    }
}

/// The power goes right after the manifest was changed, and the new image never comes up: no API can answer before the guard
/// has taken the change back.
#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_with_an_etcd_that_does_not_come_up_is_taken_back_without_an_api() {
    let (world, pivot) = ready().await;
    let fulcrum = Path::new(env!("CARGO_BIN_EXE_fulcrum"));
    let point = Point { step: "change-etcd".into(), when: When::Started };
    keep_standby(&world, &world.journal());
    let mut upgrade = upgrade_to(&world, pivot, 36, IN_VAIN).await;
    let image = "registry.invalid/etcd:3.6.8-0";
    upgrade.change.to.image = image.to_owned();
    let upgrade = Change::UpgradeEtcd(upgrade);
    let killed = world.inject_fault_in_change(fulcrum, upgrade, (&point, Fault::Kill, Then::Resume)).await;
    assert_eq!(killed.unwrap(), ChildExit::Killed);
    let before = &world.before[MANIFEST];
    let content = with_etcd_image(&before.content, OLD, image).unwrap();
    world.manifests().write(MANIFEST, &before.with_content(content)).unwrap();
    world.machine().reboot();
    let ending = guard_goes_on(&world).await;
    assert_eq!(outcome(&ending), Outcome::RolledBack, "{}", reason(&ending));
    assert_eq!(manifest(&world), before.content);
    // The static pods have served since the boot, and the DaemonSets get the control plane again.
    let ending = guard_goes_on(&world).await;
    assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
    world.assert_pivoted("after a power cut").await;
}

/// A person writes a later patch than the one of kubeadm 1.36 into the manifest.
async fn has_by_hand(node: &SimulatedSite, pivot: RunId, image: &str) {
    let (here, live) = (site(node, pivot).await, live(node).await);
    let kubeadm = SimulatedKubeadm(Version { minor: 36, patch: 0 });
    let wish = Wish::new((&node.cluster, &*node.host), &here.settings, &live, &kubeadm);
    let before = &node.before[MANIFEST];
    let content = with_etcd_image(&before.content, OLD, image).unwrap();
    node.manifests().write(MANIFEST, &before.with_content(content)).unwrap();
    let serves = async {
        let later =
            |found: &Result<_, _>| matches!(found, Err(EtcdError::Step(EtcdStepError::EarlierPatch { .. })));
        while !later(&etcd_target(&here, &wish, false).await) {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(SOON, serves).await.unwrap();
    runs(node, image).await;
}

/// On several nodes one goes after the other. The API servers of the others serve meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn one_node_of_three_gets_its_etcd_while_the_others_serve() {
    let root = tempfile::tempdir().unwrap();
    let setup = setup().with_nodes(3).with_handover(Wanted::Way(HandoverMode::Steer));
    let sites = SimulatedSite::boot_all(&setup, root.path()).await.unwrap();
    let mut pivots = Vec::new();
    for site in &sites {
        let ending = site.pivot(&site.journal().unwrap(), Arc::new(Silent)).await.unwrap();
        assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
        pivots.push(ending.run);
    }
    noted_by_kubeadm(sites[0].machine().client()).await;
    for site in &sites {
        load_image(site, MINOR).await;
    }

    let beside = find(&sites[0], pivots[0], 37).await.unwrap_err();
    assert!(matches!(&beside, EtcdError::Step(EtcdStepError::Beside { first: 11, .. })), "{beside}");
    for (site, pivot) in sites.iter().zip(&pivots) {
        has_by_hand(site, *pivot, LATE).await;
    }

    sites[1].machine().hold_down("etcd");
    let refused = find(&sites[0], pivots[0], 37).await.unwrap_err();
    assert!(matches!(&refused, EtcdError::NotSpared(why) if why.contains("no member to spare")), "{refused}");
    sites[1].machine().repair("etcd");
    runs(&sites[1], LATE).await;

    let other = Cluster::new(sites[1].machine().client_from_outside());
    let asks = tokio::spawn(async move {
        for asked in 0u32.. {
            other.version().await.unwrap_or_else(|error| panic!("after {asked}: {error}"));
            tokio::time::sleep(POLL).await;
        }
    });
    for number in [0, 2] {
        let upgrade = upgrade_to(&sites[number], pivots[number], 37, SOON).await;
        let ending = carry_out(&sites[number], pivots[number], upgrade).await;
        assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
        runs(&sites[number], MINOR).await;
    }
    assert!(!asks.is_finished(), "a request to another node has failed");
    asks.abort();
    runs(&sites[1], LATE).await;
}
