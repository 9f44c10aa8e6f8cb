//! Checks of what the API says.

use super::check_result::CheckResult;
use super::host::HostFacts;
use crate::cluster::{ROLE_LABEL, ROLE_LABEL_BEFORE_1_24, RUN_ANNOTATION, config_hash, is_ready, pod_story};
use crate::component::Component;
use crate::host::Listener;
use crate::site::Site;
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;

pub(super) struct ClusterFacts {
    pub(super) version: String,
    pub(super) uid: String,
    pub(super) name: String,
    pub(super) node: Node,
    /// The nodes of the same role, this one among them.
    pub(super) peers: Vec<String>,
    pub(super) pods: Vec<Pod>,
    pub(super) daemonsets: BTreeMap<Component, Value>,
    pub(super) lock: Option<String>,
}

impl ClusterFacts {
    /// 35 for `v1.35.3`.
    pub(super) fn minor(&self) -> Option<u32> {
        version(&self.version).map(|(minor, _)| minor)
    }
}

/// The role label that the node bears, empty as kubeadm makes it: the DaemonSets select that.
pub(super) fn role_label(node: &Node) -> Option<&'static str> {
    let labels = node.metadata.labels.as_ref()?;
    let bears = |label: &&str| labels.get(*label).is_some_and(String::is_empty);
    [ROLE_LABEL, ROLE_LABEL_BEFORE_1_24].into_iter().find(bears)
}

/// The node that this host is, as the cluster calls it. The hostname proves nothing: what counts is the
/// mirror pod that stands for the very process that listens here.
pub(super) fn find_node(
    pods: &[Pod],
    listeners: &[Listener],
    said: Option<&str>,
) -> Result<String, Box<CheckResult>> {
    let here: Vec<&str> =
        listeners.iter().filter_map(|listener| listener.process.pod_uid.as_deref()).collect();
    let found = pods.iter().find(|pod| config_hash(pod).is_some_and(|hash| here.contains(&hash)));
    let node = found.and_then(|pod| pod.spec.as_ref()?.node_name.as_deref());
    match (node, said) {
        (Some(node), Some(said)) if node != said => Err(Box::new(CheckResult::refuse(
            "node",
            format!("the cluster knows this host as node {node}, not {said}"),
            "leave --node-name out, or run this on the node that you mean",
        ))),
        (Some(node), _) => Ok(node.to_owned()),
        (None, _) => Err(Box::new(CheckResult::refuse(
            "node",
            match here.is_empty() {
                true => "no static API server listens on this host".to_owned(),
                false => format!(
                    "the cluster has no mirror pod of the API server that runs here (static pod {})",
                    here.join(", ")
                ),
            },
            "the kubeconfig may be another cluster's: its API server must be the one of this host; if it is, the \
             kubelet cannot register its static pods, and its log says why",
        ))),
    }
}

/// The node's own addresses, internal ones first: the kubelet's `status.hostIP` is the first.
pub(super) fn node_addresses(node: &Node) -> Vec<IpAddr> {
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let mut addresses: Vec<(bool, IpAddr)> = addresses
        .filter_map(|address| Some((address.type_ != "InternalIP", address.address.parse().ok()?)))
        .collect();
    addresses.sort_by_key(|(external, _)| *external);
    addresses.into_iter().map(|(_, address)| address).collect()
}

pub(super) async fn cluster_checks(site: &Site, host: &HostFacts, facts: &ClusterFacts) -> Vec<CheckResult> {
    let mut results = vec![CheckResult::pass("node", format!("this host is node {}", facts.name))];
    results.push(version_check(facts));
    results.push(role_check(facts));
    for pod in host.static_pods.values() {
        results.extend(taint_checks(facts, &pod.daemonset(&site.settings.target(None))));
    }
    results.extend(Component::ALL.map(|component| mirror_check(site, facts, component)));
    results.extend(daemonset_checks(facts));
    results.extend(advertise_check(site, host));
    results.extend(lock_check(facts));
    for pod in host.static_pods.values().filter(|pod| !facts.daemonsets.contains_key(&pod.component())) {
        let daemonset = pod.daemonset(&site.settings.target(None));
        if let Err(error) = site.cluster.create_daemonset(&daemonset, true).await {
            let remedy =
                "the API server would not take the DaemonSet: see the manifest, and what admits objects";
            results.push(CheckResult::refuse("admission", error.to_string(), remedy));
        }
    }
    results
}

