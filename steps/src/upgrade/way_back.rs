//! Whether an upgrade may be taken back. Reads the cluster, and changes nothing.

use super::TargetError;
use super::skew::allowed_back;
use super::target::runs;
use crate::cluster::Cluster;
use crate::component::Component;
use crate::manifest::TemplateChange;

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
