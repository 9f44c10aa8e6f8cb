//! Whether the other nodes can take part in a change of release. Reads the cluster, and changes nothing.

use super::TargetError;
use crate::cluster::{Cluster, OPT_IN_LABEL};
use crate::component::Component;
use crate::handover::standbys::{Lag, behind};
use crate::settings::Settings;
use serde_json::Value;

/// Refuses other nodes that run static pods, which a change of the DaemonSets does not reach, and nodes whose guard does
/// not watch or whose standby is of earlier DaemonSets than `live`. A power cut there would bring up two releases before
/// the new one.
///
/// # Errors
/// When there is such a node, or the cluster cannot be asked.
pub async fn others_follow(
    cluster: &Cluster,
    settings: &Settings,
    live: &[(Component, Value)],
) -> Result<(), TargetError> {
    let role = &settings.role_label;
    let mut nodes = cluster.nodes_labelled(role).await?;
    let hosted = cluster.nodes_labelled(&format!("{role},{OPT_IN_LABEL}")).await?;
    nodes.retain(|node| !hosted.contains(node));
    if !nodes.is_empty() {
        return Err(TargetError::StaticNodes(nodes.join(", ")));
    }
    let mut behind = behind(cluster, settings, live).await?;
    // Without a guard here, a person has chosen to roll back before each reboot.
    behind.retain(|node| settings.guard || matches!(node.why, Lag::Static(_)));
    match behind.is_empty() {
        true => Ok(()),
        false => Err(TargetError::Behind(behind)),
    }
}
