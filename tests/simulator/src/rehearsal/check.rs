//! The checks of a simulated cluster after a run: everything is self-hosted, or everything is exactly as it
//! was before.

use super::pace::{POLL, SOON};
use super::simulated_site::SimulatedSite;
use crate::{Origin, Snapshot, WaitError};
use fulcrum_steps::cluster::{ClusterError, LOCK_LEASE};
use fulcrum_steps::component::Component;
use fulcrum_steps::host::{FileImage, ManifestsDir};
use fulcrum_steps::manifest::StaticPod;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::ListParams;
use std::collections::BTreeMap;
use std::io;
use tokio::time::Instant;

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

impl SimulatedSite {
    /// Checks that the whole control plane runs from DaemonSets, and from nothing else, and that the lock is
    /// free.
    ///
    /// # Errors
    /// With the first difference.
    pub async fn is_self_hosted(&self) -> Result<(), Difference> {
        let hosted = |seen: &Snapshot| {
            Component::ALL.iter().all(|component| {
                seen.serves(component.name(), Origin::Api) && !seen.runs(component.name(), Origin::Static)
            })
        };
        self.simulator.until("the control plane to be self-hosted", SOON, hosted).await?;
        // Under any name.
        let is_ours = |image: &FileImage| {
            let bytes = image.content.as_bytes();
            let is = |component: &Component| {
                StaticPod::parse(*component, bytes).is_ok_and(|pod| pod.name() == component.name())
            };
            Component::ALL.iter().any(is)
        };
        let mut expected = self.before.clone();
        expected.retain(|_, image| !is_ours(image));
        self.compare_files(&expected, true)?;
        match self.cluster.lease(LOCK_LEASE).await? {
            None => Ok(()),
            Some(_) => Err(Difference::Objects("the lock is still held".to_owned())),
        }
    }

    /// Checks that everything is as it was before: files byte for byte, processes, objects.
    ///
    /// # Errors
    /// With the first difference.
    pub async fn is_as_before(&self) -> Result<(), Difference> {
        let plain = |seen: &Snapshot| {
            Component::ALL.iter().all(|component| {
                let name = component.name();
                let mut processes = seen.of(name, Origin::Static);
                let shares = self.shared.get(name).copied().unwrap_or(false);
                let exact = processes.all(|process| process.shares_port == shares);
                seen.serves(name, Origin::Static) && exact && !seen.runs(name, Origin::Api)
            })
        };
        self.simulator.until("the control plane to be static, as it was before", SOON, plain).await?;
        self.compare_files(&self.before, false)?;
        self.compare_objects().await
    }

    /// Checks that these files are there and no others, dot-files included. The spares of manifests that were
    /// taken away may be there `with_spares`.
    fn compare_files(
        &self,
        expected: &BTreeMap<String, FileImage>,
        with_spares: bool,
    ) -> Result<(), Difference> {
        let differs = |name: &str, seen| Err(Difference::File { name: name.to_owned(), seen });
        for (name, image) in expected {
            match self.manifests().read(name)? {
                None => return differs(name, "is gone"),
                Some(now) if now.content != image.content => {
                    return differs(name, "has other bytes than before");
                }
                Some(now) if now != *image => return differs(name, "has another mode or owner than before"),
                Some(_) => {}
            }
        }
        let manifests = self.manifests();
        let spares: Vec<_> = self.before.keys().map(|name| manifests.spare(name)).collect();
        for entry in std::fs::read_dir(manifests.path())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_spare = with_spares && spares.contains(&entry.path());
            if !is_spare && !expected.contains_key(&name) {
                return differs(&name, "is left there");
            }
        }
        Ok(())
    }

    /// Compares the objects, once they stand still: mirror pods follow their processes.
    async fn compare_objects(&self) -> Result<(), Difference> {
        let end = Instant::now() + SOON;
        loop {
            let now = self.inventory().await;
            let differs = match &now {
                Ok(now) => difference(&self.objects, now),
                Err(error) => Some(error.to_string()),
            };
            let Some(differs) = differs else { return Ok(()) };
            if Instant::now() > end {
                return Err(Difference::Objects(differs));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Every object of kube-system that a run could touch, and the marks of the node.
    pub(super) async fn inventory(&self) -> Result<Inventory, kube::Error> {
        let client = self.simulator.client();
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
        let pods: Api<Pod> = Api::namespaced(client.clone(), "kube-system");
        for pod in pods.list(&all).await? {
            let hash = fulcrum_steps::cluster::config_hash(&pod).unwrap_or_default().to_owned();
            seen.insert(format!("pod {}", pod.metadata.name.unwrap_or_default()), hash);
        }
        let nodes: Api<Node> = Api::all(client);
        for node in nodes.list(&all).await? {
            let name = node.metadata.name.unwrap_or_default();
            let labels = node.metadata.labels.into_iter().flatten();
            seen.extend(labels.map(|(key, value)| (format!("node {name}, label {key}"), value)));
            let annotations = node.metadata.annotations.into_iter().flatten();
            seen.extend(annotations.map(|(key, value)| (format!("node {name}, annotation {key}"), value)));
            let taints = node.spec.and_then(|spec| spec.taints).into_iter().flatten();
            seen.extend(taints.map(|taint| (format!("node {name}, taint {}", taint.key), taint.effect)));
        }
        for address in self.simulator.snapshot().endpoints {
            seen.insert(format!("endpoint {address}"), String::new());
        }
        Ok(seen)
    }
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
fn difference(before: &Inventory, now: &Inventory) -> Option<String> {
    let gone_or_changed = before.iter().find_map(|(object, was)| match now.get(object) {
        None => Some(format!("{object} is gone")),
        Some(is) if is != was => Some(format!("{object} was `{was}` and is `{is}`")),
        Some(_) => None,
    });
    let left =
        || now.keys().find(|object| !before.contains_key(*object)).map(|object| format!("{object} is left"));
    gone_or_changed.or_else(left)
}
