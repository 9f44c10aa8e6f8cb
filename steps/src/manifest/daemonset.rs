//! Makes a DaemonSet out of a static pod.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::command_line::CommandLine;
use super::in_secrets::{InSecrets, into_secrets};
use super::static_pod::StaticPod;
use super::{handlers, own_address};
use crate::component::Component;
use crate::release::{Release, Trait};

/// The label that selects a self-hosted component's pods, as in kubeadm's pivot. A selector cannot be changed
/// later. So it stays this one label.
pub const SELECTOR_LABEL: &str = "k8s-app";

/// The beginning of the annotations that the kubelet writes onto static and mirror pods.
const KUBELET_ANNOTATIONS: &str = "kubernetes.io/config.";

/// Where kubeadm notes one node's API endpoint.
pub(super) const ENDPOINT_ANNOTATION: &str =
    "kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint";

/// A new pod must have been Ready for this many seconds before the old one is removed. The old server answers
/// the kubelet's probes of the new one, and Ready comes too early. This time covers the start.
pub(super) const MIN_READY_SECONDS: u32 = 20;

/// The `dnsPolicy` of a pod that asks the node's resolver.
pub(super) const NODE_RESOLVER: &str = "Default";

/// The priority class that static pods have in effect.
pub const CRITICAL: &str = "system-node-critical";

/// Names for the variable with the node's address. The second is for manifests that use the first for a
/// purpose of their own.
pub(super) const HOST_IP: [&str; 2] = ["HOST_IP", "FULCRUM_HOST_IP"];

/// The role of control-plane nodes before 1.24.
const OLD_ROLE: &str = "node-role.kubernetes.io/master";

/// Fields of a pod that a DaemonSet's template must not have, or that describe the one pod on the one node.
/// The API server computes `priority` from `priorityClassName`, and refuses a pod in which the two differ.
const NOT_IN_A_TEMPLATE: [&str; 4] = ["nodeName", "activeDeadlineSeconds", "ephemeralContainers", "priority"];

/// The data about the cluster and the manifest's node that a DaemonSet needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The label of control-plane nodes, `node-role.kubernetes.io/control-plane` or `…/master`. It is also
    /// the key of their taint.
    pub role_label: String,
    /// The label that a node gets when it is pivoted. Without it in the node selector the first node's
    /// DaemonSet would start pods on control-plane nodes whose static pods still hold the ports.
    pub opt_in_label: String,
    /// The cluster's minor release: 35 for Kubernetes 1.35.
    pub kubernetes_minor: u32,
    /// The node's own addresses. A probe with one of them as its host is changed to ask its pod's own
    /// address.
    pub node_addresses: Vec<IpAddr>,
    /// Labels for the DaemonSet itself, beside `k8s-app`.
    pub labels: BTreeMap<String, String>,
    /// Annotations for the DaemonSet itself.
    pub annotations: BTreeMap<String, String>,
    /// The certificates, where they come from Secrets. `None`: from the host's files.
    pub in_secrets: Option<InSecrets>,
}

