//! The three parts of a control plane that a pivot moves, and what Kubernetes prescribes for each.
//!
//! etcd is not one of them: it stays a static pod (or outside the cluster).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One of the three components that kubeadm runs as a static pod and a pivot turns into a DaemonSet.
///
/// It serialises as its program's name, e.g. `"kube-apiserver"`. Every list has the order of the variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Component {
    /// The API server.
    #[serde(rename = "kube-apiserver")]
    ApiServer,
    /// The controller manager.
    #[serde(rename = "kube-controller-manager")]
    ControllerManager,
    /// The scheduler.
    #[serde(rename = "kube-scheduler")]
    Scheduler,
}

impl Component {
    /// All components, in order.
    pub const ALL: [Component; 3] =
        [Component::ApiServer, Component::ControllerManager, Component::Scheduler];

    /// The program's name, which kubeadm also gives to the pod and its container.
    pub const fn name(self) -> &'static str {
        match self {
            Component::ApiServer => "kube-apiserver",
            Component::ControllerManager => "kube-controller-manager",
            Component::Scheduler => "kube-scheduler",
        }
    }

    /// The file in the kubelet's manifests directory.
    pub const fn manifest_file(self) -> &'static str {
        match self {
            Component::ApiServer => "kube-apiserver.yaml",
            Component::ControllerManager => "kube-controller-manager.yaml",
            Component::Scheduler => "kube-scheduler.yaml",
        }
    }

    /// The DaemonSet in kube-system, under the name that `kubeadm alpha selfhosting pivot` gave it.
    /// It is also the value of the label `k8s-app`.
    pub const fn daemonset_name(self) -> &'static str {
        match self {
            Component::ApiServer => "self-hosted-kube-apiserver",
            Component::ControllerManager => "self-hosted-kube-controller-manager",
            Component::Scheduler => "self-hosted-kube-scheduler",
        }
    }

    /// The port on which it serves HTTPS without `--secure-port`.
    pub const fn default_port(self) -> u16 {
        match self {
            Component::ApiServer => 6443,
            Component::ControllerManager => 10257,
            Component::Scheduler => 10259,
        }
    }

    /// The path for readiness if its manifest has no probe. In the controller manager and the scheduler,
    /// `/readyz` is younger than the oldest supported release.
    pub(crate) const fn health_path(self) -> &'static str {
        match self {
            Component::ApiServer => "/readyz",
            Component::ControllerManager | Component::Scheduler => "/healthz",
        }
    }

    /// The leader-election Lease in kube-system. `None` for the API server, which elects no leader.
    pub const fn lease_name(self) -> Option<&'static str> {
        match self {
            Component::ApiServer => None,
            Component::ControllerManager => Some("kube-controller-manager"),
            Component::Scheduler => Some("kube-scheduler"),
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no component.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{seen}` is not a control-plane component: say kube-apiserver, kube-controller-manager or kube-scheduler"
)]
pub struct UnknownComponent {
    /// The word.
    pub seen: String,
}

impl FromStr for Component {
    type Err = UnknownComponent;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Component::ALL
            .into_iter()
            .find(|component| component.name() == word)
            .ok_or_else(|| UnknownComponent { seen: word.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_everywhere() {
        for component in Component::ALL {
            assert_eq!(component.name().parse::<Component>(), Ok(component));
            assert_eq!(component.to_string(), component.name());
            assert_eq!(serde_json::to_value(component).unwrap(), component.name());
            assert_eq!(serde_json::from_value::<Component>(component.name().into()).unwrap(), component);
            assert_eq!(component.manifest_file(), format!("{component}.yaml"));
            assert_eq!(component.daemonset_name(), format!("self-hosted-{component}"));
        }
        assert!("etcd".parse::<Component>().unwrap_err().to_string().contains("`etcd`"));
    }
}
