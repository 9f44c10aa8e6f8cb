//! What kubeadm itself upgrades once the control plane is of another release. Pure.

use crate::cluster::ObjectPart;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::str::FromStr;

/// A phase of `kubeadm init` that brings objects of the cluster to its release. Those that `kubeadm upgrade apply` has, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The configuration that kubelets get when they join or are upgraded.
    KubeletConfig,
    /// CoreDNS, with its Corefile carried over.
    CoreDns,
    /// kube-proxy, with its configuration.
    KubeProxy,
}

const fn config_map(name: &'static str) -> ObjectPart {
    ObjectPart { group: "", kind: "ConfigMap", name, part: "/data" }
}

const TEMPLATE: &str = "/spec/template";
const RBAC: &str = "rbac.authorization.k8s.io";

/// What kubeadm writes otherwise from release to release (phases/addons, phases/kubelet of kubeadm 1.34 to 1.37). The first one is
/// that without which the cluster has nothing of it: before 1.24 `kubelet-config` had the release in its name, and kubeadm
/// then makes a new one. Accounts and bindings stay the same.
const KUBELET_CONFIG: [ObjectPart; 1] = [config_map("kubelet-config")];
const CORE_DNS: [ObjectPart; 3] = [
    ObjectPart { group: "apps", kind: "Deployment", name: "coredns", part: TEMPLATE },
    config_map("coredns"),
    ObjectPart { group: RBAC, kind: "ClusterRole", name: "system:coredns", part: "/rules" },
];
const KUBE_PROXY: [ObjectPart; 2] = [
    ObjectPart { group: "apps", kind: "DaemonSet", name: "kube-proxy", part: TEMPLATE },
    config_map("kube-proxy"),
];

impl Phase {
    /// Each, in kubeadm's order.
    pub const ALL: [Self; 3] = [Self::KubeletConfig, Self::CoreDns, Self::KubeProxy];

    /// The name, as the option `--skip-phases` of kubeadm has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KubeletConfig => "upload-config/kubelet",
            Self::CoreDns => "addon/coredns",
            Self::KubeProxy => "addon/kube-proxy",
        }
    }

    /// The last word of the name of its step.
    pub(crate) const fn short(self) -> &'static str {
        match self {
            Self::KubeletConfig => "kubelet-config",
            Self::CoreDns => "coredns",
            Self::KubeProxy => "kube-proxy",
        }
    }

    /// The document of kubeadm's configuration that an object of this phase holds, if it holds one.
    pub(crate) fn document_of(self, object: &Value) -> Option<&str> {
        let key = match self {
            Self::KubeletConfig => "kubelet",
            Self::CoreDns => return None,
            Self::KubeProxy => "config.conf",
        };
        object["data"][key].as_str()
    }

    /// What it changes.
    pub(crate) const fn parts(self) -> &'static [ObjectPart] {
        match self {
            Self::KubeletConfig => &KUBELET_CONFIG,
            Self::CoreDns => &CORE_DNS,
            Self::KubeProxy => &KUBE_PROXY,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Phase {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|phase| phase.name() == text);
        found.ok_or_else(|| format!("`{text}` is no phase of an upgrade; those are {}", names()))
    }
}

/// Whether all pods of a workload are of its template, and available. `None` if the object is no workload.
pub(crate) fn is_through(object: &Value) -> Option<bool> {
    let status = &object["status"];
    let number = |value: &Value| value.as_i64().unwrap_or(0);
    let [wanted, updated, available] = match object["kind"].as_str()? {
        "Deployment" => {
            [&object["spec"]["replicas"], &status["updatedReplicas"], &status["availableReplicas"]]
        }
        "DaemonSet" => {
            [&status["desiredNumberScheduled"], &status["updatedNumberScheduled"], &status["numberAvailable"]]
        }
        _ => return None,
    }
    .map(number);
    let is_seen = number(&status["observedGeneration"]) >= number(&object["metadata"]["generation"]);
    Some(is_seen && updated >= wanted && available >= wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_phase_has_kubeadms_name() {
        for phase in Phase::ALL {
            assert_eq!(phase.name().parse(), Ok(phase));
        }
        assert!("addon/all".parse::<Phase>().unwrap_err().contains("addon/coredns"));
    }

    #[test]
    fn a_workload_is_through_once_the_controller_has_seen_it_and_all_pods_are_new() {
        let deployment = |generation: i64, updated: i64, available: i64| {
            json!({
                "kind": "Deployment", "metadata": { "generation": 2 }, "spec": { "replicas": 2 },
                "status": { "observedGeneration": generation, "updatedReplicas": updated, "availableReplicas": available },
            })
        };
        assert_eq!(is_through(&deployment(2, 2, 2)), Some(true));
        for (generation, updated, available) in [(1, 2, 2), (2, 1, 2), (2, 2, 1)] {
            assert_eq!(is_through(&deployment(generation, updated, available)), Some(false));
        }
        let mut daemonset = json!({ "kind": "DaemonSet", "metadata": { "generation": 1 } });
        daemonset["status"] = json!({
            "observedGeneration": 1, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 2,
        });
        assert_eq!(is_through(&daemonset), Some(false));
        daemonset["status"]["numberAvailable"] = json!(3);
        assert_eq!(is_through(&daemonset), Some(true));
        assert_eq!(is_through(&json!({ "kind": "ConfigMap" })), None);
    }
}