impl StaticPod {
    /// The DaemonSet that runs this pod. Equal manifests and targets always give equal values.
    ///
    /// A person's edits of the manifest stay, except for those that would keep the pod from running as a
    /// DaemonSet's or tie it to one node.
    pub fn daemonset(&self, target: &Target) -> Value {
        let name = self.component.daemonset_name();
        let mut labels: Map<_, _> = target.labels.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
        labels.insert(SELECTOR_LABEL.to_owned(), name.into());
        let mut metadata = json!({ "name": name, "namespace": "kube-system", "labels": labels });
        if !target.annotations.is_empty() {
            metadata["annotations"] = json!(target.annotations);
        }
        let mut spec = json!({
            "selector": { "matchLabels": { SELECTOR_LABEL: name } },
            "template": { "metadata": self.template_metadata(target), "spec": self.template_spec(target) },
        });
        if Release(target.kubernetes_minor).has(Trait::SurgingDaemonSets) {
            spec["minReadySeconds"] = MIN_READY_SECONDS.into();
            spec["updateStrategy"] =
                json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } });
        } else {
            spec["updateStrategy"] = json!({ "type": "OnDelete" });
        }
        json!({ "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": spec })
    }

    /// The pod's labels and annotations. Nothing else of its metadata applies to a template.
    fn template_metadata(&self, target: &Target) -> Value {
        let of_pod = |key: &str| self.document["metadata"][key].as_object().cloned().unwrap_or_default();
        let mut labels = of_pod("labels");
        labels.insert(SELECTOR_LABEL.to_owned(), self.component.daemonset_name().into());
        let mut annotations = of_pod("annotations");
        annotations.retain(|key, value| {
            let kubelets = key.starts_with(KUBELET_ANNOTATIONS);
            let this_nodes = key == ENDPOINT_ANNOTATION && names_node(value, &target.node_addresses);
            !kubelets && !this_nodes
        });
        let mut metadata = json!({ "labels": labels });
        if !annotations.is_empty() {
            metadata["annotations"] = annotations.into();
        }
        metadata
    }

    fn template_spec(&self, target: &Target) -> Value {
        let mut spec = self.document["spec"].as_object().cloned().unwrap_or_default();
        for field in NOT_IN_A_TEMPLATE {
            spec.remove(field);
        }
        // A DaemonSet's pods are always restarted. The API server accepts no other value.
        if spec.get("restartPolicy").is_some_and(|policy| policy != "Always") {
            spec.remove("restartPolicy");
        }
        place_on_control_plane(&mut spec, target);
        if let Some(InSecrets { root, .. }) = &target.in_secrets {
            into_secrets(&mut spec, self.container, &self.line, root);
        }
        // A static pod has no service account. A token would be another thing on which its start depends.
        spec.entry("automountServiceAccountToken").or_insert(false.into());
        // On the host's network `ClusterFirst` means the node's resolver. The template says so outright. The
        // cluster's resolver would be wrong: the API server would need it to start, and it needs the API
        // server (kubernetes/kubeadm#1236).
        if spec.get("dnsPolicy").is_none_or(|policy| policy.is_null() || policy == "ClusterFirst") {
            spec.insert("dnsPolicy".to_owned(), NODE_RESOLVER.into());
        }
        // To the kubelet every static pod is critical. A DaemonSet's pod is critical if its class says so; if
        // not, it is evicted first.
        if self.priority_class().is_none() {
            spec.insert("priorityClassName".to_owned(), CRITICAL.into());
        }
        for list in ["initContainers", "containers"] {
            let containers = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
            for (at, container) in containers.enumerate() {
                let is_component = list == "containers" && at == self.container;
                if let Some(container) = container.as_object_mut() {
                    handlers::detach(container, self.same_as_the_pods(target, is_component));
                }
            }
        }
        let component =
            spec.get_mut("containers").and_then(|list| list.get_mut(self.container)?.as_object_mut());
        if let Some(container) = component {
            self.adapt_component(container, target);
        }
        spec.into()
    }

    /// The addresses of the node under which a container is reached as it is under its pod's own, which is the node's
    /// first. A component that listens everywhere is reached under each of them.
    fn same_as_the_pods<'a>(&self, target: &'a Target, is_component: bool) -> &'a [IpAddr] {
        let bound = self.bind_address();
        let everywhere = is_component && bound.is_none_or(|address| address.is_unspecified());
        match everywhere {
            true => &target.node_addresses,
            false => target.node_addresses.get(..1).unwrap_or_default(),
        }
    }

    /// Sets the flags, and the variable that stands for the node's own address in them.
    fn adapt_component(&self, container: &mut Map<String, Value>, target: &Target) {
        let mut line = self.line.clone();
        // Only the very address that the variable will stand for. Any other stays as it is written.
        if let Some(own) = target.node_addresses.first() {
            // Where both names have another meaning the address stays as it is written: it is right on this node.
            let name = free_name(container);
            if name.is_some_and(|name| self.generalise(&mut line, *own, name)) {
                set_host_ip(container);
            }
        }
        if !self.permits_port_sharing() {
            line.set("permit-port-sharing", "true");
        }
        line.write(container);
    }

    /// Writes the variable `name` into the flags for the address `own`. Returns whether the address was there.
    fn generalise(&self, line: &mut CommandLine, own: IpAddr, name: &str) -> bool {
        let reference = format!("$({name})");
        let advertised = line.written("advertise-address");
        let advertises = self.component == Component::ApiServer
            && advertised.is_some_and(|literal| handlers::is_one_of(&literal, &[own]));
        if advertises {
            line.set("advertise-address", &reference);
        }
        let replace = |flag: &str, value: &str| match flag {
            "advertise-address" => None,
            flag => own_address::generalised(flag, value, own, &reference),
        };
        line.replace_values(replace) || advertises
    }
}

