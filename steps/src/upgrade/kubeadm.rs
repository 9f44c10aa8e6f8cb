//! What kubeadm is asked to render. Pure.

use super::Version;
use crate::manifest::read_as_the_kubelet;
use serde_json::{Value, json};
use std::net::IpAddr;

/// The node for which kubeadm renders, and what the cluster says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubeadmInput {
    /// The `ClusterConfiguration` that kubeadm keeps in ConfigMap `kube-system/kubeadm-config`.
    pub cluster: String,
    /// The node's name.
    pub node: String,
    /// The node's address, to which the manifests are bound.
    pub address: IpAddr,
    /// The port of the API server.
    pub port: u16,
    /// The container runtime's socket. kubeadm would look for one, and stops at two.
    pub runtime: String,
}

/// The cluster's configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "ConfigMap kube-system/kubeadm-config has no ClusterConfiguration that can be read: is this a cluster of kubeadm? \
     `kubeadm init phase upload-config kubeadm --config FILE` writes it"
)]
pub struct NotKubeadms;

/// The file for `kubeadm init phase control-plane all --config`, for this version of Kubernetes.
///
/// # Errors
/// When the cluster's configuration is not kubeadm's.
pub fn kubeadm_config(input: &KubeadmInput, version: Version) -> Result<String, NotKubeadms> {
    let mut cluster = read_as_the_kubelet(input.cluster.as_bytes()).ok_or(NotKubeadms)?;
    let api =
        cluster["apiVersion"].as_str().filter(|api| api.starts_with("kubeadm.k8s.io/")).map(str::to_owned);
    let (Some(api), Some("ClusterConfiguration")) = (api, cluster["kind"].as_str()) else {
        return Err(NotKubeadms);
    };
    cluster["kubernetesVersion"] = version.to_string().into();
    let init: Value = json!({
        "apiVersion": api,
        "kind": "InitConfiguration",
        "localAPIEndpoint": { "advertiseAddress": input.address, "bindPort": input.port },
        "nodeRegistration": { "name": input.node, "criSocket": input.runtime },
    });
    // kubeadm reads documents of JSON as it reads YAML.
    Ok(format!("{init}\n---\n{cluster}\n"))
}

/// The line of the cluster's configuration that has the release.
const VERSION_LINE: &str = "kubernetesVersion:";

/// The release that the cluster's configuration notes. `None` unless exactly one line has it, as kubeadm writes it.
pub(crate) fn noted_version(configuration: &str) -> Option<&str> {
    let mut lines = configuration.lines().filter_map(|line| line.strip_prefix(VERSION_LINE));
    let noted = lines.next()?.trim();
    lines.next().is_none().then_some(noted)
}

/// The configuration with another release noted, every other line as it is.
pub(crate) fn with_version(configuration: &str, version: &str) -> Option<String> {
    noted_version(configuration)?;
    let lines = configuration.split_inclusive('\n').map(|line| match line.starts_with(VERSION_LINE) {
        true => format!("{VERSION_LINE} {version}{}", if line.ends_with('\n') { "\n" } else { "" }),
        false => line.to_owned(),
    });
    Some(lines.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_noted_and_no_other_line_changes() {
        let text = "a: 1\nkubernetesVersion: v1.35.3\nnetworking:\n  kubernetesVersion: mine\n";
        assert_eq!(noted_version(text), Some("v1.35.3"));
        let after = "a: 1\nkubernetesVersion: v1.36.0\nnetworking:\n  kubernetesVersion: mine\n";
        assert_eq!(with_version(text, "v1.36.0").as_deref(), Some(after));
        assert_eq!(with_version("kubernetesVersion: v1", "v2").as_deref(), Some("kubernetesVersion: v2"));
        for other in ["", "a: 1", "kubernetesVersion: a\nkubernetesVersion: b\n"] {
            assert_eq!(with_version(other, "v1.36.0"), None, "{other}");
        }
    }

    #[test]
    fn the_clusters_own_configuration_is_rendered_for_another_version() {
        let cluster = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nimageRepository: mirror.example\n\
                       kubernetesVersion: v1.35.3\nnetworking:\n  serviceSubnet: 10.96.0.0/12\n";
        let input = KubeadmInput {
            cluster: cluster.to_owned(),
            node: "cp1".to_owned(),
            address: [10, 0, 0, 1].into(),
            port: 6443,
            runtime: "unix:///run/containerd/containerd.sock".to_owned(),
        };
        let text = kubeadm_config(&input, Version { minor: 36, patch: 3 }).unwrap();
        let (init, made) = text.split_once("\n---\n").unwrap();
        let (init, made): (Value, Value) =
            (serde_json::from_str(init).unwrap(), serde_json::from_str(made).unwrap());
        assert_eq!(init["apiVersion"], made["apiVersion"]);
        assert_eq!(init["localAPIEndpoint"], json!({ "advertiseAddress": "10.0.0.1", "bindPort": 6443 }));
        assert_eq!(made["kubernetesVersion"], "v1.36.3");
        assert_eq!(made["imageRepository"], "mirror.example");
        for other in ["", "a: [", "kind: ClusterConfiguration\napiVersion: kops/v1\n"] {
            let input = KubeadmInput { cluster: other.to_owned(), ..input.clone() };
            assert_eq!(kubeadm_config(&input, Version { minor: 36, patch: 3 }), Err(NotKubeadms), "{other}");
        }
    }
}
