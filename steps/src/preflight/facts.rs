//! Gathers the facts in the order in which they become available: the disk, the host, the cluster.

use super::certificates::{certificate_checks, in_secrets};
use super::check_result::{CheckResult, Known, Refused, Report, complete, gate, overrule};
use super::cluster::{ClusterFacts, cluster_checks, role_label};
use super::handover::choose;
use super::host::{disk_checks, host_checks, state_checks};
use super::host_facts::HostFacts;
use super::input::PreflightInput;
use super::this_node::{NotFound, find_node};
use crate::check::Check;
use crate::cluster::{ClusterError, OPT_IN_LABEL, ROLE_LABEL, addresses};
use crate::component::Component;
use crate::handover::elsewhere::elsewhere;
use crate::host::{Listener, ManifestsDir};
use crate::look::once;
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

/// What to do where the API did not answer in between.
const TRY_AGAIN: &str = "the API must answer before a pivot begins: try again";

/// Makes every check, whether or not another one refuses. Changes nothing.
///
/// # Errors
/// When a check refuses. The error has all results, and names the checks that could not be made.
pub async fn preflight(input: &PreflightInput) -> Result<Report, Refused> {
    let mut facts = HostFacts::new(&input.node.manifests);
    let mut results = disk_checks(&mut facts);
    results.extend(state_checks(&input.state_dir));
    let whole = facts.static_pods.len() == Component::ALL.len();
    let cluster = match cluster_facts_again(input, &facts).await {
        Ok(cluster) => Some(cluster),
        Err(verdict) => {
            results.push(*verdict);
            None
        }
    };
    let handover = match whole {
        true => {
            let (handover, chosen) = choose(input, &facts.static_pods).await;
            results.extend(chosen);
            handover
        }
        false => HandoverMode::Restart,
    };
    let site = input.site(settings(input, handover, &facts, cluster.as_ref()));
    let mut cluster = cluster;
    // Without the label there is no telling which nodes are the others, and the check `role` refuses.
    let server =
        facts.static_pods.get(&Component::ApiServer).filter(|_| !site.settings.role_label.is_empty());
    if let (Some(cluster), Some(server)) = (&mut cluster, server) {
        match once(elsewhere(&site, server).await) {
            Ok(Ok(seen)) => cluster.elsewhere = Some(seen),
            Ok(Err(seen)) => results.push(CheckResult::refuse(Check::Api, seen, TRY_AGAIN)),
            Err(error) => results.push(CheckResult::refuse(Check::Api, error.to_string(), TRY_AGAIN)),
        }
    }
    results.extend(host_checks(&site, &facts).await);
    if let Some(cluster) = &cluster {
        results.extend(cluster_checks(&site, &facts, cluster).await);
        results.extend(certificate_checks(&site, &facts.static_pods, &cluster.peers).await);
    }
    complete(&mut results, Known { manifests: whole, cluster: cluster.is_some() });
    overrule(&mut results, &input.ignored);
    gate(&results)?;
    let static_pods = facts.static_pods.into_values().collect();
    Ok(Report { settings: site.settings, static_pods, results })
}

/// Makes the checks of the manifests alone. [`preflight`] begins with them.
///
/// # Errors
/// When a check refuses.
pub fn preflight_disk(manifests: &ManifestsDir) -> Result<Vec<CheckResult>, Refused> {
    let results = disk_checks(&mut HostFacts::new(manifests));
    gate(&results)?;
    Ok(results)
}

/// As [`cluster_facts`], with a second try: a balancer that takes an API server away ends the connections to it.
async fn cluster_facts_again(
    input: &PreflightInput,
    facts: &HostFacts,
) -> Result<ClusterFacts, Box<CheckResult>> {
    match cluster_facts(input, facts).await {
        Err(verdict) if verdict.check == Check::Api => {
            sleep(LOOK_AGAIN).await;
            cluster_facts(input, facts).await
        }
        first => first,
    }
}

