//! Gathers the facts, in the order in which they can be had: the disk, the host, the cluster.

use super::cluster::{ClusterFacts, cluster_checks, node_addresses, role_label};
use super::handover::choose;
use super::host::{HostFacts, disk_checks, host_checks};
use super::this_node::{NotFound, find_node};
use super::verdict::{Refused, Report, Verdict, gate};
use crate::cluster::{Cluster, ClusterError, ROLE_LABEL};
use crate::component::Component;
use crate::guard::OnReboot;
use crate::host::{Host, Listener, ManifestsDir, Units};
use crate::manifest::StaticPod;
use crate::settings::{Handover, Settings, Wanted};
use crate::site::{Site, health_question};
use crate::timeouts::Patience;
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// What is to be checked, before a [`Site`] exists.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Where the kubelet looks for static pods.
    pub manifests: ManifestsDir,
    /// The kernel.
    pub host: Arc<dyn Host>,
    /// The API.
    pub cluster: Cluster,
    /// The kubeconfig that leads there.
    pub kubeconfig: PathBuf,
    /// The node's name, if the operator said it; else the cluster is asked.
    pub node_name: Option<String>,
    /// How the control plane shall change hands.
    pub handover: Wanted,
    /// How long the new API server is watched after the switch.
    pub soak: Duration,
    /// What is started at boot.
    pub units: Arc<dyn Units>,
    /// Whether a guard is to be armed.
    pub guard: bool,
    /// What it is to do with the run if a reboot cuts it in half.
    pub on_reboot: OnReboot,
}

/// How long the kubelet may take to register the static pods that it runs.
const REGISTERED_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Makes every check. Changes nothing.
///
/// # Errors
/// When a check refuses: with all that could be checked by then.
pub async fn preflight(ask: &Ask) -> Result<Report, Refused> {
    let (facts, mut verdicts) = disk_facts(&ask.manifests)?;
    let cluster = match cluster_facts(ask, &facts).await {
        Ok(cluster) => cluster,
        Err(verdict) => {
            verdicts.push(*verdict);
            return Err(Refused { verdicts });
        }
    };
    let (handover, chosen) = choose(ask, &facts.static_pods).await;
    let settings = settings(ask, handover, &facts, &cluster);
    let site = site(ask, settings);
    verdicts.extend(host_checks(&site, &facts).await);
    verdicts.extend(cluster_checks(&site, &facts, &cluster).await);
    verdicts.extend(chosen);
    gate(&verdicts)?;
    let static_pods = facts.static_pods.into_values().collect();
    Ok(Report { settings: site.settings, static_pods, verdicts })
}

/// The checks of the manifests alone, which [`preflight`] makes first.
///
/// # Errors
/// When one of them refuses.
pub fn preflight_disk(manifests: &ManifestsDir) -> Result<Vec<Verdict>, Refused> {
    disk_facts(manifests).map(|(_, verdicts)| verdicts)
}

fn disk_facts(manifests: &ManifestsDir) -> Result<(HostFacts, Vec<Verdict>), Refused> {
    let mut facts = HostFacts::new(manifests);
    let verdicts = disk_checks(&mut facts);
    gate(&verdicts)?;
    Ok((facts, verdicts))
}

/// What the cluster says, or why it could not be asked.
async fn cluster_facts(ask: &Ask, facts: &HostFacts) -> Result<ClusterFacts, Box<Verdict>> {
    let unreachable = |error: ClusterError| {
        let remedy = "the API must answer before a pivot begins: `kubectl get --raw /readyz` with the same \
                      kubeconfig, and the kubelet's log, say more";
        Box::new(Verdict::refuse("api", error.to_string(), remedy))
    };
    let version = ask.cluster.version().await.map_err(unreachable)?;
    let port = facts.static_pods.get(&Component::ApiServer).map_or(6443, StaticPod::port);
    let listeners = ask.host.listeners(port).await.map_err(|error| {
        Box::new(Verdict::refuse("host", error.to_string(), "fulcrum reads /proc as root"))
    })?;
    let (pods, name) = find_this_node(ask, &listeners, port, unreachable).await?;
    let node = ask.cluster.node(&name).await.map_err(unreachable)?.ok_or_else(|| {
        let remedy = "leave --node-name out: the cluster is asked";
        Box::new(Verdict::refuse("node", format!("the cluster has no node {name}"), remedy))
    })?;
    let mut daemonsets = BTreeMap::new();
    for component in Component::ALL {
        let found = ask.cluster.daemonset(component.daemonset_name()).await.map_err(unreachable)?;
        daemonsets.extend(found.map(|daemonset| (component, daemonset)));
    }
    let uid = ask.cluster.uid().await.map_err(unreachable)?;
    let peers =
        ask.cluster.nodes_labelled(role_label(&node).unwrap_or(ROLE_LABEL)).await.map_err(unreachable)?;
    let lock = ask.cluster.lock_holder().await.map_err(unreachable)?;
    let pods_here = ask.cluster.pods_of_node(&name).await.map_err(unreachable)?;
    let published = ask.cluster.api_endpoints().await.map_err(unreachable)?;
    Ok(ClusterFacts { version, uid, name, node, peers, pods, pods_here, published, daemonsets, lock })
}

/// The pods of the control plane's namespace, and the name of this node. Just after a start the kubelet has not registered
/// its static pods yet: that is waited for, but not long.
async fn find_this_node(
    ask: &Ask,
    listeners: &[Listener],
    port: u16,
    unreachable: impl Fn(ClusterError) -> Box<Verdict>,
) -> Result<(Vec<Pod>, String), Box<Verdict>> {
    let began = Instant::now();
    loop {
        let pods = ask.cluster.pods_labelled("").await.map_err(&unreachable)?;
        match find_node(&pods, listeners, port, ask.node_name.as_deref()) {
            Ok(name) => return Ok((pods, name)),
            Err(NotFound::Refused(verdict)) => return Err(verdict),
            Err(NotFound::NotYet(verdict)) if began.elapsed() > REGISTERED_WITHIN => return Err(verdict),
            Err(NotFound::NotYet(_)) => sleep(LOOK_AGAIN).await,
        }
    }
}

fn settings(ask: &Ask, handover: Handover, facts: &HostFacts, cluster: &ClusterFacts) -> Settings {
    let node_addresses = node_addresses(&cluster.node);
    let question =
        |(component, pod): (&Component, &StaticPod)| (*component, health_question(pod, &node_addresses));
    Settings {
        cluster_uid: cluster.uid.clone(),
        node: cluster.name.clone(),
        manifests_dir: ask.manifests.path().to_owned(),
        manifest_names: facts.names.clone(),
        publishes_itself: facts
            .static_pods
            .get(&Component::ApiServer)
            .is_none_or(StaticPod::publishes_itself),
        kubeconfig: ask.kubeconfig.clone(),
        role_label: role_label(&cluster.node).unwrap_or_default().to_owned(),
        kubernetes_minor: cluster.minor().unwrap_or_default(),
        handover,
        soak: ask.soak,
        guard: ask.guard,
        on_reboot: ask.on_reboot,
        of_pivot: None,
        health: facts.static_pods.iter().map(question).collect(),
        node_addresses,
    }
}

fn site(ask: &Ask, settings: Settings) -> Site {
    let (manifests, host, units) = (settings.manifests(), Arc::clone(&ask.host), Arc::clone(&ask.units));
    let node = crate::host::Node { manifests, host, units };
    let patience = Patience::default();
    Site {
        node,
        cluster: ask.cluster.clone(),
        settings,
        archive: PathBuf::new(),
        patience,
        keep_port_sharing: false,
    }
}
