//! Another release of Kubernetes for three nodes, by one run, with clients at each of them.

use crate::edit::settings;
use crate::support::{SOON, outcome, reason, setup};
use crate::upgrade_asked::GOES;
use fulcrum_engine::state::{Journal, RunId};
use fulcrum_engine::{Ending, Outcome, Silent};
use fulcrum_simulator::Flaw;
use fulcrum_simulator::rehearsal::{
    Change, ChildExit, Fault, Load, POLL, Point, SimulatedKubeadm, SimulatedSite, Then, Version, When,
    intervals,
};
use fulcrum_steps::component::Component;
use fulcrum_steps::guard::{Ended, Guard, JournalView};
use fulcrum_steps::handover::standby::Standby;
use fulcrum_steps::manifest::{StaticPod, Words};
use fulcrum_steps::plan;
use fulcrum_steps::settings::{HandoverMode, Settings, Wanted};
use fulcrum_steps::unit::HOLD_OFF;
use fulcrum_steps::upgrade::{EMULATED, Found, TargetError, Wish, end_of_emulation, others_follow, target};
use futures::future::join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const NEXT: Version = Version { minor: 36, patch: 3 };
/// Long enough for a hand-over on a busy machine: both API servers of a roll-out listen for 20 of these.
const SECOND: Duration = Duration::from_millis(80);

/// Three nodes that are self-hosted.
struct Nodes {
    sites: Arc<Vec<SimulatedSite>>,
    pivots: Vec<RunId>,
    _root: TempDir,
}

/// The guard of a node. It dies when this is dropped.
struct Guarded(JoinHandle<()>);

impl Drop for Guarded {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Nodes {
    async fn pivoted() -> Self {
        let root = tempfile::tempdir().unwrap();
        let setup = setup().with_nodes(3).with_handover(Wanted::Way(HandoverMode::Steer)).with_second(SECOND);
        let sites = SimulatedSite::boot_all(&setup, root.path()).await.unwrap();
        let mut pivots = Vec::new();
        for site in &sites {
            let ending = site.pivot(&site.journal().unwrap(), Arc::new(Silent)).await.unwrap();
            assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
            pivots.push(ending.run);
        }
        let mut map = ConfigMap::default();
        map.metadata.name = Some("kubeadm-config".to_owned());
        let text =
            "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: v1.35.3\n";
        map.data = Some([("ClusterConfiguration".to_owned(), text.to_owned())].into());
        let maps: Api<ConfigMap> = Api::namespaced(sites[0].machine().client(), "kube-system");
        maps.create(&PostParams::default(), &map).await.unwrap();
        Self { sites: Arc::new(sites), pivots, _root: root }
    }

    /// Starts the guard of this node, as systemd does.
    fn guard(&self, number: usize) -> Guarded {
        let sites = Arc::clone(&self.sites);
        Guarded(tokio::spawn(async move {
            let (env, stop) = (&sites[number], CancellationToken::new());
            let pace = intervals(SOON / 4);
            let guard = Guard { env, intervals: pace, roll_certificates: false, stop };
            while let Ended::RunIsOver = guard.run(|| {}).await {}
        }))
    }

    /// The guards of the second and the third node. That of a run's own node waits for the run.
    fn guards(&self) -> Vec<Guarded> {
        vec![self.guard(1), self.guard(2)]
    }

    /// As the guard of this node has done when it started.
    async fn keep_standby(&self, number: usize) {
        let told = JournalView::of(&self.journal(number).await.reader()).unwrap().unwrap();
        told.standby(&self.sites[number].state_dir()).begin(&told.retired).unwrap();
    }

