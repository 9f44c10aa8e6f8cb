//! Removes what behaviours made, even after a failure. Files go first, for they make objects.

use super::failed::Failed;
use super::ground::{Ground, SECOND_PORT, seen};
use super::names::{FILES, LABEL, SELECTOR};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde::de::DeserializeOwned;
use serde_json::json;

/// Works until the node and its cluster are as they were.
pub(super) async fn sweep(ground: &Ground) -> Result<(), Failed> {
    ground.restore_stash()?;
    for name in FILES {
        ground.manifests.remove(name)?;
    }
    unlabel(ground).await?;
    let what = "all that was made to be taken away";
    ground
        .eventually(what, async || {
            let left = [
                delete_all(ground.api::<DaemonSet>()).await?,
                delete_all(ground.api::<Pod>()).await?,
                delete_all(ground.api::<ConfigMap>()).await?,
                delete_all(ground.api::<Lease>()).await?,
            ];
            let listeners = ground.host.listeners(SECOND_PORT).await.map_err(seen)?.len();
            let left: usize = left.iter().sum();
            if left + listeners == 0 {
                Ok(())
            } else {
                Err(format!("{left} objects, {listeners} listeners on port {SECOND_PORT}"))
            }
        })
        .await
}

/// Takes the label from the nodes that bear it.
async fn unlabel(ground: &Ground) -> Result<(), Failed> {
    let nodes = Api::<Node>::all(ground.client.clone());
    let patch = json!({"metadata": {"labels": {LABEL: null}}});
    for node in nodes.list(&ListParams::default().labels(LABEL)).await? {
        let name = node.metadata.name.unwrap_or_default();
        nodes.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    }
    Ok(())
}

/// Asks for the deletion of every such object. Returns how many are left. Mirror pods are the kubelet's to
/// delete.
async fn delete_all<K>(api: Api<K>) -> Result<usize, String>
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let there = api.list(&ListParams::default().labels(SELECTOR)).await.map_err(seen)?.items;
    for object in &there {
        let meta = object.meta();
        let annotations = meta.annotations.iter().flatten();
        let is_mirror = annotations.into_iter().any(|(key, _)| key == "kubernetes.io/config.mirror");
        let Some(name) = meta.name.as_deref().filter(|_| !is_mirror) else { continue };
        if meta.finalizers.as_ref().is_some_and(|finalizers| !finalizers.is_empty()) {
            let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            gone_is_fine(api.patch(name, &PatchParams::default(), &patch).await)?;
        }
        if meta.deletion_timestamp.is_none() {
            gone_is_fine(api.delete(name, &DeleteParams::background()).await)?;
        }
    }
    Ok(there.len())
}

fn gone_is_fine<T>(result: kube::Result<T>) -> Result<(), String> {
    match result {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        other => other.map(drop).map_err(seen),
    }
}
