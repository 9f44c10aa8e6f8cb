//! Whether an upgrade, or the pivot before it, may be taken back. Reads the cluster, and changes nothing.

use super::TargetError;
use super::older::{Outrun, is_outrun};
use super::release_of::runs;
use super::skew::allowed_back;
use crate::cluster::Cluster;
use crate::component::Component;
use crate::manifest::{StaticPod, TemplateChange};
use crate::site::Site;
use fulcrum_engine::state::RunId;
use std::time::Duration;
use tokio::time::timeout;

/// Whether the API server's DaemonSet has outrun the static pod from before this pivot: another node may have finalized an
/// upgrade, and this node's journal does not know. An API that does not answer in this time refuses nothing: this may be
/// the way out.
pub async fn outrun_since(site: &Site, cluster: &Cluster, pivot: RunId, within: Duration) -> Option<Outrun> {
    let api = Component::ApiServer;
    let archived = std::fs::read(site.archived(pivot, api)).ok()?;
    let before = StaticPod::parse(api, &archived).ok()?;
    let live = timeout(within, cluster.daemonset(api.daemonset_name())).await.ok()?.ok()??;
    is_outrun(&before, &live)
}

/// Refuses to take these changes of DaemonSets back if that would leave kubelets newer than the API server. Nodes whose
/// kubelet does not say a version, as virtual ones, and an image that does not say its release refuse nothing.
///
/// # Errors
/// When a kubelet is newer than the API server that would come back, or the cluster cannot be asked.
pub async fn refuse_newer_kubelets(
    cluster: &Cluster,
    changes: &[(Component, TemplateChange)],
) -> Result<(), TargetError> {
    let api = Component::ApiServer;
    let Some((_, change)) = changes.iter().find(|(component, _)| *component == api) else { return Ok(()) };
    let Some(mut live) = cluster.daemonset(api.daemonset_name()).await? else { return Ok(()) };
    change.unmake(api, &mut live["spec"]["template"]);
    let Some(to) = runs(api, &live) else { return Ok(()) };
    let kubelets = cluster.kubelets().await?.into_iter();
    let kubelets = kubelets.filter_map(|(node, version)| Some((node, version.parse().ok()?)));
    Ok(allowed_back(to, kubelets.collect())?)
}
