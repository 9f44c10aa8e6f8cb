//! Checks of what the API says.

use super::check_result::CheckResult;
use super::daemonsets::{OnDaemonSets, daemonset_checks};
use super::fit::fit_checks;
use super::host_facts::HostFacts;
use crate::check::Check;
use crate::cluster::{ROLE_LABEL, ROLE_LABEL_BEFORE_1_24, config_hash, is_ready, node_of, pod_story};
use crate::component::Component;
use crate::handover::elsewhere::Elsewhere;
use crate::manifest::{Advertised, Difference, StaticPod, same_spec};
use crate::release::{NEWEST_TRIED, OLDEST, Release, Trait};
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
    /// The nodes of this role, this one among them.
    pub(super) peers: Vec<String>,
    /// The pods of the control plane's namespace.
    pub(super) pods: Vec<Pod>,
    /// The pods of every namespace that are on this node.
    pub(super) pods_here: Vec<Pod>,
    /// What the other nodes' API servers and etcd's members say. `None` without a manifest of the API server.
    pub(super) elsewhere: Option<Elsewhere>,
    /// The control-plane nodes that run on the DaemonSets.
    pub(super) on_daemonsets: Vec<String>,
    /// The addresses under which pods find the API.
    pub(super) published: Vec<IpAddr>,
    pub(super) daemonsets: BTreeMap<Component, Value>,
    pub(super) lock: Option<String>,
}

impl ClusterFacts {
    /// 35 for `v1.35.3`.
    pub(super) fn minor(&self) -> Option<u32> {
        version(&self.version).map(|(minor, _)| minor)
    }

    /// The DaemonSets that are there, and the nodes that run on them.
    fn on_daemonsets(&self) -> OnDaemonSets<'_> {
        let others = self.on_daemonsets.iter().filter(|node| **node != self.name);
        OnDaemonSets {
            daemonsets: &self.daemonsets,
            others: others.map(String::as_str).collect(),
            here: self.on_daemonsets.contains(&self.name),
        }
    }
}

/// The role label that the node bears, empty as kubeadm makes it. The DaemonSets select it.
pub(super) fn role_label(node: &Node) -> Option<&'static str> {
    let labels = node.metadata.labels.as_ref()?;
    let bears = |label: &&str| labels.get(*label).is_some_and(String::is_empty);
    [ROLE_LABEL, ROLE_LABEL_BEFORE_1_24].into_iter().find(bears)
}

pub(super) async fn cluster_checks(site: &Site, host: &HostFacts, facts: &ClusterFacts) -> Vec<CheckResult> {
    let mut results = vec![CheckResult::pass(Check::Node, format!("this host is node {}", facts.name))];
    results.extend(version_checks(facts));
    results.push(role_check(facts));
    results.extend(elsewhere_checks(facts));
    let made = |pod: &StaticPod| (host.path(pod.component()), pod.daemonset(&site.settings.target(None)));
    let daemonsets: Vec<_> = host.static_pods.values().map(made).collect();
    for (_, daemonset) in &daemonsets {
        results.extend(taint_checks(facts, daemonset));
    }
    results.extend(fit_checks(&facts.node, &facts.pods_here, &daemonsets));
    results.extend(Component::ALL.map(|component| mirror_check(site, host, facts, component)));
    results.extend(daemonset_checks(site, host, &facts.on_daemonsets()).await);
    results.extend(advertise_check(site, host, facts));
    results.extend(insecure_port_checks(host, facts));
    results.extend(lock_check(site, facts));
    for pod in host.static_pods.values().filter(|pod| !facts.daemonsets.contains_key(&pod.component())) {
        results.extend(admission_check(site, host, pod).await);
    }
    results
}

/// Whether the API server accepts the DaemonSet and leaves it as it is.
async fn admission_check(site: &Site, host: &HostFacts, pod: &StaticPod) -> Option<CheckResult> {
    let path = host.path(pod.component());
    let ours = pod.daemonset(&site.settings.target(None));
    let made = match site.cluster.create_daemonset(&ours, true).await {
        Ok(made) => made,
        Err(error) => {
            let remedy =
                format!("the API server would not take the DaemonSet: see {path}, and what admits objects");
            return Some(CheckResult::refuse(Check::Admission, error.to_string(), remedy));
        }
    };
    let differences = same_spec(&ours, &made).err()?;
    let list: Vec<String> = differences.iter().map(|one| change(one, &path)).collect();
    Some(CheckResult::refuse(
        Check::Admission,
        list.join("; "),
        "what it would make is not what the static pod is: mend the manifest, or what changes objects as they are admitted",
    ))
}

