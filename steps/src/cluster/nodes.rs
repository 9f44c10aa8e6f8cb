//! The nodes of the cluster, by label.

use super::client::{Cluster, within};
use super::error::ClusterError;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;
use std::net::IpAddr;

impl Cluster {
    /// The nodes that bear these labels (selector syntax).
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub(crate) async fn nodes_with(&self, labels: &str) -> Result<Vec<Node>, ClusterError> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let which = ListParams::default().labels(labels);
        Ok(within(&format!("list the nodes labelled {labels}"), nodes.list(&which)).await?.items)
    }

    /// The names of the nodes that bear this label.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn nodes_labelled(&self, label: &str) -> Result<Vec<String>, ClusterError> {
        let nodes = self.nodes_with(label).await?;
        Ok(nodes.into_iter().filter_map(|node| node.metadata.name).collect())
    }
}

/// Whether its kubelet says that the node is Ready.
pub(crate) fn node_is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The node's own addresses, internal ones first. The kubelet's `status.hostIP` is the first.
pub(crate) fn addresses(node: &Node) -> Vec<IpAddr> {
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let mut addresses: Vec<(bool, IpAddr)> = addresses
        .filter_map(|address| Some((address.type_ != "InternalIP", address.address.parse().ok()?)))
        .collect();
    addresses.sort_by_key(|(external, _)| *external);
    addresses.into_iter().map(|(_, address)| address).collect()
}