/// The cluster's facts, or why the cluster could not be asked.
async fn cluster_facts(input: &PreflightInput, facts: &HostFacts) -> Result<ClusterFacts, Box<CheckResult>> {
    let unreachable = |error: ClusterError| {
        let remedy = "the API must answer before a pivot begins: `kubectl get --raw /readyz` with the same \
                      kubeconfig, and the kubelet's log, say more";
        Box::new(CheckResult::refuse(Check::Api, error.to_string(), remedy))
    };
    let version = input.cluster.version().await.map_err(unreachable)?;
    let port = facts.static_pods.get(&Component::ApiServer).map_or(6443, StaticPod::port);
    let listeners = input.node.host.listeners(port).await.map_err(|error| {
        Box::new(CheckResult::refuse(Check::Host, error.to_string(), "fulcrum reads /proc as root"))
    })?;
    let (pods, name) = find_this_node(input, &listeners, port, unreachable).await?;
    let node = input.cluster.node(&name).await.map_err(unreachable)?.ok_or_else(|| {
        let remedy = "leave --node-name out: the cluster is asked";
        Box::new(CheckResult::refuse(Check::Node, format!("the cluster has no node {name}"), remedy))
    })?;
    let mut daemonsets = BTreeMap::new();
    for component in Component::ALL {
        let found = input.cluster.daemonset(component.daemonset_name()).await.map_err(unreachable)?;
        daemonsets.extend(found.map(|daemonset| (component, daemonset)));
    }
    let uid = input.cluster.uid().await.map_err(unreachable)?;
    let role = role_label(&node).unwrap_or(ROLE_LABEL);
    let peers = input.cluster.nodes_labelled(role).await.map_err(unreachable)?;
    let both = format!("{OPT_IN_LABEL},{role}");
    let on_daemonsets = input.cluster.nodes_labelled(&both).await.map_err(unreachable)?;
    let lock = input.cluster.lock_holder().await.map_err(unreachable)?;
    let pods_here = input.cluster.pods_of_node(&name).await.map_err(unreachable)?;
    let published = input.cluster.api_endpoints().await.map_err(unreachable)?;
    Ok(ClusterFacts {
        version,
        uid,
        name,
        node,
        peers,
        pods,
        pods_here,
        elsewhere: None,
        on_daemonsets,
        published,
        daemonsets,
        lock,
    })
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

/// The settings of the plan. Without the cluster they are good for looking at this machine only.
fn settings(
    input: &PreflightInput,
    handover: HandoverMode,
    facts: &HostFacts,
    cluster: Option<&ClusterFacts>,
) -> Settings {
    let node_addresses = cluster.map(|cluster| addresses(&cluster.node)).unwrap_or_default();
    let question =
        |(component, pod): (&Component, &StaticPod)| (*component, health_question(pod, &node_addresses));
    let role = cluster.and_then(|cluster| role_label(&cluster.node));
    Settings {
        cluster_uid: cluster.map(|cluster| cluster.uid.clone()).unwrap_or_default(),
        node: cluster.map(|cluster| cluster.name.clone()).unwrap_or_default(),
        manifests_dir: input.node.manifests.path().to_owned(),
        manifest_names: facts.names.clone(),
        publishes_itself: facts
            .static_pods
            .get(&Component::ApiServer)
            .is_none_or(StaticPod::publishes_itself),
        kubeconfig: input.kubeconfig.clone(),
        role_label: role.unwrap_or_default().to_owned(),
        kubernetes_minor: cluster.and_then(ClusterFacts::minor).unwrap_or_default(),
        handover,
        soak: input.soak,
        max_latency: input.max_latency,
        guard: input.guard,
        on_reboot: input.on_reboot,
        of_pivot: None,
        in_secrets: input.store_certs_in_secrets.then(|| in_secrets(input, facts)),
        ignored: input.ignored.clone(),
        health: facts.static_pods.iter().map(question).collect(),
        node_addresses,
    }
}