fn version_check(facts: &ClusterFacts) -> CheckResult {
    let kubelet = facts.node.status.as_ref().and_then(|status| status.node_info.as_ref());
    let kubelet = kubelet.map_or("", |info| info.kubelet_version.as_str());
    match (version(&facts.version), version(kubelet)) {
        (None | Some((..20, _)), _) => CheckResult::refuse(
            "version",
            format!("the API server is {}", facts.version),
            "fulcrum needs 1.20 or later: --permit-port-sharing and a kubelet that keeps DaemonSet pods",
        ),
        (_, Some((20, ..=3))) => CheckResult::refuse(
            "version",
            format!("the kubelet is {kubelet}"),
            "1.20.0 to 1.20.3 can reject DaemonSet pods after a reboot: upgrade it to 1.20.4 or later",
        ),
        _ => CheckResult::pass("version", format!("API server {}, kubelet {kubelet}", facts.version)),
    }
}

fn role_check(facts: &ClusterFacts) -> CheckResult {
    match role_label(&facts.node) {
        Some(label) if facts.peers.len() < 2 => CheckResult::pass("role", format!("the node bears {label}")),
        Some(label) => CheckResult::refuse(
            "role",
            format!("{label} is on {} nodes: {}", facts.peers.len(), facts.peers.join(", ")),
            "this version pivots a control plane of one node only: the others' are left alone",
        ),
        None => CheckResult::refuse(
            "role",
            format!("node {} bears neither {ROLE_LABEL}= nor {ROLE_LABEL_BEFORE_1_24}=", facts.name),
            format!(
                "no DaemonSet would run here: kubectl label --overwrite node {} {ROLE_LABEL}=",
                facts.name
            ),
        ),
    }
}

/// Taints of the node that the DaemonSet's own tolerations, and those that its controller adds, do not cover.
fn taint_checks(facts: &ClusterFacts, daemonset: &Value) -> Vec<CheckResult> {
    let name = daemonset["metadata"]["name"].as_str().unwrap_or_default();
    let tolerations: Vec<Toleration> =
        serde_json::from_value(daemonset["spec"]["template"]["spec"]["tolerations"].clone())
            .unwrap_or_default();
    let taints = facts.node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let keeps_away = |taint: &&Taint| {
        taint.effect != "PreferNoSchedule"
            && !ADDED_BY_THE_CONTROLLER.contains(&taint.key.as_str())
            && !tolerations.iter().any(|toleration| tolerates(toleration, taint))
    };
    let refuse = |taint: &Taint| {
        CheckResult::refuse(
            "taint",
            format!(
                "node {} has the taint {}:{}, which {name} does not tolerate",
                facts.name, taint.key, taint.effect
            ),
            format!(
                "its pod would not run there: kubectl taint node {} {}-, or add a toleration to the static manifest",
                facts.name, taint.key
            ),
        )
    };
    taints.filter(keeps_away).map(refuse).collect()
}

/// What the DaemonSet controller makes every pod on the host's network tolerate.
const ADDED_BY_THE_CONTROLLER: [&str; 7] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    "node.kubernetes.io/disk-pressure",
    "node.kubernetes.io/memory-pressure",
    "node.kubernetes.io/pid-pressure",
    "node.kubernetes.io/unschedulable",
    "node.kubernetes.io/network-unavailable",
];

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let exists = toleration.operator.as_deref() == Some("Exists");
    let value = exists || toleration.value.as_deref().unwrap_or("") == taint.value.as_deref().unwrap_or("");
    let key = match toleration.key.as_deref().unwrap_or("") {
        "" => exists,
        key => key == taint.key && value,
    };
    let effect = toleration.effect.as_deref().unwrap_or("");
    key && (effect.is_empty() || effect == taint.effect)
}

