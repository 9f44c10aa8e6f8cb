//! The nodes of a cluster.

use super::drive::{Nodes, PodSeen, Unready};
use super::look::{NodeSeen, Own, look, name_of, nodes_of};
use super::pod::{PodOf, command, pod, pod_name};
use super::pod_state::PodState;
use super::record::Record;
use super::task::Task;
use crate::cluster::{Cluster, ClusterError, addresses, node_is_ready};
use crate::component::Component;
use crate::handover::elsewhere::server_not_ready;
use crate::host::Host;
use crate::manifest::Started;
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Node, Pod};
use std::net::SocketAddr;
use std::sync::Arc;

/// The key of the record. No node can have this name.
const RECORD_KEY: &str = "all_nodes";

/// The nodes of a cluster, and what is asked of them.
#[derive(Debug, Clone)]
pub struct InCluster {
    /// The API.
    pub cluster: Cluster,
    /// Asks the API servers directly.
    pub host: Arc<dyn Host>,
    /// What tells the node on which this process runs.
    pub own: Own,
    /// What is asked.
    pub task: Task,
    /// The image of the pods.
    pub image: String,
    /// The options for the command on each node.
    pub options: Vec<String>,
}

#[async_trait]
impl Nodes for InCluster {
    async fn look(&self) -> Result<Vec<NodeSeen>, ClusterError> {
        look(&self.cluster, &self.own).await
    }

    async fn unready(&self) -> Result<Vec<Unready>, ClusterError> {
        let pods = self.cluster.pods_labelled("").await?;
        let mut unready = Vec::new();
        for node in nodes_of(&self.cluster).await? {
            if let Some(why) = self.not_ready(&node, &pods).await {
                unready.push(Unready { node: name_of(&node), up: node_is_ready(&node), why });
            }
        }
        Ok(unready)
    }

    async fn pod(&self, node: &str) -> Result<Option<PodSeen>, ClusterError> {
        let Some(pod) = self.cluster.pod(&pod_name(node)).await? else { return Ok(None) };
        let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
        let runs = container.and_then(|container| container.command.clone()).unwrap_or_default();
        let is_going = pod.metadata.deletion_timestamp.is_some();
        Ok(Some(PodSeen {
            same: !is_going && runs == command(self.task, &self.options),
            state: PodState::of(&pod),
            uid: pod.metadata.uid.unwrap_or_default(),
        }))
    }

    async fn create(&self, node: &str) -> Result<(), ClusterError> {
        self.cluster.create_pod(&self.manifest(node)).await
    }

    async fn delete(&self, node: &str, uid: &str) -> Result<(), ClusterError> {
        self.cluster.delete_pod(&pod_name(node), uid).await
    }

    async fn keep(&self, record: &Record) -> Result<(), ClusterError> {
        self.cluster.keep(RECORD_KEY, record).await
    }
}

impl InCluster {
    /// The node's pod, as it is sent to the API.
    pub fn manifest(&self, node: &str) -> serde_json::Value {
        pod(&PodOf { task: self.task, node, image: &self.image, options: &self.options })
    }

    /// The record of the last command for all nodes, if the cluster keeps one.
    ///
    /// # Errors
    /// When the API cannot be asked, or keeps something that cannot be read.
    pub async fn record(&self) -> Result<Option<Record>, ClusterError> {
        self.cluster.kept(RECORD_KEY).await
    }

    /// Why the node's API server is not ready. `None` if it says that it is.
    async fn not_ready(&self, node: &Node, pods: &[Pod]) -> Option<String> {
        match addresses(node).first() {
            Some(address) => {
                let port = api_port(&name_of(node), pods);
                server_not_ready(self.host.as_ref(), SocketAddr::new(*address, port)).await
            }
            None => Some("the cluster knows no address of the node".to_owned()),
        }
    }
}

/// The port of the node's API server: what its pod's command line says.
pub(super) fn api_port(node: &str, pods: &[Pod]) -> u16 {
    let here = |pod: &&Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node);
    let containers =
        pods.iter().filter(here).flat_map(|pod| pod.spec.iter().flat_map(|spec| &spec.containers));
    let words = containers.map(|container| {
        [container.command.clone().unwrap_or_default(), container.args.clone().unwrap_or_default()].concat()
    });
    let mut servers = words.filter_map(|words| Started::of(&words));
    let server = servers.find(|started| started.component() == Component::ApiServer);
    let port = server.and_then(|server| server.flag("secure-port")?.parse().ok());
    port.unwrap_or(Component::ApiServer.default_port())
}
