//! What the cluster keeps for a command: a key of ConfigMap `kube-system/fulcrum` that is no node's.

use super::client::{Cluster, within};
use super::error::{Cause, ClusterError};
use super::names::{NAMESPACE, ROLL_CALL_CONFIG_MAP};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

impl Cluster {
    /// Keeps a value under this key, and leaves the other keys as they are.
    ///
    /// # Errors
    /// When the API server cannot be asked, or refuses.
    pub(crate) async fn keep(&self, key: &str, value: &impl Serialize) -> Result<(), ClusterError> {
        let attempt = format!("write {key} into ConfigMap {NAMESPACE}/{ROLL_CALL_CONFIG_MAP}");
        let text = serde_json::to_string(value).map_err(|error| unreadable(&attempt, &error))?;
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), NAMESPACE);
        let (patch, parameters) = (Patch::Merge(json!({ "data": { key: text } })), PatchParams::default());
        let patched = || within(&attempt, maps.patch(ROLL_CALL_CONFIG_MAP, &parameters, &patch));
        match patched().await {
            Err(error) if error.code() == Some(404) => {}
            other => return other.map(|_| ()),
        }
        let mut map = ConfigMap::default();
        map.metadata.name = Some(ROLL_CALL_CONFIG_MAP.to_owned());
        map.data = Some([(key.to_owned(), text)].into());
        match within(&attempt, maps.create(&PostParams::default(), &map)).await {
            // A node has made it meanwhile.
            Err(error) if error.is_conflict() => patched().await.map(|_| ()),
            other => other.map(|_| ()),
        }
    }

    /// What is kept under this key.
    ///
    /// # Errors
    /// When the API server cannot be asked, or the value cannot be read.
    pub(crate) async fn kept<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, ClusterError> {
        let attempt = format!("read {key} from ConfigMap {NAMESPACE}/{ROLL_CALL_CONFIG_MAP}");
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), NAMESPACE);
        let found = within(&attempt, maps.get_opt(ROLL_CALL_CONFIG_MAP)).await?;
        let text = found.and_then(|map| map.data).and_then(|mut data| data.remove(key));
        let read = text.map(|text| serde_json::from_str(&text)).transpose();
        read.map_err(|error| unreadable(&attempt, &error))
    }

    /// Creates a pod of the control plane's namespace. No error if there is one of that name.
    ///
    /// # Errors
    /// When the API server cannot be asked, or refuses.
    pub(crate) async fn create_pod(&self, pod: &Value) -> Result<(), ClusterError> {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let attempt = format!("create pod {NAMESPACE}/{name}");
        let pod: Pod = serde_json::from_value(pod.clone()).map_err(|error| unreadable(&attempt, &error))?;
        match within(&attempt, self.pods().create(&PostParams::default(), &pod)).await {
            Err(error) if error.is_conflict() => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

fn unreadable(attempt: &str, error: &serde_json::Error) -> ClusterError {
    ClusterError { attempt: attempt.to_owned(), cause: Cause::Unreadable(error.to_string()) }
}
