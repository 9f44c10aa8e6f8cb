//! All nodes of a simulated cluster by one command. Each node's kubelet starts the pod, and `Hosts` does what the pod
//! asks its host for.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

use fulcrum_simulator::rehearsal::{Hosts, Load, POLL, SOON, Setup, SimulatedSite, Version};
use fulcrum_steps::all_nodes::{
    Driver, Happened, InCluster, Limits, NodeIs, Nodes, Own, Progress, Stop, Task, pod_name,
};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

const IMAGE: &str = "docker.io/library/fulcrum:test";

/// Three nodes, what runs on their hosts, and clients that read all the while.
struct World {
    sites: Arc<Vec<SimulatedSite>>,
    load: Load,
    _hosts: Hosts,
    _root: TempDir,
}

impl World {
    async fn boot() -> Self {
        let root = tempfile::tempdir().unwrap();
        let setup = Setup::built_in(Version::DEFAULT).unwrap().with_nodes(3);
        let sites = Arc::new(SimulatedSite::boot_all(&setup, root.path()).await.unwrap());
        let (load, _hosts) = (Load::start(&sites[0].simulator, "all", POLL), Hosts::start(&sites));
        Self { sites, load, _hosts, _root: root }
    }

    fn nodes(&self, task: Task, image: &str) -> InCluster {
        InCluster {
            cluster: self.sites[0].cluster.clone(),
            host: Arc::clone(&self.sites[0].host),
            own: Own::default(),
            task,
            image: image.to_owned(),
            options: vec!["--yes".to_owned()],
        }
    }

    /// Drives to the end. `said` gets the nodes whose turn came.
    async fn drive(&self, task: Task, image: &str, said: &Mutex<Vec<String>>) -> Result<(), Stop> {
        let nodes = self.nodes(task, image);
        let limits = Limits {
            poll: POLL,
            api: SOON,
            pod: SOON,
            run: SOON * 4,
            guard: SOON,
            ready: SOON,
            settle: Duration::from_millis(20),
        };
        let say = |what: Happened<'_>| match what {
            Happened::Begun(node) => said.lock().unwrap().push(node.to_owned()),
            Happened::Adopted(node) => said.lock().unwrap().push(format!("{node} again")),
            Happened::NotKept(error) => panic!("{error}"),
            _ => {}
        };
        let (program, nodes) = ("fulcrum test", &nodes);
        Driver { nodes, task, program, image, without_down: false, limits, say: &say }.drive().await
    }

    async fn are(&self, expected: NodeIs) {
        for node in self.nodes(Task::Pivot, IMAGE).look().await.unwrap() {
            assert_eq!(node.is, expected, "{}", node.name);
        }
    }

    /// No pod of a command is left.
    async fn no_pod_is_left(&self) {
        let pods = Api::<Pod>::namespaced(self.sites[0].machine().client(), "kube-system");
        for site in self.sites.iter() {
            let name = pod_name(site.machine().name());
            let gone = async {
                while pods.get_opt(&name).await.unwrap().is_some() {
                    tokio::time::sleep(POLL).await;
                }
            };
            tokio::time::timeout(SOON, gone).await.unwrap_or_else(|_| panic!("{name} is left"));
        }
    }

    /// Requires that requests were answered, and that none failed.
    fn all_good(self) {
        let asked = self.load.take("over").remove(0).all();
        assert!(asked.answered > 0 && asked.failures() == 0, "{asked:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_pivots_all_nodes_and_one_brings_them_back() {
    let world = World::boot().await;
    let leads = world.nodes(Task::Pivot, IMAGE).look().await.unwrap();
    let leads: Vec<String> = leads.into_iter().filter(|node| node.leads).map(|node| node.name).collect();
    assert!(!leads.is_empty() && leads.len() < 3, "{leads:?}");
    let said = Mutex::<Vec<String>>::default();
    world.drive(Task::Pivot, IMAGE, &said).await.unwrap();
    world.are(NodeIs::SelfHosted).await;
    for site in world.sites.iter() {
        site.is_self_hosted().await.unwrap();
    }
    let order = std::mem::take(&mut *said.lock().unwrap());
    assert_eq!(order.len(), 3);
    assert!(order[3 - leads.len()..].iter().all(|node| leads.contains(node)), "{order:?}, leaders {leads:?}");
    let record = world.nodes(Task::Pivot, IMAGE).record().await.unwrap().unwrap();
    assert_eq!((record.command, record.order), (Task::Pivot, order));
    assert!(record.nodes.values().all(|node| node.state == Progress::Done), "{:?}", record.nodes);

    world.drive(Task::Pivot, IMAGE, &said).await.unwrap();
    world.drive(Task::Resume, IMAGE, &said).await.unwrap();
    assert_eq!(said.lock().unwrap().len(), 0, "nothing is left to do");

    world.drive(Task::Rollback, IMAGE, &said).await.unwrap();
    world.are(NodeIs::Static).await;
    for site in world.sites.iter() {
        site.is_static().await.unwrap();
    }
    world.no_pod_is_left().await;
    world.all_good();
}

/// The command is killed while the second node is at work, and that node's pod, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_of_the_command_and_of_its_pod_loses_nothing() {
    let world = World::boot().await;
    let said = Mutex::<Vec<String>>::default();
    let second_runs = async {
        let pods = Api::<Pod>::namespaced(world.sites[0].machine().client(), "kube-system");
        loop {
            let second = said.lock().unwrap().get(1).map(|node: &String| pod_name(node));
            let pod = match &second {
                Some(name) => pods.get_opt(name).await.unwrap(),
                None => None,
            };
            let phase = pod.and_then(|pod| pod.status?.phase);
            if phase.as_deref() == Some("Running") {
                return second.unwrap();
            }
            tokio::time::sleep(POLL).await;
        }
    };
    let pod = tokio::select! {
        ended = world.drive(Task::Pivot, IMAGE, &said) => panic!("{ended:?}"),
        pod = tokio::time::timeout(SOON * 4, second_runs) => pod.unwrap(),
    };
    let pods = Api::<Pod>::namespaced(world.sites[0].machine().client(), "kube-system");
    pods.delete(&pod, &kube::api::DeleteParams::default().grace_period(0)).await.unwrap();
    let again = Mutex::<Vec<String>>::default();
    world.drive(Task::Pivot, IMAGE, &again).await.unwrap();
    world.are(NodeIs::SelfHosted).await;
    let (first, then) = (said.into_inner().unwrap(), again.into_inner().unwrap());
    assert!(!then.contains(&first[0]), "the first node was done: {first:?}, {then:?}");
    world.no_pod_is_left().await;
    world.all_good();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_no_node_has_changes_nothing() {
    let world = World::boot().await;
    let said = Mutex::<Vec<String>>::default();
    let stop = world.drive(Task::Pivot, "registry.invalid/fulcrum:1", &said).await.unwrap_err().to_string();
    assert!(stop.contains("the pod on node-") && stop.contains("load the image"), "{stop}");
    world.are(NodeIs::Static).await;
    world.no_pod_is_left().await;
    world.all_good();
}