fn change(difference: &Difference, path: &str) -> String {
    let field = difference.path.strip_prefix("spec.template.").unwrap_or(&difference.path);
    match (&difference.ours, &difference.live) {
        (Some(_), None) => format!("{path}: the API server does not know {field}, and drops it"),
        _ => format!("{path}: the API server would change {difference}"),
    }
}

fn version_checks(facts: &ClusterFacts) -> Vec<CheckResult> {
    version_checks_of(&facts.version, &facts.node).0
}

/// What the releases of the API server and of the kubelet say, and the API server's minor release.
pub(super) fn version_checks_of(server: &str, node: &Node) -> (Vec<CheckResult>, Option<u32>) {
    let minor = version(server).map(|(minor, _)| minor);
    (releases(server, node, minor.map(Release)), minor)
}

fn releases(server: &str, node: &Node, release: Option<Release>) -> Vec<CheckResult> {
    let kubelet = node.status.as_ref().and_then(|status| status.node_info.as_ref());
    let kubelet = kubelet.map_or("", |info| info.kubelet_version.as_str());
    let known = match (release, version(kubelet)) {
        (Some(release), _) if release < Release(OLDEST) => None,
        (None, _) => None,
        (_, Some((20, ..=3))) => {
            return vec![CheckResult::refuse(
                Check::Version,
                format!("the kubelet is {kubelet}"),
                "1.20.0 to 1.20.3 can reject DaemonSet pods after a reboot: upgrade it to 1.20.4 or later",
            )];
        }
        (release, _) => release,
    };
    let Some(release) = known else {
        return vec![CheckResult::refuse(
            Check::Version,
            format!("the API server is {server}"),
            "fulcrum needs 1.20 or later: --permit-port-sharing and a kubelet that keeps DaemonSet pods",
        )];
    };
    let seen = format!("API server {server}, kubelet {kubelet}; known of {release}: {}", release.known());
    let mut results = vec![CheckResult::pass(Check::Version, seen)];
    if !release.is_tried() {
        results.push(CheckResult::warn(
            Check::Version,
            format!(
                "{release} is newer than any release that fulcrum was tried on, which is {}",
                Release(NEWEST_TRIED)
            ),
            "`fulcrum rehearse`, and a pivot of a node that matters less, tell more",
        ));
    }
    results
}

/// The ports without TLS that old controller managers and schedulers open. Two processes cannot share one.
fn insecure_port_checks(host: &HostFacts, facts: &ClusterFacts) -> Vec<CheckResult> {
    if !facts.minor().is_some_and(|minor| Release(minor).has(Trait::InsecurePorts)) {
        return Vec::new();
    }
    let open = |pod: &StaticPod| {
        let component = pod.component();
        let (flag, default) = match component {
            Component::ApiServer => ("insecure-port", "0"),
            Component::ControllerManager => ("port", "10252"),
            Component::Scheduler => ("port", "10251"),
        };
        let port = pod.flag(flag).unwrap_or_else(|| default.to_owned());
        (port != "0").then(|| {
            CheckResult::refuse(
                Check::InsecurePort,
                format!("{}: {component} opens port {port} without TLS (--{flag})", host.path(component)),
                format!("two of it cannot have that port at a time: set --{flag}=0"),
            )
        })
    };
    host.static_pods.values().filter_map(open).collect()
}

fn role_check(facts: &ClusterFacts) -> CheckResult {
    match role_label(&facts.node) {
        Some(label) if facts.peers.len() < 2 => {
            CheckResult::pass(Check::Role, format!("the node bears {label}"))
        }
        Some(label) => CheckResult::warn(
            Check::Role,
            format!("{label} is on {} nodes: {}", facts.peers.len(), facts.peers.join(", ")),
            "one after the other, each with a command of its own; a run that goes back half-way can cost requests \
             there: docs/limits.md",
        ),
        None => CheckResult::refuse(
            Check::Role,
            format!("node {} bears neither {ROLE_LABEL}= nor {ROLE_LABEL_BEFORE_1_24}=", facts.name),
            format!(
                "no DaemonSet would run here: kubectl label --overwrite node {} {ROLE_LABEL}=",
                facts.name
            ),
        ),
    }
}

/// Whether the cluster can spare this node's API server for a moment.
fn elsewhere_checks(facts: &ClusterFacts) -> Vec<CheckResult> {
    let Some(seen) = &facts.elsewhere else { return Vec::new() };
    let result = |check: Check, seen: Result<String, String>, remedy: &str| match seen {
        Ok(seen) => CheckResult::pass(check, seen),
        Err(seen) => CheckResult::refuse(check, seen, remedy),
    };
    vec![
        result(
            Check::ApiServers,
            seen.servers_ready(),
            "while this node changes hands its clients may need the others: mend them first",
        ),
        result(
            Check::Etcd,
            seen.quorum_kept(),
            "if this node were lost, so would be the cluster: bring etcd's members back first",
        ),
    ]
}

