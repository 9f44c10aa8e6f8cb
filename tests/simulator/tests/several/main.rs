//! A cluster of three control-plane nodes: pivoted one after the other, and back in any order.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

mod locks;

use fulcrum_engine::run::Phase;
use fulcrum_engine::state::{Journal, RunId};
use fulcrum_engine::{Ending, Outcome, Silent};
use fulcrum_simulator::Alarm;
use fulcrum_simulator::rehearsal::{POLL, RehearsalError, SOON, Setup, SimulatedSite, Version};
use fulcrum_steps::check::{Check, Ignored};
use fulcrum_steps::cluster::RunPhase;
use fulcrum_steps::component::Component;
use fulcrum_steps::overview::{GuardSeen, Is, gather, judge};
use fulcrum_steps::plan;
use fulcrum_steps::preflight::{CheckResult, Level, PreflightInput, preflight};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, Client};
use serde_json::Value;
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// Reads through the balancer and at each node, until it is dropped.
struct Load {
    counts: Arc<[AtomicU64; 2]>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn on(nodes: &Nodes) -> Self {
        let simulator = &nodes.sites[0].simulator;
        let mut clients: Vec<Client> = nodes.sites.iter().map(|site| site.machine().client()).collect();
        clients.push(simulator.from_outside());
        let counts = Arc::new([const { AtomicU64::new(0) }; 2]);
        let ask = |client: Client| {
            let counts = Arc::clone(&counts);
            tokio::spawn(async move {
                let nodes = Api::<Node>::all(client);
                loop {
                    let failed = nodes.get("node-1").await.is_err();
                    counts[usize::from(failed)].fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(POLL).await;
                }
            })
        };
        let tasks = clients.into_iter().map(ask).collect();
        Self { counts, tasks }
    }

    /// Requires that requests were answered, and that none failed.
    fn all_good(self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
        let [good, bad] = [0, 1].map(|at| self.counts[at].load(Ordering::Relaxed));
        assert!(good > 0 && bad == 0, "{good} requests were answered, {bad} failed");
    }
}

struct Nodes {
    sites: Vec<SimulatedSite>,
    journals: Vec<Journal>,
    _root: TempDir,
}

impl Nodes {
    async fn boot() -> Self {
        let root = tempfile::tempdir().unwrap();
        let setup = Setup::built_in(Version::DEFAULT).unwrap().with_nodes(3);
        let sites = SimulatedSite::boot_all(&setup, root.path()).await.unwrap();
        let journals = sites.iter().map(|site| site.journal().unwrap()).collect();
        Self { sites, journals, _root: root }
    }

    /// A pivot that is paused after this step.
    async fn paused(&self, number: usize, step: &str) -> Ending {
        let site = &self.sites[number];
        let settings = site.preflight().await.unwrap().settings;
        let plan = plan::pivot(&settings, SOON).unwrap();
        let engine = site.engine(&self.journals[number], settings).await.unwrap();
        let paused = engine.pause_after([step.into()]).start(plan).await.unwrap();
        assert!(matches!(paused.phase, Phase::Paused { .. }), "{}", reason(&paused));
        paused
    }

    /// A pivot of the first node that is held up before its cuts: the third node has no power.
    async fn held_up(&self) -> Pin<Box<impl Future<Output = Result<Ending, RehearsalError>>>> {
        let paused = self.paused(0, "switch").await;
        self.sites[2].machine().power_off();
        let mut resumed = Box::pin(self.sites[0].resume(&self.journals[0], paused.run));
        still_waits(&mut resumed, "nothing is cut").await;
        resumed
    }

    async fn pivot(&self, number: usize) -> RunId {
        let ending = self.sites[number].pivot(&self.journals[number], Arc::new(Silent)).await.unwrap();
        assert_eq!(outcome(&ending), Some(Outcome::Completed), "node {number}: {}", reason(&ending));
        self.sites[number].is_self_hosted().await.unwrap();
        ending.run
    }

    async fn rollback(&self, number: usize, run: RunId) {
        let back = self.sites[number].rollback(&self.journals[number], run, Arc::new(Silent)).await.unwrap();
        assert_eq!(outcome(&back), Some(Outcome::RolledBack), "node {number}: {}", reason(&back));
        self.sites[number].is_static().await.unwrap();
    }

    /// The uids of the three DaemonSets. Null for one that is not there.
    async fn daemonsets(&self) -> Vec<Value> {
        let mut uids = Vec::new();
        for component in Component::ALL {
            let live = self.sites[0].cluster.daemonset(component.daemonset_name()).await.unwrap();
            uids.push(live.map_or(Value::Null, |live| live["metadata"]["uid"].clone()));
        }
        uids
    }
}