/// Adds the node selector and the toleration to those of the manifest.
fn place_on_control_plane(spec: &mut Map<String, Value>, target: &Target) {
    let mut selector = spec.get("nodeSelector").and_then(Value::as_object).cloned().unwrap_or_default();
    for label in [&target.role_label, &target.opt_in_label] {
        selector.insert(label.clone(), "".into());
    }
    spec.insert("nodeSelector".to_owned(), selector.into());

    let mut tolerations = spec.get("tolerations").and_then(Value::as_array).cloned().unwrap_or_default();
    // Up to 1.24 kubeadm tainted with the old role, even where it already labelled with the new one.
    let tainted = Release(target.kubernetes_minor).has(Trait::MasterTaint);
    let second = (tainted && target.role_label != OLD_ROLE).then_some(OLD_ROLE);
    for taint in [target.role_label.as_str()].into_iter().chain(second) {
        if !tolerations.iter().any(|toleration| tolerates(toleration, taint)) {
            tolerations.push(json!({ "key": taint, "operator": "Exists", "effect": "NoSchedule" }));
        }
    }
    spec.insert("tolerations".to_owned(), tolerations.into());
}

/// Whether this is the toleration that fulcrum adds for the role.
pub(super) fn our_toleration(toleration: &Value, target: &Target) -> bool {
    let ours = |taint: &str| json!({ "key": taint, "operator": "Exists", "effect": "NoSchedule" });
    *toleration == ours(&target.role_label) || *toleration == ours(OLD_ROLE)
}

/// Whether a toleration covers the NoSchedule taint with this key and, as kubeadm makes it, no value.
fn tolerates(toleration: &Value, taint: &str) -> bool {
    let text = |field: &str| toleration.get(field).and_then(Value::as_str).unwrap_or_default();
    let exists = text("operator") == "Exists";
    let key = match text("key") {
        "" => exists,
        key => key == taint && (exists || text("value").is_empty()),
    };
    key && matches!(text("effect"), "" | "NoSchedule")
}

/// The name for the variable with the address of a pod's node. `None` if the manifest uses each of the names for a
/// purpose of its own.
fn free_name(container: &Map<String, Value>) -> Option<&'static str> {
    HOST_IP.into_iter().find(|name| variable(container, name).is_none_or(is_host_ip))
}

/// Gives the container an environment variable with the address of its pod's node. The kubelet substitutes the value in
/// the flags, but only in those of the container that defines the variable.
fn set_host_ip(container: &mut Map<String, Value>) {
    let Some(name) = free_name(container).filter(|name| variable(container, name).is_none()) else { return };
    let mut env = container.get("env").and_then(Value::as_array).cloned().unwrap_or_default();
    env.push(json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": "status.hostIP" } } }));
    container.insert("env".to_owned(), env.into());
}

/// The variable of this name that counts: the last one.
pub(super) fn variable<'a>(container: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    container.get("env")?.as_array()?.iter().rfind(|variable| variable["name"] == name)
}

/// Whether a variable has the address of the pod's node.
pub(super) fn is_host_ip(variable: &Value) -> bool {
    variable["valueFrom"]["fieldRef"]["fieldPath"] == "status.hostIP"
}

/// Whether an endpoint `host:port` is one of the node's. A template would claim it for every node.
fn names_node(endpoint: &Value, addresses: &[IpAddr]) -> bool {
    let host = endpoint.as_str().and_then(|endpoint| endpoint.rsplit_once(':')).map(|(host, _)| host);
    host.is_some_and(|host| handlers::is_one_of(host, addresses))
}
