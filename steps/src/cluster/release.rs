//! What the cluster says about its release and its clients', for an upgrade.

use super::client::{Cluster, within};
use super::error::{Cause, ClusterError};
use super::names::NAMESPACE;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;

/// Where kubeadm keeps the cluster's configuration.
const KUBEADM_CONFIG: &str = "kubeadm-config";
/// The key of it.
pub(crate) const CLUSTER_CONFIGURATION: &str = "ClusterConfiguration";

/// Where kubeadm notes a node's container runtime.
const RUNTIME_ANNOTATION: &str = "kubeadm.alpha.kubernetes.io/cri-socket";

impl Cluster {
    /// Each node's name, and the version of its kubelet as the kubelet has written it.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn kubelets(&self) -> Result<Vec<(String, String)>, ClusterError> {
        let version = |node: &k8s_openapi::api::core::v1::Node| {
            let info = node.status.as_ref()?.node_info.as_ref()?;
            Some((node.metadata.name.clone()?, info.kubelet_version.clone()))
        };
        Ok(self.nodes_with("").await?.iter().filter_map(version).collect())
    }

    /// The socket of a node's container runtime, as kubeadm has noted it. `None` if it has not.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn runtime_of(&self, node: &str) -> Result<Option<String>, ClusterError> {
        let found = self.node(node).await?;
        Ok(found.and_then(|node| node.metadata.annotations?.remove(RUNTIME_ANNOTATION)))
    }

    /// kubeadm's `ClusterConfiguration`. `None` if the cluster is not kubeadm's.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn kubeadm_configuration(&self) -> Result<Option<String>, ClusterError> {
        Ok(self.kubeadm_config().await?.and_then(|map| map.data?.remove(CLUSTER_CONFIGURATION)))
    }

    /// The ConfigMap that has it. `None` if there is none.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub(crate) async fn kubeadm_config(&self) -> Result<Option<ConfigMap>, ClusterError> {
        let attempt = format!("get ConfigMap {NAMESPACE}/{KUBEADM_CONFIG}");
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), NAMESPACE);
        within(&attempt, maps.get_opt(KUBEADM_CONFIG)).await
    }

    /// Replaces that ConfigMap, if it is still the version that `map` was made from.
    ///
    /// # Errors
    /// When the API server cannot be asked, or somebody has changed it meanwhile (a conflict).
    pub(crate) async fn replace_kubeadm_config(&self, map: &ConfigMap) -> Result<ConfigMap, ClusterError> {
        let attempt = format!("replace ConfigMap {NAMESPACE}/{KUBEADM_CONFIG}");
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), NAMESPACE);
        let parameters = PostParams { field_manager: Some("fulcrum".to_owned()), ..PostParams::default() };
        within(&attempt, maps.replace(KUBEADM_CONFIG, &parameters, map)).await
    }

    /// The metrics of the API server that answers.
    ///
    /// # Errors
    /// When the API server cannot be asked, or refuses.
    pub async fn metrics(&self) -> Result<String, ClusterError> {
        let attempt = "read the API server's metrics";
        let request = http::Request::get("/metrics").body(Vec::new()).map_err(|error| ClusterError {
            attempt: attempt.to_owned(),
            cause: Cause::Unreadable(error.to_string()),
        })?;
        within(attempt, self.client.request_text(request)).await
    }
}
