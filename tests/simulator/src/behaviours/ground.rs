//! The node and cluster for the checks of behaviours, and the waits of these checks.

use super::super::program::flag_value;
use super::failed::Failed;
use super::names::{STASHED, stash};
use fulcrum_steps::cluster::config_hash;
use fulcrum_steps::host::{FileImage, Host, HostError, ManifestsDir};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The namespace for everything that a check makes.
pub(super) const NAMESPACE: &str = "kube-system";

/// The port of the second API server that some behaviours start.
pub const SECOND_PORT: u16 = 6444;

/// The speed of this world.
#[derive(Debug, Clone, Copy)]
pub struct Tempo {
    /// What should happen does so within this time.
    pub soon: Duration,
    /// The interval between looks.
    pub poll: Duration,
    /// What has not happened after this time does not happen: two rounds of anything that goes in rounds.
    pub quiet: Duration,
    /// A `minReadySeconds` that is longer than a pod takes to start, also on a busy machine.
    pub min_ready_seconds: u32,
    /// More than twice as long as those seconds take.
    pub twice_ready: Duration,
    /// The length of a watch that should end by itself.
    pub watch_seconds: u32,
}

impl Tempo {
    /// A rehearsal at its default pace.
    pub const REHEARSAL: Self = Self {
        soon: Duration::from_secs(10),
        poll: Duration::from_millis(2),
        quiet: Duration::from_millis(60),
        min_ready_seconds: 400,
        twice_ready: Duration::from_millis(900),
        watch_seconds: 1,
    };
    /// A kubeadm node. Its API servers look after their endpoints every 10 s. A kubelet whose API was away
    /// may take a minute to see it again, and a failed container waits as long.
    pub const NODE: Self = Self {
        soon: Duration::from_secs(180),
        poll: Duration::from_millis(250),
        quiet: Duration::from_secs(21),
        min_ready_seconds: 10,
        twice_ready: Duration::from_secs(25),
        watch_seconds: 5,
    };
}

/// A control-plane node with a static control plane, and its cluster.
#[derive(Clone)]
pub struct Ground {
    /// The API.
    pub client: Client,
    /// The API as a server on [`SECOND_PORT`] serves it. No server listens there until a behaviour starts
    /// one.
    pub second: Client,
    /// The directory where the kubelet looks for static pods.
    pub manifests: ManifestsDir,
    /// The machine.
    pub host: Arc<dyn Host>,
    /// The speed of this world.
    pub tempo: Tempo,
    /// The node's name.
    pub node: String,
    /// The cluster's other control-plane nodes.
    pub others: Vec<Other>,
    /// Its label `kubernetes.io/hostname`.
    pub(super) hostname: String,
    /// An image that is on the node, and whose process sleeps.
    pub(super) pause: String,
}

/// Another control-plane node of this cluster. Nothing but its API server can be reached from here.
#[derive(Clone)]
pub struct Other {
    /// Its name.
    pub node: String,
    /// The API, as the server on that node serves it.
    pub client: Client,
}

