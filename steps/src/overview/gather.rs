//! Asks the cluster.

use super::facts::{LockFacts, NodeFacts, OverviewFacts, PodFacts};
use crate::cluster::{
    Cluster, ClusterError, LOCK_LEASE, ROLE_LABEL, ROLE_LABEL_BEFORE_1_24, config_hash, is_ready,
    node_is_ready,
};
use crate::component::Component;
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

/// Asks for everything at once. What could not be seen beside the nodes is a fact, too.
///
/// # Errors
/// When the nodes cannot be listed: nothing can be said then.
pub async fn gather(cluster: &Cluster) -> Result<OverviewFacts, ClusterError> {
    let mut nodes = cluster.nodes_with(ROLE_LABEL).await?;
    if nodes.is_empty() {
        nodes = cluster.nodes_with(ROLE_LABEL_BEFORE_1_24).await?;
    }
    nodes.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let names: Vec<String> = nodes.iter().filter_map(|node| node.metadata.name.clone()).collect();
    let pods = join_all(names.iter().map(|name| cluster.pods_on(name, "")));
    let (pods, lock, roll_call) = tokio::join!(pods, cluster.lease(LOCK_LEASE), cluster.roll_call());
    let mut unseen = Vec::new();
    let mut seen = Vec::new();
    for ((node, name), pods) in nodes.iter().zip(names).zip(pods) {
        let pods = or_unseen(pods, &mut unseen);
        let pods = pods.map(|pods| pods.iter().filter_map(|pod| of_component(pod, &name)).collect());
        seen.push(NodeFacts { ready: node_is_ready(node), name, pods });
    }
    let lock = or_unseen(lock, &mut unseen).flatten().and_then(|lease| {
        let (made, spec) = (lease.metadata.creation_timestamp.map(|time| time.0), lease.spec?);
        // Earlier versions did not say when. A takeover keeps the object.
        let since = spec.acquire_time.map(|time| time.0).or(made);
        Some(LockFacts { holder: spec.holder_identity?, since })
    });
    let roll_call = or_unseen(roll_call, &mut unseen).unwrap_or_default();
    Ok(OverviewFacts { now: Timestamp::now(), nodes: seen, lock, roll_call, unseen })
}

fn or_unseen<T>(answer: Result<T, ClusterError>, unseen: &mut Vec<String>) -> Option<T> {
    answer.map_err(|error| unseen.push(error.to_string())).ok()
}

/// The pod as one of a component's, if it is one: the mirror of a static pod bears the component's name and its
/// node's, a pod of fulcrum's DaemonSets their label.
fn of_component(pod: &Pod, node: &str) -> Option<PodFacts> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let label = pod.metadata.labels.iter().find_map(|labels| labels.get("k8s-app"));
    let is_mirror =
        |component: &Component| name == format!("{component}-{node}") && config_hash(pod).is_some();
    let is_hosted = |component: &Component| label.is_some_and(|label| label == component.daemonset_name());
    let hosted = Component::ALL.into_iter().find(is_hosted);
    let component = hosted.or_else(|| Component::ALL.into_iter().find(is_mirror))?;
    Some(PodFacts { component, hosted: hosted.is_some(), ready: is_ready(pod) })
}
