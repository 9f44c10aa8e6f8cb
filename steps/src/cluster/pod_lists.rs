//! Lists of pods.

use super::client::{Cluster, within};
use super::error::ClusterError;
use super::names::NAMESPACE;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;

impl Cluster {
    /// The pods of the control plane's namespace with these labels (selector syntax, "" for all) on
    /// this node.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub(crate) async fn pods_on(&self, node: &str, labels: &str) -> Result<Vec<Pod>, ClusterError> {
        let which = ListParams::default().labels(labels).fields(&format!("spec.nodeName={node}"));
        let attempt = format!("list the pods of {NAMESPACE} on node {node}{}", with(labels));
        Ok(within(&attempt, self.pods().list(&which)).await?.items)
    }

    /// The pods of the control plane's namespace with these labels, on any node or none.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn pods_labelled(&self, labels: &str) -> Result<Vec<Pod>, ClusterError> {
        let which = ListParams::default().labels(labels);
        Ok(within(&format!("list the pods of {NAMESPACE}{}", with(labels)), self.pods().list(&which))
            .await?
            .items)
    }

    /// The pods of every namespace that are on this node.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub(crate) async fn pods_of_node(&self, node: &str) -> Result<Vec<Pod>, ClusterError> {
        let pods: Api<Pod> = Api::all(self.client.clone());
        let which = ListParams::default().fields(&format!("spec.nodeName={node}"));
        Ok(within(&format!("list the pods of node {node}"), pods.list(&which)).await?.items)
    }
}

/// The labels, for a message.
fn with(labels: &str) -> String {
    if labels.is_empty() { String::new() } else { format!(" with {labels}") }
}
