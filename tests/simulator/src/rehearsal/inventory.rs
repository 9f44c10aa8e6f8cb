//! What a run could leave changed: files of the manifests directory, and objects of the API.

use crate::{SimulatedNode, WaitError};
use fulcrum_steps::cluster::ClusterError;
use fulcrum_steps::host::{FileImage, ManifestsDir};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod, Secret};
use kube::Api;
use kube::api::ListParams;
use std::collections::BTreeMap;
use std::io;

/// Something is not as it must be.
#[derive(Debug, thiserror::Error)]
pub enum Difference {
    /// The processes.
    #[error("the processes: {0}")]
    Processes(#[from] WaitError),
    /// A file in the manifests directory.
    #[error("the manifests directory: {name} {seen}")]
    File {
        /// The file.
        name: String,
        /// Its state instead.
        seen: &'static str,
    },
    /// The API's objects.
    #[error("the cluster: {0}")]
    Objects(String),
    /// The objects could not be looked at.
    #[error(transparent)]
    Api(#[from] ClusterError),
    /// The manifests directory could not be looked at.
    #[error("the manifests directory could not be looked at: {0}")]
    Disk(#[from] io::Error),
}

/// The objects that a run could leave changed, each with what counts of it.
pub(super) type Inventory = BTreeMap<String, String>;

/// Every object of kube-system that a run could touch, and the marks of the nodes, as this node's API server
/// has them.
pub(super) async fn inventory(node: &SimulatedNode) -> Result<Inventory, kube::Error> {
    let client = node.client();
    let all = ListParams::default();
    let mut seen = Inventory::new();
    let daemonsets: Api<DaemonSet> = Api::namespaced(client.clone(), "kube-system");
    for daemonset in daemonsets.list(&all).await? {
        seen.insert(format!("DaemonSet {}", daemonset.metadata.name.unwrap_or_default()), String::new());
    }
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-system");
    for lease in leases.list(&all).await? {
        seen.insert(format!("Lease {}", lease.metadata.name.unwrap_or_default()), String::new());
    }
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "kube-system");
    // Those that a run has made. Somebody else may make others meanwhile.
    let of_a_run = |secret: &Secret| {
        secret.metadata.annotations.as_ref().is_some_and(|all| all.contains_key("fulcrum.dev/run"))
    };
    for secret in secrets.list(&all).await?.into_iter().filter(of_a_run) {
        seen.insert(format!("Secret {}", secret.metadata.name.unwrap_or_default()), String::new());
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), "kube-system");
    for pod in pods.list(&all).await? {
        let hash = fulcrum_steps::cluster::config_hash(&pod).unwrap_or_default().to_owned();
        seen.insert(format!("pod {}", pod.metadata.name.unwrap_or_default()), hash);
    }
    let nodes: Api<Node> = Api::all(client);
    for one in nodes.list(&all).await? {
        let name = one.metadata.name.unwrap_or_default();
        let labels = one.metadata.labels.into_iter().flatten();
        seen.extend(labels.map(|(key, value)| (format!("node {name}, label {key}"), value)));
        let annotations = one.metadata.annotations.into_iter().flatten();
        seen.extend(annotations.map(|(key, value)| (format!("node {name}, annotation {key}"), value)));
        let taints = one.spec.and_then(|spec| spec.taints).into_iter().flatten();
        seen.extend(taints.map(|taint| (format!("node {name}, taint {}", taint.key), taint.effect)));
    }
    for address in node.snapshot().endpoints {
        seen.insert(format!("endpoint {address}"), String::new());
    }
    Ok(seen)
}

/// The files in the manifests directory, as they are.
pub(super) fn files(manifests: &ManifestsDir) -> io::Result<BTreeMap<String, FileImage>> {
    let mut files = BTreeMap::new();
    for name in manifests.names()? {
        let name = name.to_string_lossy().into_owned();
        if let Some(image) = manifests.read(&name)? {
            files.insert(name, image);
        }
    }
    Ok(files)
}

/// The first difference, in words.
pub(super) fn difference(before: &Inventory, now: &Inventory) -> Option<String> {
    let gone_or_changed = before.iter().find_map(|(object, was)| match now.get(object) {
        None => Some(format!("{object} is gone")),
        Some(is) if is != was => Some(format!("{object} was `{was}` and is `{is}`")),
        Some(_) => None,
    });
    let left =
        || now.keys().find(|object| !before.contains_key(*object)).map(|object| format!("{object} is left"));
    gone_or_changed.or_else(left)
}