/// The node's taints that neither the DaemonSet's own tolerations nor those that its controller adds cover.
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
            Check::Taint,
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

/// The tolerations that the DaemonSet controller gives every pod on the host's network.
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

fn mirror_check(site: &Site, host: &HostFacts, facts: &ClusterFacts, component: Component) -> CheckResult {
    let name = site.mirror_pod(component);
    let pod = facts.pods.iter().find(|pod| pod.metadata.name.as_deref() == Some(&name));
    match pod {
        Some(pod) if config_hash(pod).is_some() && is_ready(pod) => {
            CheckResult::pass(Check::MirrorPod, format!("{name} is Ready"))
        }
        Some(pod) => {
            let remedy = format!(
                "a pivot starts from Ready static pods: mend {} or what it needs",
                host.path(component)
            );
            CheckResult::refuse(Check::MirrorPod, pod_story(pod), remedy)
        }
        None => CheckResult::refuse(
            Check::MirrorPod,
            format!("there is no pod {name}"),
            format!(
                "the kubelet has not registered the static pod of {}: its log says why",
                host.path(component)
            ),
        ),
    }
}

/// The address under which pods find the API must be the node's: the DaemonSet's pod publishes that address,
/// and fulcrum holds it.
fn advertise_check(site: &Site, host: &HostFacts, facts: &ClusterFacts) -> Option<CheckResult> {
    let pod = host.static_pods.get(&Component::ApiServer)?;
    let node = *site.settings.node_addresses.first()?;
    let path = host.path(Component::ApiServer);
    let (seen, remedy) = match pod.advertised() {
        Advertised::Address(address) if address != node => (
            format!("{path}: the API server publishes {address}, but the node's address is {node}"),
            format!(
                "give the kubelet the same address with --node-ip={address}, or say --advertise-address={node} if the \
                     API server listens there"
            ),
        ),
        Advertised::Unclear(text) => (
            format!("{path}: it cannot be told what --advertise-address={text} stands for"),
            format!("write the address itself: --advertise-address={node}"),
        ),
        _ if pod.publishes_itself() && !facts.published.is_empty() && !facts.published.contains(&node) => {
            let published: Vec<String> = facts.published.iter().map(ToString::to_string).collect();
            (
                format!(
                    "{path}: pods find the API at {}, but the node's address is {node}",
                    published.join(", ")
                ),
                format!("say --advertise-address={node}, or give the kubelet the other one with --node-ip"),
            )
        }
        Advertised::Address(_) | Advertised::NodeAddress | Advertised::Chosen => return None,
    };
    Some(CheckResult::refuse(Check::AdvertiseAddress, seen, remedy))
}

/// Whether another run is at work. One on another node ends, and the run waits for that. One on this node has lost its
/// journal: nobody will go on with it.
fn lock_check(site: &Site, facts: &ClusterFacts) -> Option<CheckResult> {
    lock_check_of(site.take_lock, facts.lock.as_deref(), &facts.name, &facts.peers)
}

/// As the step `lock` will do, on node `name` of the control-plane nodes `peers`.
pub(super) fn lock_check_of(
    take_lock: bool,
    holder: Option<&str>,
    name: &str,
    peers: &[String],
) -> Option<CheckResult> {
    let holder = holder?;
    let seen = format!("run {holder} (node/run) holds the lock on this cluster's control plane");
    let node = node_of(holder);
    Some(if take_lock {
        CheckResult::warn(Check::Lock, seen, "the run takes the lock from it, as asked for")
    } else if node == name {
        CheckResult::refuse(
            Check::Lock,
            seen,
            "finish it there with `fulcrum resume`, or undo it with `fulcrum rollback`; only if nobody will ever go on with \
             it there: --take-lock",
        )
    } else if peers.iter().any(|peer| peer == node) {
        let way = format!(
            "the run waits until that is done: on {node}, `fulcrum resume` or `fulcrum rollback` ends it"
        );
        CheckResult::warn(Check::Lock, seen, way)
    } else {
        let way = format!(
            "{node} is no control-plane node: if the cluster has no such node any more, the run takes the lock over, and \
             waits otherwise"
        );
        CheckResult::warn(Check::Lock, seen, way)
    })
}

/// Minor and patch of `v1.35.3` or `v1.20.2-k3s1`. `None` if it is no version 1.
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

    #[test]
    fn versions_are_read_as_they_come() {
        assert_eq!(version("v1.35.3"), Some((35, 3)));
        assert_eq!(version("v1.20.2-k3s1"), Some((20, 2)));
        assert_eq!(version("v2.0.0"), None);
        assert_eq!(version(""), None);
    }
}
