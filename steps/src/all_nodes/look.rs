//! What each control-plane node is, as the cluster tells it.

use crate::cluster::{
    Cluster, ClusterError, NodeEntry, OPT_IN_LABEL, ROLE_LABEL, ROLE_LABEL_BEFORE_1_24, addresses,
    config_hash, is_ready, node_is_ready, node_of,
};
use crate::component::Component;
use crate::plan::{FALL_BACK, HAND_OVER, RENEW_STANDBY, ROLL_CERTS, shown};
use crate::site::Site;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A control-plane node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSeen {
    /// Its name.
    pub name: String,
    /// Where the others reach it. `None` if the cluster knows no address.
    pub address: Option<IpAddr>,
    /// What it is.
    pub is: NodeIs,
    /// Whether its kubelet says that it is Ready. One that is not starts no pod.
    pub up: bool,
    /// Whether a process of it holds a leader's lease.
    pub leads: bool,
    /// Whether this process runs on it.
    pub own: bool,
}

impl NodeSeen {
    /// Whether an unfinished run on it has the lock, for which every other run waits.
    pub(super) fn has_the_lock(&self) -> bool {
        matches!(self.is, NodeIs::Unfinished { locked: true, .. })
    }
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeIs {
    /// Its control plane runs from static pods.
    Static,
    /// Its control plane runs from the DaemonSets, and all of it is Ready.
    SelfHosted,
    /// A run on it is not over.
    Unfinished {
        /// The run's id.
        run: String,
        /// Whether the run has the lock. One that has not waits for the lock, was cut short before, or was robbed; or it is
        /// over, and the cluster has not heard of that.
        locked: bool,
    },
    /// Its guard is at work, and brings it back by itself.
    Recovering {
        /// The guard's run.
        run: String,
    },
    /// It runs from the DaemonSets, and its static pods serve beside them: those of its standby, after a boot or a fallback.
    FallenBack,
    /// It bears the label of self-hosted nodes, and so many of the three components are not Ready there.
    NotReady {
        /// How many.
        components: usize,
    },
}

impl NodeIs {
    /// Whether the node's guard brings it to the DaemonSets by itself, or is to.
    pub(super) fn comes_back(&self) -> bool {
        matches!(self, Self::Recovering { .. } | Self::FallenBack | Self::NotReady { .. })
    }
}

impl std::fmt::Display for NodeIs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Static => f.write_str("static"),
            Self::SelfHosted => f.write_str("self-hosted"),
            Self::Unfinished { run, .. } => write!(f, "run {run} is unfinished"),
            Self::Recovering { run } => write!(f, "its guard is at work (run {run})"),
            Self::FallenBack => f.write_str("its static pods serve beside the DaemonSets'"),
            Self::NotReady { components } => {
                write!(f, "labelled as self-hosted, and {components} of 3 components are not Ready")
            }
        }
    }
}

/// What tells the node on which this process runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Own {
    /// The machine's id (`/etc/machine-id`).
    pub machine_id: String,
    /// The machine's name.
    pub hostname: String,
}

/// What the pods of a node tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pods {
    /// The components that are Ready in pods of the DaemonSets.
    pub(super) ready: BTreeSet<Component>,
    /// Those that have a static pod.
    pub(super) in_static: BTreeSet<Component>,
}

impl NodeIs {
    /// What a node is, by the lock's holder, its entry in the roll call, the node's label, and its pods.
    pub(super) fn of(
        node: &str,
        holder: Option<&str>,
        entry: Option<&NodeEntry>,
        labelled: bool,
        pods: &Pods,
    ) -> Self {
        let holds = holder.filter(|holder| node_of(holder) == node);
        let holds = holds.map(|holder| holder.split_once('/').map_or("?", |(_, run)| run));
        // A renewal of the standby changes nothing of what the node is.
        let said = entry.filter(|entry| !entry.phase.is_over() && entry.kind != RENEW_STANDBY);
        let guards = said.is_some_and(|entry| {
            entry.phase.in_flight()
                && [HAND_OVER, ROLL_CERTS, shown(FALL_BACK)].contains(&entry.kind.as_str())
        });
        let run = holds.or(said.map(|entry| entry.run.as_str()));
        match (run, labelled, Component::ALL.len() - pods.ready.len()) {
            (Some(run), ..) if guards => Self::Recovering { run: run.to_owned() },
            (Some(run), ..) => Self::Unfinished { run: run.to_owned(), locked: holds.is_some() },
            (None, false, _) => Self::Static,
            (None, true, 0) if pods.in_static.is_empty() => Self::SelfHosted,
            (None, true, 0) => Self::FallenBack,
            (None, true, components) => Self::NotReady { components },
        }
    }
}

