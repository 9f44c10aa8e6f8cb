//! The roll call: ConfigMap `kube-system/fulcrum`, one key for each node. With it every node can be told from the
//! cluster alone, and an older or a shorter journal on a node shows.

use super::client::{Cluster, within};
use super::error::{Cause, ClusterError};
use super::names::{NAMESPACE, ROLL_CALL_CONFIG_MAP};
use super::node_entry::NodeEntry;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use std::collections::BTreeMap;

/// How often an update begins anew because another node, or another process on this one, was faster.
const TRIES: usize = 5;

/// What a key of the roll call says: the entry, or why it cannot be read.
pub type Answer = Result<NodeEntry, String>;

impl Cluster {
    /// Changes a node's entry in the roll call, and leaves the others as they are. What the entry says beside that
    /// stays: a run and the guard write to the same one. An entry that cannot be read is written anew.
    ///
    /// # Errors
    /// When the API server cannot be asked, or refuses.
    pub async fn update_entry(
        &self,
        node: &str,
        change: impl Fn(&mut NodeEntry),
    ) -> Result<(), ClusterError> {
        let attempt = format!("write the entry of {node} in ConfigMap {NAMESPACE}/{ROLL_CALL_CONFIG_MAP}");
        let maps = self.config_maps();
        let mut tries = TRIES;
        loop {
            tries -= 1;
            let found = within(&attempt, maps.get_opt(ROLL_CALL_CONFIG_MAP)).await?;
            let before = found.iter().flat_map(|map| &map.data).find_map(|data| data.get(node));
            let mut entry = before.and_then(|text| NodeEntry::parse(text).ok()).unwrap_or_default();
            change(&mut entry);
            let text = serde_json::to_string(&entry).map_err(|error| ClusterError {
                attempt: attempt.clone(),
                cause: Cause::Unreadable(error.to_string()),
            })?;
            let written = match found {
                Some(map) => {
                    // With the version that was read: a change in between makes this a conflict.
                    let version = map.metadata.resource_version;
                    let patch = json!({ "metadata": { "resourceVersion": version }, "data": { node: text } });
                    let parameters = PatchParams::default();
                    let patch = Patch::Merge(patch);
                    within(&attempt, maps.patch(ROLL_CALL_CONFIG_MAP, &parameters, &patch)).await
                }
                None => {
                    let mut map = ConfigMap::default();
                    map.metadata.name = Some(ROLL_CALL_CONFIG_MAP.to_owned());
                    map.data = Some([(node.to_owned(), text)].into());
                    within(&attempt, maps.create(&PostParams::default(), &map)).await
                }
            };
            match written {
                Err(error) if (error.is_conflict() || error.code() == Some(404)) && tries > 0 => {}
                other => return other.map(|_| ()),
            }
        }
    }

    /// The roll call: what the cluster keeps of each node. Keys with a character that no node's name has are not
    /// of nodes.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn roll_call(&self) -> Result<BTreeMap<String, Answer>, ClusterError> {
        let attempt = format!("get ConfigMap {NAMESPACE}/{ROLL_CALL_CONFIG_MAP}");
        let found = within(&attempt, self.config_maps().get_opt(ROLL_CALL_CONFIG_MAP)).await?;
        let data = found.and_then(|map| map.data).unwrap_or_default();
        let of_a_node = |(name, _): &(String, String)| is_node_name(name);
        let read = |(name, text): (String, String)| {
            (name, NodeEntry::parse(&text).map_err(|error| error.to_string()))
        };
        Ok(data.into_iter().filter(of_a_node).map(read).collect())
    }

    /// What the cluster keeps of a node. `None` if it keeps nothing.
    ///
    /// # Errors
    /// When the API server cannot be asked, or keeps something that cannot be read.
    pub async fn entry_of(&self, node: &str) -> Result<Option<NodeEntry>, ClusterError> {
        let attempt = format!("read the entry of {node} in ConfigMap {NAMESPACE}/{ROLL_CALL_CONFIG_MAP}");
        let entry = self.roll_call().await?.remove(node).transpose();
        entry.map_err(|error| ClusterError { attempt, cause: Cause::Unreadable(error) })
    }

    fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }
}

/// Whether a node can have this name (RFC 1123). Other keys of the ConfigMap are kept apart by their names.
fn is_node_name(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.'))
}
