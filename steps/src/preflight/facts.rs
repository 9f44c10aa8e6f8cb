//! Gathers the facts in the order in which they become available: the disk, the host, the cluster.

use super::check_result::{CheckResult, Refused, Report, gate};
use super::cluster::{ClusterFacts, cluster_checks, node_addresses, role_label};
use super::handover::choose;
use super::host::{disk_checks, host_checks, state_checks};
use super::host_facts::HostFacts;
use super::input::PreflightInput;
use super::this_node::{NotFound, find_node};
use crate::cluster::{ClusterError, ROLE_LABEL};
use crate::component::Component;
use crate::host::{Listener, ManifestsDir};
use crate::manifest::StaticPod;
use crate::settings::{HandoverMode, Settings};
use crate::site::health_question;
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How long the kubelet may take to register the static pods that it runs.
const REGISTERED_WITHIN: Duration = Duration::from_secs(10);
/// The interval for asking the API whether the kubelet has registered them.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Makes every check. Changes nothing.
///
/// # Errors
/// When a check refuses. The error has all results up to then.
pub async fn preflight(input: &PreflightInput) -> Result<Report, Refused> {
    let (facts, mut results) = disk_facts(&input.node.manifests)?;
    results.extend(state_checks(&input.state_dir));
    let cluster = match cluster_facts(input, &facts).await {
        Ok(cluster) => cluster,
        Err(verdict) => {
            results.push(*verdict);
            return Err(Refused { results });
        }
    };
    let (handover, chosen) = choose(input, &facts.static_pods).await;
    let settings = settings(input, handover, &facts, &cluster);
    let site = input.site(settings);
    results.extend(host_checks(&site, &facts).await);
    results.extend(cluster_checks(&site, &facts, &cluster).await);
    results.extend(chosen);
    gate(&results)?;
    let static_pods = facts.static_pods.into_values().collect();
    Ok(Report { settings: site.settings, static_pods, results })
}

/// Makes the checks of the manifests alone. [`preflight`] begins with them.
///
/// # Errors
/// When a check refuses.
pub fn preflight_disk(manifests: &ManifestsDir) -> Result<Vec<CheckResult>, Refused> {
    disk_facts(manifests).map(|(_, results)| results)
}

fn disk_facts(manifests: &ManifestsDir) -> Result<(HostFacts, Vec<CheckResult>), Refused> {
    let mut facts = HostFacts::new(manifests);
    let results = disk_checks(&mut facts);
    gate(&results)?;
    Ok((facts, results))
}

/// The cluster's facts, or why the cluster could not be asked.
async fn cluster_facts(input: &PreflightInput, facts: &HostFacts) -> Result<ClusterFacts, Box<CheckResult>> {
    let unreachable = |error: ClusterError| {
        let remedy = "the API must answer before a pivot begins: `kubectl get --raw /readyz` with the same \
                      kubeconfig, and the kubelet's log, say more";
        Box::new(CheckResult::refuse("api", error.to_string(), remedy))
    };
    let version = input.cluster.version().await.map_err(unreachable)?;
    let port = facts.static_pods.get(&Component::ApiServer).map_or(6443, StaticPod::port);
    let listeners = input.node.host.listeners(port).await.map_err(|error| {
        Box::new(CheckResult::refuse("host", error.to_string(), "fulcrum reads /proc as root"))
    })?;
    let (pods, name) = find_this_node(input, &listeners, port, unreachable).await?;
    let node = input.cluster.node(&name).await.map_err(unreachable)?.ok_or_else(|| {
        let remedy = "leave --node-name out: the cluster is asked";
        Box::new(CheckResult::refuse("node", format!("the cluster has no node {name}"), remedy))
    })?;
    let mut daemonsets = BTreeMap::new();
    for component in Component::ALL {
        let found = input.cluster.daemonset(component.daemonset_name()).await.map_err(unreachable)?;
        daemonsets.extend(found.map(|daemonset| (component, daemonset)));
    }
    let uid = input.cluster.uid().await.map_err(unreachable)?;
    let peers =
        input.cluster.nodes_labelled(role_label(&node).unwrap_or(ROLE_LABEL)).await.map_err(unreachable)?;
    let lock = input.cluster.lock_holder().await.map_err(unreachable)?;
    let pods_here = input.cluster.pods_of_node(&name).await.map_err(unreachable)?;
    let published = input.cluster.api_endpoints().await.map_err(unreachable)?;
    Ok(ClusterFacts { version, uid, name, node, peers, pods, pods_here, published, daemonsets, lock })
}

/// The pods of the control plane's namespace, and the name of this node. Just after a start the kubelet has
/// not registered its static pods yet. This function waits for that, but not long.
async fn find_this_node(
    input: &PreflightInput,
    listeners: &[Listener],
    port: u16,
    unreachable: impl Fn(ClusterError) -> Box<CheckResult>,
) -> Result<(Vec<Pod>, String), Box<CheckResult>> {
    let began = Instant::now();
    loop {
        let pods = input.cluster.pods_labelled("").await.map_err(&unreachable)?;
        match find_node(&pods, listeners, port, input.node_name.as_deref()) {
            Ok(name) => return Ok((pods, name)),
            Err(NotFound::Refused(verdict)) => return Err(verdict),
            Err(NotFound::NotYet(verdict)) if began.elapsed() > REGISTERED_WITHIN => return Err(verdict),
            Err(NotFound::NotYet(_)) => sleep(LOOK_AGAIN).await,
        }
    }
}

fn settings(
    input: &PreflightInput,
    handover: HandoverMode,
    facts: &HostFacts,
    cluster: &ClusterFacts,
) -> Settings {
    let node_addresses = node_addresses(&cluster.node);
    let question =
        |(component, pod): (&Component, &StaticPod)| (*component, health_question(pod, &node_addresses));
    Settings {
        cluster_uid: cluster.uid.clone(),
        node: cluster.name.clone(),
        manifests_dir: input.node.manifests.path().to_owned(),
        manifest_names: facts.names.clone(),
        publishes_itself: facts
            .static_pods
            .get(&Component::ApiServer)
            .is_none_or(StaticPod::publishes_itself),
        kubeconfig: input.kubeconfig.clone(),
        role_label: role_label(&cluster.node).unwrap_or_default().to_owned(),
        kubernetes_minor: cluster.minor().unwrap_or_default(),
        handover,
        soak: input.soak,
        guard: input.guard,
        on_reboot: input.on_reboot,
        of_pivot: None,
        health: facts.static_pods.iter().map(question).collect(),
        node_addresses,
    }
}
