//! The revisions of a DaemonSet: one object for each pod template that it has had.

use super::client::{Cluster, within};
use super::error::ClusterError;
use super::names::NAMESPACE;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;

/// The label by which the DaemonSet controller knows a template's pods, and its revision.
const HASH_LABEL: &str = "controller-revision-hash";

impl Cluster {
    /// The hash of the newest template of the DaemonSet with this uid. `labels` are those of its pods, which its
    /// revisions bear, too. `None` if the controller has made no revision yet. A template that was there before has
    /// the hash that it had.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub(crate) async fn newest_template(
        &self,
        daemonset_uid: &str,
        labels: &str,
    ) -> Result<Option<String>, ClusterError> {
        let revisions: Api<ControllerRevision> = Api::namespaced(self.client.clone(), NAMESPACE);
        let which = ListParams::default().labels(labels);
        let attempt = format!("list the ControllerRevisions {labels} of {NAMESPACE}");
        let listed = within(&attempt, revisions.list(&which)).await?;
        let is_its = |revision: &ControllerRevision| {
            let mut owners = revision.metadata.owner_references.iter().flatten();
            owners.any(|owner| owner.uid == daemonset_uid)
        };
        let newest = listed.items.into_iter().filter(is_its).max_by_key(|revision| revision.revision);
        Ok(newest.and_then(|revision| revision.metadata.labels?.remove(HASH_LABEL)))
    }
}

/// The hash of the template that the pod was made from.
pub(crate) fn template_hash(pod: &Pod) -> Option<&str> {
    pod.metadata.labels.as_ref()?.get(HASH_LABEL).map(String::as_str)
}