fn mirror_check(site: &Site, facts: &ClusterFacts, component: Component) -> CheckResult {
    let name = site.mirror_pod(component);
    let pod = facts.pods.iter().find(|pod| pod.metadata.name.as_deref() == Some(&name));
    match pod {
        Some(pod) if config_hash(pod).is_some() && is_ready(pod) => {
            CheckResult::pass("mirror-pod", format!("{name} is Ready"))
        }
        Some(pod) => {
            CheckResult::refuse("mirror-pod", pod_story(pod), "a pivot starts from Ready static pods")
        }
        None => CheckResult::refuse(
            "mirror-pod",
            format!("there is no pod {name}"),
            "the kubelet has not registered the static pod: its log says why",
        ),
    }
}

fn daemonset_checks(facts: &ClusterFacts) -> Vec<CheckResult> {
    let refuse = |(component, daemonset): (&Component, &Value)| {
        let name = component.daemonset_name();
        let by = daemonset["metadata"]["annotations"][RUN_ANNOTATION].as_str();
        let seen = match by {
            Some(run) => format!("DaemonSet {name} is there, made by run {run}"),
            None => format!("DaemonSet {name} is there, and fulcrum did not make it"),
        };
        let remedy = "this control plane is already self-hosted, or another tool has left it half-pivoted: while \
                      the static pods serve, kubectl -n kube-system delete daemonset takes it away";
        CheckResult::refuse("daemonset", seen, remedy)
    };
    facts.daemonsets.iter().map(refuse).collect()
}

/// The DaemonSet advertises `status.hostIP`; the static pod may advertise another address.
fn advertise_check(site: &Site, host: &HostFacts) -> Option<CheckResult> {
    let advertised = host.static_pods.get(&Component::ApiServer)?.advertise_address()?;
    let node = *site.settings.node_addresses.first()?;
    (advertised != node).then(|| {
        CheckResult::refuse(
            "advertise-address",
            format!("the API server advertises {advertised}, but the node's address is {node}"),
            "the self-hosted one advertises the node's address: give the kubelet the same one with --node-ip",
        )
    })
}

fn lock_check(facts: &ClusterFacts) -> Option<CheckResult> {
    let holder = facts.lock.as_ref()?;
    Some(CheckResult::refuse(
        "lock",
        format!("run {holder} (node/run) holds the lock on this cluster's control plane"),
        "finish it there with `fulcrum resume`, or undo it with `fulcrum rollback`; only if that node is gone for \
         good: kubectl -n kube-system delete lease fulcrum",
    ))
}

/// Minor and patch of `v1.35.3` or `v1.20.2-k3s1`; `None` if it is no version 1.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim_start_matches('v').split(['.', '-', '+']);
    if parts.next() != Some("1") {
        return None;
    }
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Process;
    use serde_json::json;

    #[test]
    fn versions_are_read_as_they_come() {
        assert_eq!(version("v1.35.3"), Some((35, 3)));
        assert_eq!(version("v1.20.2-k3s1"), Some((20, 2)));
        assert_eq!(version("v2.0.0"), None);
        assert_eq!(version(""), None);
    }

    #[test]
    fn a_node_is_known_by_the_process_that_listens() {
        let hash = "0123456789abcdef0123456789abcdef";
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "kube-apiserver-cp1", "annotations": {
                "kubernetes.io/config.hash": hash, "kubernetes.io/config.mirror": hash } },
            "spec": { "nodeName": "cp1", "containers": [] }
        }))
        .unwrap();
        let process = Process { pid: 1, command: vec![], pod_uid: Some(hash.to_owned()), memory: 0 };
        let address = "[::]:6443".parse().unwrap();
        let here = [Listener { process, inode: 1, uid: 0, address }];
        assert_eq!(find_node(std::slice::from_ref(&pod), &here, None).unwrap(), "cp1");
        assert!(
            find_node(std::slice::from_ref(&pod), &here, Some("cp2"))
                .unwrap_err()
                .seen
                .contains("cp1, not cp2")
        );
        assert!(find_node(&[], &here, None).unwrap_err().remedy.contains("another cluster's"));
        assert!(find_node(&[pod], &[], None).unwrap_err().seen.contains("no static API server"));
    }
}