/// The control-plane nodes.
pub(super) async fn nodes_of(cluster: &Cluster) -> Result<Vec<Node>, ClusterError> {
    let nodes = cluster.nodes_with(ROLE_LABEL).await?;
    match nodes.is_empty() {
        true => cluster.nodes_with(ROLE_LABEL_BEFORE_1_24).await,
        false => Ok(nodes),
    }
}

/// Looks at every control-plane node.
pub(super) async fn look(cluster: &Cluster, own: &Own) -> Result<Vec<NodeSeen>, ClusterError> {
    let nodes = nodes_of(cluster).await?;
    let holder = cluster.lock_holder().await?;
    let roll_call = cluster.roll_call().await?;
    let pods = pods_of(cluster, &nodes).await?;
    let mut leaders = Vec::new();
    for name in Component::ALL.into_iter().filter_map(Component::lease_name) {
        leaders.extend(cluster.lease(name).await?.as_ref().and_then(leader));
    }
    let (own, none) = (own_node(&nodes, own), Pods::default());
    Ok(nodes
        .iter()
        .map(|node| {
            let name = name_of(node);
            // What cannot be read is written anew by the next run. What is older than the node is of another machine.
            let entry = roll_call.get(&name).and_then(|answer| answer.as_ref().ok());
            let made = node.metadata.creation_timestamp.as_ref().map(|made| made.0);
            let entry = entry
                .filter(|entry| entry.written.is_none_or(|written| made.is_none_or(|made| written >= made)));
            let pods = pods.get(&name).unwrap_or(&none);
            NodeSeen {
                is: NodeIs::of(&name, holder.as_deref(), entry, is_labelled(node), pods),
                up: node_is_ready(node),
                address: addresses(node).first().copied(),
                leads: leaders.iter().any(|host| *host == name || *host == hostname(node)),
                own: own.as_ref() == Some(&name),
                name,
            }
        })
        .collect())
}

/// By node. The static pods only of those that bear the label: what the others are does not depend on them.
async fn pods_of(cluster: &Cluster, nodes: &[Node]) -> Result<BTreeMap<String, Pods>, ClusterError> {
    let mut pods: BTreeMap<String, Pods> = BTreeMap::new();
    for component in Component::ALL {
        let hosted = cluster.pods_labelled(&Site::pod_labels(component)).await?;
        for pod in hosted.iter().filter(|pod| is_ready(pod)) {
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
            pods.entry(node).or_default().ready.insert(component);
        }
        for name in nodes.iter().filter(|node| is_labelled(node)).map(name_of) {
            let mirror = cluster.pod(&format!("{component}-{name}")).await?;
            if mirror.is_some_and(|pod| config_hash(&pod).is_some()) {
                pods.entry(name).or_default().in_static.insert(component);
            }
        }
    }
    Ok(pods)
}

fn is_labelled(node: &Node) -> bool {
    node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(OPT_IN_LABEL))
}

pub(super) fn name_of(node: &Node) -> String {
    node.metadata.name.clone().unwrap_or_default()
}

fn hostname(node: &Node) -> &str {
    let labels = node.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get("kubernetes.io/hostname")).map_or("", String::as_str)
}

/// The host whose process leads. A process is named `<hostname>_<uuid>`.
fn leader(lease: &Lease) -> Option<String> {
    let holder = lease.spec.as_ref()?.holder_identity.as_ref()?;
    holder.rsplit_once('_').map(|(host, _)| host.to_owned())
}

/// The node with this machine's id. Machines that were copied share an id: then the one with its name.
pub(super) fn own_node(nodes: &[Node], own: &Own) -> Option<String> {
    let id = |node: &&Node| {
        let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
        info.is_some_and(|info| !own.machine_id.is_empty() && info.machine_id == own.machine_id)
    };
    let same: Vec<&Node> = nodes.iter().filter(id).collect();
    let named = |node: &&&Node| {
        !own.hostname.is_empty() && (name_of(node) == own.hostname || hostname(node) == own.hostname)
    };
    match same.as_slice() {
        [] => None,
        [node] => Some(name_of(node)),
        several => several.iter().find(named).map(|node| name_of(node)),
    }
}
