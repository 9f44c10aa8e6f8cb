//! A pod that is on its way out.

use super::client::Cluster;
use super::error::ClusterError;
use super::pods::is_going;
use super::watching::{WATCH_SECONDS, next, soon};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, WatchEvent, WatchParams};

impl Cluster {
    /// Waits until a pod with these labels on this node is being deleted. Returns as soon as the kubelet is
    /// told, a moment before it tells the pod's processes to end.
    ///
    /// # Errors
    /// When the API server cannot be asked, or cuts the watch. The caller then asks again.
    pub(crate) async fn pod_that_goes(&self, node: &str, labels: &str) -> Result<Pod, ClusterError> {
        let fields = format!("spec.nodeName={node}");
        let which = ListParams::default().labels(labels).fields(&fields);
        let watched = WatchParams::default().labels(labels).fields(&fields).timeout(WATCH_SECONDS);
        let (pods, watching) = (self.pods(), format!("watch the pods {labels} on node {node}"));
        loop {
            let listed =
                soon(&format!("list the pods with {labels} on node {node}"), pods.list(&which)).await?;
            if let Some(pod) = listed.items.into_iter().find(is_going) {
                return Ok(pod);
            }
            let version = listed.metadata.resource_version.unwrap_or_default();
            let events = soon(&watching, pods.watch(&watched, &version)).await?;
            let mut events = std::pin::pin!(events);
            while let Some(event) = next(&watching, &mut events).await? {
                match event {
                    WatchEvent::Added(pod) | WatchEvent::Modified(pod) if is_going(&pod) => return Ok(pod),
                    WatchEvent::Error(status) => {
                        return Err(ClusterError::new(&watching, kube::Error::Api(status)));
                    }
                    _ => {}
                }
            }
        }
    }
}