impl std::fmt::Debug for Ground {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ground").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Ground {
    /// Finds out which node this machine is, and which image of it sleeps.
    ///
    /// # Errors
    /// If this cannot be seen within [`Tempo::soon`]: the control plane is not static, or does not run.
    pub async fn survey(
        (client, second): (Client, Client),
        manifests: ManifestsDir,
        host: Arc<dyn Host>,
        tempo: Tempo,
    ) -> Result<Self, Failed> {
        let (node, hostname, pause) = (String::new(), String::new(), String::new());
        let others = Vec::new();
        let mut ground = Self { client, second, manifests, host, tempo, node, others, hostname, pause };
        // First removes what a killed behaviour may have left: nothing else can be seen before.
        ground.restore_stash()?;
        let port = ground.api_port()?;
        let node = ground.eventually("the node of this machine", async || {
            let listeners = ground.host.listeners(port).await.map_err(seen)?;
            let pods = ground.api::<Pod>().list(&ListParams::default()).await.map_err(seen)?;
            let serves = |pod: &&Pod| {
                let hash = config_hash(pod);
                hash.is_some() && listeners.iter().any(|l| l.process.pod_uid.as_deref() == hash)
            };
            let pod = pods.items.iter().find(serves).ok_or("no static pod serves the API here")?;
            let name =
                pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).ok_or("a pod without node")?;
            Api::<Node>::all(ground.client.clone()).get(&name).await.map_err(seen).and_then(|node| {
                let pause = pause_image(&node).ok_or("no image of the node is the sandbox's, pause")?;
                Ok((name, hostname_of(&node), pause))
            })
        });
        (ground.node, ground.hostname, ground.pause) = node.await?;
        Ok(ground)
    }

    /// This ground, with the cluster's other nodes.
    #[must_use]
    pub fn beside(self, others: Vec<Other>) -> Self {
        Self { others, ..self }
    }

    /// The names of all control-plane nodes.
    pub(super) fn node_names(&self) -> Vec<String> {
        let others = self.others.iter().map(|other| other.node.clone());
        std::iter::once(self.node.clone()).chain(others).collect()
    }

    pub(super) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// The objects as the second API server shows them.
    pub(super) fn second_api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.second.clone(), NAMESPACE)
    }

    /// A manifest of the control plane, as it is in the directory.
    pub(super) fn manifest(&self, component: &str) -> Result<FileImage, Failed> {
        let name = format!("{component}.yaml");
        let absent = || Failed::new(format!("{}", self.manifests.file(&name).display()), "it is not there");
        self.manifests.read(&name)?.ok_or_else(absent)
    }

    /// The value of a flag in such a manifest.
    pub(super) fn flag(&self, component: &str, flag: &str) -> Result<Option<String>, Failed> {
        let pod: Value = parse(&self.manifest(component)?)?;
        let words = pod["spec"]["containers"][0]["command"].as_array().cloned().unwrap_or_default();
        let words: Vec<String> = words.iter().filter_map(|w| w.as_str().map(Into::into)).collect();
        Ok(flag_value(&words, flag).map(Into::into))
    }

    /// The port on which the API server listens.
    pub(super) fn api_port(&self) -> Result<u16, Failed> {
        let flag = self.flag("kube-apiserver", "secure-port")?;
        Ok(flag.and_then(|port| port.parse().ok()).unwrap_or(6443))
    }

    /// Moves a component's manifest out of the way.
    pub(super) fn stash(&self, component: &str) -> Result<(), Failed> {
        let image = self.manifest(component)?;
        self.manifests.write(&stash(component), &image)?;
        self.manifests.remove(&format!("{component}.yaml"))?;
        Ok(())
    }

    /// Restores the manifests that a behaviour moved out of the way.
    pub(super) fn restore_stash(&self) -> Result<(), Failed> {
        for component in STASHED {
            let stash = stash(component);
            if let Some(image) = self.manifests.read(&stash)? {
                self.manifests.write(&format!("{component}.yaml"), &image)?;
                self.manifests.remove(&stash)?;
            }
        }
        Ok(())
    }

    /// Looks until the condition holds. `look` says what it saw instead.
    pub(super) async fn eventually<T>(
        &self,
        what: &str,
        mut look: impl AsyncFnMut() -> Result<T, String>,
    ) -> Result<T, Failed> {
        let end = Instant::now() + self.tempo.soon;
        let mut last = "nothing".to_owned();
        loop {
            match tokio::time::timeout_at(end, look()).await {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(seen)) => last = seen,
                Err(_) => {}
            }
            if Instant::now() >= end {
                let seen = format!("not within {:?}; last seen: {last}", self.tempo.soon);
                return Err(Failed::new(what, seen));
            }
            tokio::time::sleep(self.tempo.poll).await;
        }
    }

    /// The pids of a pod's processes, sorted.
    pub(super) async fn pids(&self, pod_uid: &str) -> Result<Vec<u32>, HostError> {
        let processes = self.host.pod_processes(pod_uid).await?;
        let mut pids: Vec<u32> = processes.iter().map(|process| process.pid).collect();
        pids.sort_unstable();
        Ok(pids)
    }

    /// Waits until no process of the pod is left.
    pub(super) async fn no_process(&self, pod_uid: &str) -> Result<(), Failed> {
        self.eventually(&format!("the processes of pod {pod_uid} to end"), async || {
            let pids = self.pids(pod_uid).await.map_err(seen)?;
            if pids.is_empty() { Ok(()) } else { Err(format!("{pids:?}")) }
        })
        .await
    }
}

/// An error as a sight.
pub(super) fn seen(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A manifest, parsed.
pub(super) fn parse(image: &FileImage) -> Result<Value, Failed> {
    serde_saphyr::from_str(&image.content)
        .map_err(|error| Failed::new("reading a manifest of the control plane", error.to_string()))
}

fn hostname_of(node: &Node) -> String {
    let labels = node.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get("kubernetes.io/hostname").cloned()).unwrap_or_default()
}

fn pause_image(node: &Node) -> Option<String> {
    let images = node.status.as_ref()?.images.iter().flatten();
    let mut names = images.flat_map(|image| image.names.iter().flatten());
    // A name with a digest may not be on the node under that digest.
    names.find(|name| name.contains("/pause:") && !name.contains('@')).cloned()
}
