//! What the cluster keeps of the nodes' journals: ConfigMap `kube-system/fulcrum`, one key for each node. With it
//! an older or a shorter journal on a node shows.

use super::client::{Cluster, within};
use super::error::{Cause, ClusterError};
use super::names::{HEADS_CONFIG_MAP, NAMESPACE};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// What the cluster keeps of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeHead {
    /// The run that has ended or paused last.
    pub run: String,
    /// How it stands.
    pub phase: String,
    /// The program that worked on it.
    pub program: String,
    /// What the node has signed last (C2SP checkpoint).
    pub checkpoint: String,
    /// The public half of the key that has signed it (`NAME+ID+BASE64`). Empty: an earlier program did not say.
    #[serde(default)]
    pub key: String,
}

impl Cluster {
    /// Records what a node has signed, for later comparison.
    ///
    /// # Errors
    /// When the API server cannot be asked, or refuses.
    pub async fn record_head(&self, node: &str, head: &NodeHead) -> Result<(), ClusterError> {
        let attempt = format!("record the journal's head in ConfigMap {NAMESPACE}/{HEADS_CONFIG_MAP}");
        let unreadable = |error: serde_json::Error| ClusterError {
            attempt: attempt.clone(),
            cause: Cause::Unreadable(error.to_string()),
        };
        let text = serde_json::to_string(head).map_err(unreadable)?;
        let patch = Patch::Merge(json!({ "data": { node: text } }));
        let (maps, parameters) = (self.config_maps(), PatchParams::default());
        let patched = || within(&attempt, maps.patch(HEADS_CONFIG_MAP, &parameters, &patch));
        match patched().await {
            Err(error) if error.code() == Some(404) => {}
            other => return other.map(|_| ()),
        }
        let mut map = ConfigMap::default();
        map.metadata.name = Some(HEADS_CONFIG_MAP.to_owned());
        map.data = Some([(node.to_owned(), text)].into());
        match within(&attempt, maps.create(&PostParams::default(), &map)).await {
            // Another node has made it meanwhile.
            Err(error) if error.is_conflict() => patched().await.map(|_| ()),
            other => other.map(|_| ()),
        }
    }

    /// What the cluster keeps of a node's journal. `None` if it keeps nothing.
    ///
    /// # Errors
    /// When the API server cannot be asked, or keeps something that cannot be read.
    pub async fn head_of(&self, node: &str) -> Result<Option<NodeHead>, ClusterError> {
        let attempt = format!("get ConfigMap {NAMESPACE}/{HEADS_CONFIG_MAP}");
        let found = within(&attempt, self.config_maps().get_opt(HEADS_CONFIG_MAP)).await?;
        let text = found.and_then(|map| map.data).and_then(|mut data| data.remove(node));
        let read = |text: String| serde_json::from_str(&text);
        let read = text.map(read).transpose();
        read.map_err(|error| ClusterError { attempt, cause: Cause::Unreadable(error.to_string()) })
    }

    fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }
}