/// Requires that a run does not end for 2 s; why.
async fn still_waits(run: &mut (impl Future<Output: Debug> + Unpin), why: &str) {
    let ended = tokio::time::timeout(Duration::from_secs(2), run).await;
    assert!(ended.is_err(), "{why}: {ended:?}");
}

fn outcome(ending: &Ending) -> Option<Outcome> {
    match &ending.phase {
        Phase::Ended(outcome, _) => Some(*outcome),
        _ => None,
    }
}

fn reason(ending: &Ending) -> String {
    match &ending.phase {
        Phase::Ended(_, reason) | Phase::Paused { reason, .. } => reason.clone(),
        other => other.to_string(),
    }
}

async fn results(input: &PreflightInput) -> Vec<CheckResult> {
    match preflight(input).await {
        Ok(report) => report.results,
        Err(refused) => refused.results,
    }
}

fn of(results: &[CheckResult], check: Check) -> &CheckResult {
    results.iter().find(|one| one.check == check).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_pivot_in_turn_and_come_back_in_any_order() {
    for order in [[0, 1, 2], [2, 0, 1]] {
        let nodes = Nodes::boot().await;
        let load = Load::on(&nodes);
        let first = nodes.pivot(0).await;
        let made = nodes.daemonsets().await;
        let runs = [first, nodes.pivot(1).await, nodes.pivot(2).await];
        assert_eq!(nodes.daemonsets().await, made, "the others found what the first made");
        for (at, number) in order.into_iter().enumerate() {
            nodes.rollback(number, runs[number]).await;
            for other in &order[at + 1..] {
                nodes.sites[*other].is_self_hosted().await.unwrap();
            }
            let there = nodes.daemonsets().await;
            let expected = if at == 2 { vec![Value::Null; 3] } else { made.clone() };
            assert_eq!(there, expected, "the last one takes them away: {order:?}, {at}");
        }
        load.all_good();
        for site in &nodes.sites {
            site.is_as_before().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_gone_back_finds_the_daemonsets_again() {
    let nodes = Nodes::boot().await;
    let runs = [nodes.pivot(0).await, nodes.pivot(1).await];
    nodes.rollback(0, runs[0]).await;
    let made = nodes.daemonsets().await;
    let again = nodes.pivot(0).await;
    assert_eq!(nodes.daemonsets().await, made);
    nodes.rollback(1, runs[1]).await;
    nodes.rollback(0, again).await;
    for site in &nodes.sites {
        site.is_as_before().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_makes_another_daemonset_is_refused_by_its_field() {
    let nodes = Nodes::boot().await;
    nodes.pivot(0).await;
    let (site, name) = (&nodes.sites[1], Component::Scheduler.manifest_file());
    let image = site.manifests().read(name).unwrap().unwrap();
    let edited = image.with_content(image.content.replace("--leader-elect=true", "--leader-elect=1"));
    site.manifests().write(name, &edited).unwrap();
    let results = results(&site.preflight_input()).await;
    let said = of(&results, Check::Daemonset);
    assert_eq!(said.level, Level::Refuse);
    let expected =
        "on node-1: spec.containers[0].command: here \"--leader-elect=1\", there \"--leader-elect=true\"";
    assert!(said.seen.ends_with(expected), "{}", said.seen);
    nodes.sites[0].is_self_hosted().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_be_spared_is_refused() {
    let nodes = Nodes::boot().await;
    let site = &nodes.sites[0];
    let all = results(&site.preflight_input()).await;
    assert_eq!(of(&all, Check::Role).level, Level::Warn, "{:?}", of(&all, Check::Role));
    for check in [Check::ApiServers, Check::Etcd] {
        assert_eq!(of(&all, check).level, Level::Pass, "{:?}", of(&all, check));
    }
    site.simulator.alarm(Some(Alarm::NoSpace));
    let alarmed = results(&site.preflight_input()).await;
    assert!(of(&alarmed, Check::Etcd).seen.contains("NOSPACE"), "{:?}", of(&alarmed, Check::Etcd));
    site.simulator.alarm(None);
    nodes.sites[2].machine().power_off();
    let ignored = Ignored::of(["api-servers"]).unwrap();
    let lost = results(&PreflightInput { ignored, ..site.preflight_input() }).await;
    let servers = of(&lost, Check::ApiServers);
    assert_eq!((servers.level, servers.ignored), (Level::Warn, true), "{servers:?}");
    assert!(servers.seen.contains("that of node-3"), "{servers:?}");
    let etcd = of(&lost, Check::Etcd);
    assert_eq!(etcd.level, Level::Refuse, "a quorum cannot be overruled: {etcd:?}");
    assert!(etcd.seen.contains("2 of 3 are healthy"), "{etcd:?}");
}

/// Another node is lost after the checks of preflight: the last static server here stays until that node is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_lost_in_mid_run_holds_the_cut_up() {
    let nodes = Nodes::boot().await;
    let site = &nodes.sites[0];
    let resumed = nodes.held_up().await;
    for component in Component::ALL {
        let manifest = site.manifests().file(component.manifest_file());
        assert!(manifest.exists(), "{component} is static");
    }
    nodes.sites[2].machine().power_on();
    let ending = resumed.await.unwrap();
    assert_eq!(outcome(&ending), Some(Outcome::Completed), "{}", reason(&ending));
    site.is_self_hosted().await.unwrap();
}

/// The label starts the pods before the run has come to the DaemonSets. Its undo sees them off: the static servers stay
/// first in line meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_stops_at_the_label_leaves_no_pod_behind() {
    let nodes = Nodes::boot().await;
    nodes.pivot(0).await;
    let load = Load::on(&nodes);
    let site = &nodes.sites[1];
    let paused = nodes.paused(1, "label-node").await;
    let pods = Api::<Pod>::namespaced(site.machine().client(), "kube-system");
    let sets = "k8s-app in (self-hosted-kube-apiserver,self-hosted-kube-controller-manager,self-hosted-kube-scheduler)";
    let here = ListParams::default().labels(sets).fields("spec.nodeName=node-2");
    let started = async {
        while pods.list(&here).await.map_or(0, |pods| pods.items.len()) < 3 {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(SOON, started).await.expect("the label starts three pods");
    nodes.rollback(1, paused.run).await;
    assert_eq!(pods.list(&here).await.unwrap().items.len(), 0);
    load.all_good();
    nodes.sites[0].is_self_hosted().await.unwrap();
}

/// From the cluster alone: two nodes self-hosted, one static, and a run that has stopped in the middle.
#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_tells_what_each_of_its_nodes_is() {
    let nodes = Nodes::boot().await;
    let first = nodes.pivot(0).await;
    nodes.pivot(1).await;
    let look = async || judge(&gather(&nodes.sites[2].cluster).await.unwrap());
    let seen = look().await;
    let told: Vec<_> = seen.nodes.iter().map(|row| (row.node.as_str(), row.is)).collect();
    assert_eq!(told, [("node-1", Is::SelfHosted), ("node-2", Is::SelfHosted), ("node-3", Is::Static)]);
    for row in &seen.nodes {
        assert!(row.node_ready && row.components_ready.len() == 3, "{row:?}");
        assert!(row.attention.is_empty(), "{row:?}");
    }
    let run = seen.nodes[0].run.as_ref().unwrap();
    assert_eq!((run.run.clone(), run.kind.as_str()), (first.to_string(), "pivot"));
    assert_eq!((run.phase, seen.nodes[0].guard.state), (RunPhase::Completed, GuardSeen::Armed));
    assert!(seen.nodes[2].run.is_none() && seen.lock.is_none(), "{seen:?}");

    nodes.rollback(0, first).await;
    let settings = nodes.sites[2].preflight().await.unwrap().settings;
    let plan = plan::pivot(&settings, SOON).unwrap();
    let engine = nodes.sites[2].engine(&nodes.journals[2], settings).await.unwrap();
    let paused = engine.pause_after(["lock".into()]).start(plan).await.unwrap();
    let seen = look().await;
    let is: Vec<_> = seen.nodes.iter().map(|row| row.is).collect();
    assert_eq!(is, [Is::Static, Is::SelfHosted, Is::Static]);
    let phases: Vec<_> = seen.nodes.iter().filter_map(|row| Some(row.run.as_ref()?.phase)).collect();
    assert_eq!(phases, [RunPhase::RolledBack, RunPhase::Completed, RunPhase::Paused]);
    assert_eq!(seen.nodes[0].guard.state, GuardSeen::None, "its unit is gone");
    assert_eq!(seen.lock.unwrap().holder, format!("node-3/{}", paused.run));
    assert!(seen.nodes[2].attention[0].contains("is paused"), "{:?}", seen.nodes[2].attention);
}

/// The label is that of all three components: with it the DaemonSet's API server goes, which has the traffic.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_goes_back_between_the_cuts_sees_its_clients_off() {
    let nodes = Nodes::boot().await;
    nodes.pivot(0).await;
    let load = Load::on(&nodes);
    let (site, journal) = (&nodes.sites[1], &nodes.journals[1]);
    let settings = site.preflight().await.unwrap().settings;
    let plan = plan::pivot(&settings, SOON).unwrap();
    let engine = site.engine(journal, settings).await.unwrap();
    let paused = engine.pause_after(["retire-static/kube-scheduler".into()]).start(plan).await.unwrap();
    assert!(matches!(paused.phase, Phase::Paused { .. }), "{}", reason(&paused));
    nodes.rollback(1, paused.run).await;
    load.all_good();
    nodes.sites[0].is_self_hosted().await.unwrap();
}