    /// This node's journal, once its guard lets go of it.
    async fn journal(&self, number: usize) -> Journal {
        loop {
            match self.sites[number].journal() {
                Ok(journal) => return journal,
                Err(_held) => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// As the settings of a change on this node are.
    async fn settings(&self, number: usize) -> Settings {
        let pivot = self.pivots[number];
        Settings { of_pivot: Some(pivot), ..settings(&self.journal(number).await, pivot) }
    }

    async fn live(&self) -> Vec<(Component, Value)> {
        let mut live = Vec::new();
        for component in Component::ALL {
            // A server that ends refuses what it is asked.
            let found = async {
                loop {
                    match self.sites[0].cluster.daemonset(component.daemonset_name()).await {
                        Ok(found) => break found.unwrap(),
                        Err(_) => tokio::time::sleep(POLL).await,
                    }
                }
            };
            live.push((component, tokio::time::timeout(SOON, found).await.unwrap()));
        }
        live
    }

    async fn templates(&self) -> Vec<Value> {
        self.live().await.into_iter().map(|(_, live)| live["spec"]["template"].clone()).collect()
    }

    async fn find(&self, number: usize) -> Result<Found, TargetError> {
        let (settings, live, site) = (self.settings(number).await, self.live().await, &self.sites[number]);
        let wish = Wish::new((&site.cluster, &*site.host), &settings, &live, &SimulatedKubeadm(NEXT));
        target(&wish).await
    }

    /// The upgrade as it is found on this node, once the guards have said what their standbys are.
    async fn upgrade_on(&self, number: usize) -> plan::Upgrade {
        self.all_follow(number).await;
        self.keep_standby(number).await;
        let Found { from, to, merged, noted, .. } = self.find(number).await.unwrap();
        plan::Upgrade { merged, noted, rest: None, within: SOON, why: format!("{from} to {to}") }
    }

    /// Waits until the guards of the other nodes say that their standbys are what the DaemonSets run.
    async fn all_follow(&self, number: usize) {
        let settings = self.settings(number).await;
        let cluster = &self.sites[number].cluster;
        let follow = async {
            while let Err(_behind) = others_follow(cluster, &settings, &self.live().await).await {
                tokio::time::sleep(POLL * 5).await;
            }
        };
        if tokio::time::timeout(SOON, follow).await.is_err() {
            panic!("{}", others_follow(cluster, &settings, &self.live().await).await.unwrap_err());
        }
    }

    async fn carry_out(&self, number: usize, upgrade: plan::Upgrade) -> Ending {
        let settings = self.settings(number).await;
        let plan = plan::upgrade(&settings, self.pivots[number], upgrade).unwrap();
        let journal = self.journal(number).await;
        let engine = self.sites[number].engine(&journal, settings).await.unwrap();
        engine.start(plan).await.unwrap()
    }

    async fn rollback(&self, number: usize, run: RunId) -> Ending {
        let journal = self.journal(number).await;
        self.sites[number].rollback(&journal, run, Arc::new(Silent)).await.unwrap()
    }

    async fn are_self_hosted(&self, context: &str) {
        for site in self.sites.iter() {
            let hosted = site.is_self_hosted().await;
            hosted.unwrap_or_else(|difference| panic!("{context}: {difference}"));
        }
    }

    /// The image and the emulated release of each component.
    async fn releases(&self) -> Vec<(String, Option<String>)> {
        let mut releases = Vec::new();
        for (component, live) in self.live().await {
            let template = &live["spec"]["template"];
            let flags = Words::of(component, template).unwrap().flags(component).unwrap();
            let image = template["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
            releases.push((image, flags.get(EMULATED).cloned()));
        }
        releases
    }

    /// The releases of the standbys of all nodes.
    fn standbys(&self) -> Vec<String> {
        let each = self.sites.iter().zip(&self.pivots).flat_map(|(site, pivot)| {
            let standby = Standby::of(&site.state_dir(), *pivot);
            Component::ALL.map(|component| {
                let kept = standby.get(component).unwrap().unwrap();
                StaticPod::parse(component, kept.content.as_bytes()).unwrap().image().to_owned()
            })
        });
        each.map(|image| image.rsplit_once(':').unwrap().1.to_owned()).collect()
    }

    /// The releases of the static API servers that a boot of these nodes has put into their directories.
    fn put_back(&self, numbers: &[usize]) -> Vec<String> {
        let each = numbers.iter().map(|number| {
            let api = Component::ApiServer;
            let image = self.sites[*number].manifests().read(api.manifest_file()).unwrap().unwrap();
            StaticPod::parse(api, image.content.as_bytes()).unwrap().image().to_owned()
        });
        each.map(|image| image.rsplit_once(':').unwrap().1.to_owned()).collect()
    }
}

/// No request has failed.
fn none_failed(load: &Load, phase: &str) {
    for seen in load.take(phase) {
        let all = seen.all();
        assert!(all.answered > 0 && all.failures() == 0, "{}: {all:?}", seen.phase);
    }
}

/// With the run over, every node would boot with the new release, and with the old one after the way back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_nodes_are_upgraded_by_one_run_and_each_boots_with_the_new_release() {
    let nodes = Nodes::pivoted().await;
    let guards = nodes.guards();
    let upgrade = nodes.upgrade_on(0).await;
    let before = nodes.templates().await;
    let load = Load::start(&nodes.sites[0].simulator, "upgrade", POLL);
    let ending = nodes.carry_out(0, upgrade).await;
    let standbys = nodes.standbys();
    assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
    none_failed(&load, "after the upgrade");
    assert!(standbys.iter().all(|release| release == "v1.36.3"), "{standbys:?}");
    let releases = nodes.releases().await;
    let emulate =
        |(image, of): &(String, Option<String>)| image.ends_with(":v1.36.3") && of.as_deref() == Some("1.35");
    assert!(releases.iter().all(emulate), "{releases:?}");
    nodes.are_self_hosted("after the upgrade").await;

    // All of them lose their power: no node has an API to ask.
    drop(guards);
    load.take("power cut");
    nodes.sites.iter().for_each(|site| site.machine().power_off());
    for site in nodes.sites.iter() {
        fulcrum_steps::guard::boot(site, HOLD_OFF).await.unwrap();
    }
    assert_eq!(nodes.put_back(&[0, 1, 2]), ["v1.36.3"; 3]);
    for booted in join_all(nodes.sites.iter().map(SimulatedSite::reboot)).await {
        booted.unwrap();
    }
    nodes.are_self_hosted("after a power cut of all nodes").await;

    let _guards = nodes.guards();
    nodes.all_follow(0).await;
    let load = Load::start(&nodes.sites[0].simulator, "rollback", POLL);
    let back = nodes.rollback(0, ending.run).await;
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    none_failed(&load, "after the way back");
    assert_eq!(nodes.templates().await, before);
    nodes.all_follow(0).await;
    let standbys = nodes.standbys();
    assert!(standbys.iter().all(|release| release == "v1.35.3"), "{standbys:?}");
    nodes.are_self_hosted("after the way back").await;
}

/// SIGKILL of the command. The guard of its node goes on, and those of the others follow.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_upgrade_of_three_nodes_that_is_killed_is_finished_by_the_guard() {
    let nodes = Nodes::pivoted().await;
    let fulcrum = Path::new(env!("CARGO_BIN_EXE_fulcrum"));
    let _guards = nodes.guards();
    for (step, component, when) in [
        ("edit-daemonset", Component::ApiServer, When::Effect),
        ("await-standbys", Component::ApiServer, When::Started),
        ("await-roll-out", Component::Scheduler, When::Started),
    ] {
        let point = Point { step: format!("{step}/{component}").into(), when };
        let mut upgrade = nodes.upgrade_on(0).await;
        // The others would be rolled out without a fault: that is another test's.
        upgrade.merged.retain(|merged| merged.component == component);
        let place = (&point, Fault::Kill, Then::Resume);
        let killed = nodes.sites[0].inject_fault_in_change(fulcrum, Change::Upgrade(upgrade), place).await;
        assert_eq!(killed.unwrap(), ChildExit::Killed, "{point}");
        let ending = crate::edit::guard_goes_on(&nodes.sites[0]).await;
        assert_eq!(outcome(&ending), Outcome::Completed, "{point}: {}", reason(&ending));
        let of_it = Component::ALL.map(|one| if one == component { "v1.36.3" } else { "v1.35.3" });
        assert_eq!(nodes.standbys(), of_it.repeat(3), "{point}");
        nodes.are_self_hosted(&point.to_string()).await;
        let back = nodes.rollback(0, ending.run).await;
        assert_eq!(outcome(&back), Outcome::RolledBack, "{point}: {}", reason(&back));
    }
    assert!(nodes.releases().await.iter().all(|(image, of)| image.ends_with(":v1.35.3") && of.is_none()));
}

/// Its guard has not renewed the standby yet, and the power goes. What boots is older than what would follow.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_boots_with_the_old_api_server_takes_the_upgrade_back() {
    let nodes = Nodes::pivoted().await;
    let mut guards = nodes.guards();
    let upgrade = nodes.upgrade_on(0).await;
    let before = nodes.templates().await;
    // It hands nothing over here. This test has no clients.
    drop(guards.pop());
    let booted = async {
        let api = Component::ApiServer;
        let new = |seen: &fulcrum_simulator::Snapshot| {
            seen.of(api.name(), fulcrum_simulator::Origin::Api).count() == 1
        };
        loop {
            let live = nodes.live().await.swap_remove(0).1;
            let image = live["spec"]["template"]["spec"]["containers"][0]["image"].to_string();
            if image.contains("1.36") && fulcrum_steps::manifest::can_roll_out(&live).is_ok() {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
        nodes.sites[2].machine().until("one API server", SOON, new).await.unwrap();
        nodes.sites[2].reboot().await.unwrap();
    };
    let booted = tokio::time::timeout(SOON * 2, booted);
    let (ending, booted) = tokio::join!(nodes.carry_out(0, upgrade), booted);
    assert_eq!(outcome(&ending), Outcome::RolledBack, "{}", reason(&ending));
    assert!(reason(&ending).contains("node-3 runs static pods"), "{}", reason(&ending));
    booted.unwrap();
    assert_eq!(nodes.templates().await, before);
    nodes.are_self_hosted("after an upgrade that a boot has taken back").await;
}

/// The roll-out goes from node to node. What fails on another node is seen from here.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_image_that_another_node_does_not_have_takes_the_upgrade_back() {
    let nodes = Nodes::pivoted().await;
    let _guards = nodes.guards();
    let upgrade = nodes.upgrade_on(0).await;
    let before = nodes.templates().await;
    nodes.sites[1].machine().flaw(Component::Scheduler.name(), Flaw::ImageMissing);
    let ending = nodes.carry_out(0, upgrade).await;
    assert_eq!(outcome(&ending), Outcome::RolledBack, "{}", reason(&ending));
    assert!(reason(&ending).contains("on node node-2 the old one goes on"), "{}", reason(&ending));
    assert_eq!(nodes.templates().await, before);
    nodes.are_self_hosted("after an upgrade without an image").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_that_cannot_follow_are_refused_before_anything_changes() {
    let nodes = Nodes::pivoted().await;
    let before = nodes.templates().await;
    let refused = async || nodes.find(0).await.unwrap_err().to_string();
    let armed = refused().await;
    assert!(armed.contains("the guard of node-2 has not said what its standby is"), "{armed}");
    let guards = nodes.guards();
    nodes.all_follow(0).await;
    // What its clients have asked for is known to its API server alone.
    let third = nodes.sites[2].machine();
    third.ask_deprecated(GOES);
    let asked = refused().await;
    assert!(asked.contains("(gone in 1.36, asked of node-3)"), "{asked}");
    third.cut_off();
    let found = nodes.find(0).await.unwrap();
    third.connect_again();
    assert!(found.warnings.iter().any(|one| one.contains("that of node-3 (")), "{:?}", found.warnings);

    // It reboots, and its guard does not hand over: static pods serve.
    drop(guards);
    let site = &nodes.sites[2];
    site.machine().power_off();
    fulcrum_steps::guard::boot(site, HOLD_OFF).await.unwrap();
    site.machine().power_on();
    let serves = |seen: &fulcrum_simulator::Snapshot| {
        seen.serves(Component::ApiServer.name(), fulcrum_simulator::Origin::Static)
    };
    site.machine().until("a static API server", SOON, serves).await.unwrap();
    let is_static = async {
        loop {
            // The API tells of the pods from before for a moment.
            let said = nodes.find(0).await.err().map(|refused| refused.to_string());
            if said.is_some_and(|said| said.contains("node-3 runs static pods (kube-apiserver)")) {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(SOON, is_static).await.unwrap();
    let (settings, live) = (nodes.settings(0).await, nodes.live().await);
    assert_eq!(end_of_emulation(&live).unwrap(), []);
    let finalize = others_follow(&nodes.sites[0].cluster, &settings, &live).await.unwrap_err();
    assert!(finalize.to_string().contains("node-3 runs static pods"), "{finalize}");
    assert_eq!(nodes.templates().await, before);
}

/// The first node has upgraded the API server, and is lost. The others are gone on with from the second one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_upgrade_that_stopped_halfway_is_gone_on_with_from_another_node() {
    let nodes = Nodes::pivoted().await;
    let guards = nodes.guards();
    let mut upgrade = nodes.upgrade_on(0).await;
    upgrade.merged.truncate(1);
    let ending = nodes.carry_out(0, upgrade).await;
    assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
    // Its guard had renewed its own standby, and waits for the run from now on.
    drop(guards);
    let _guards = [nodes.guard(0), nodes.guard(2)];
    let rest = nodes.upgrade_on(1).await;
    let left: Vec<Component> = rest.merged.iter().map(|merged| merged.component).collect();
    assert_eq!(left, [Component::ControllerManager, Component::Scheduler]);
    let ending = nodes.carry_out(1, rest).await;
    assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
    let releases = nodes.releases().await;
    let emulate =
        |(image, of): &(String, Option<String>)| image.ends_with(":v1.36.3") && of.as_deref() == Some("1.35");
    assert!(releases.iter().all(emulate), "{releases:?}");
    nodes.are_self_hosted("after the rest of an upgrade").await;
}
