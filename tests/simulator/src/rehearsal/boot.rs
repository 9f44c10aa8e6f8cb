//! The boot of a simulated cluster: a site for each of its nodes.

use super::check::others;
use super::error::RehearsalError;
use super::inventory::{Inventory, files, inventory};
use super::pace::{POLL, SOON};
use super::setup::Setup;
use super::simulated_site::{SimulatedSite, Steps};
use crate::{SimulatedUnits, Simulator, Snapshot, WaitError};
use fulcrum_steps::cluster::{Cluster, EtcdDoor, is_ready};
use fulcrum_steps::component::Component;
use fulcrum_steps::host::ManifestsDir;
use fulcrum_steps::settings::OnReboot;
use fulcrum_steps::step::library;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

impl SimulatedSite {
    /// Boots the setup's cluster, each node in a new directory under `root`, and waits until the cluster knows
    /// their static pods. Returns the site of its first node.
    ///
    /// # Errors
    /// When its directory cannot be made, or its manifests make no working control plane. If the checks say
    /// why, the error has their words.
    pub async fn boot(setup: &Setup, root: &Path) -> Result<Self, RehearsalError> {
        Ok(Self::boot_each(setup, root).await?.0)
    }

    /// Boots the setup's cluster. Returns the sites of all its nodes, at least one.
    ///
    /// # Errors
    /// As [`Self::boot`].
    pub async fn boot_all(setup: &Setup, root: &Path) -> Result<Vec<Self>, RehearsalError> {
        let (first, others) = Self::boot_each(setup, root).await?;
        Ok(std::iter::once(first).chain(others).collect())
    }

    async fn boot_each(setup: &Setup, root: &Path) -> Result<(Self, Vec<Self>), RehearsalError> {
        let dir = own_dir(setup, root)?;
        let first = setup.install(&manifests(&dir))?;
        let mut dirs = Vec::new();
        let mut options = Vec::new();
        for number in 1..setup.nodes() {
            let dir = own_dir(setup, root)?;
            options.push(setup.install_beside(&first, number, &manifests(&dir))?);
            dirs.push(dir);
        }
        let simulator = Arc::new(Simulator::start_with(first, options)?);
        let mut first = Self::on(&simulator, 0, dir, setup)?;
        let others = (1..).zip(dirs).map(|(number, dir)| Self::on(&simulator, number, dir, setup));
        let mut others = others.collect::<io::Result<Vec<Self>>>()?;
        let mut settled = first.settle().await;
        for other in &others {
            if settled.is_ok() {
                settled = other.settle().await;
            }
        }
        if let Err(unsettled) = settled {
            let refused = first.preflight().await;
            refused.map_err(|refused| setup.of_originals(refused, &first.manifests()))?;
            return Err(unsettled.into());
        }
        for site in std::iter::once(&mut first).chain(&mut others) {
            site.objects = inventory(site.machine()).await?;
            let processes = site.machine().snapshot().processes;
            site.shared = processes.into_iter().map(|one| (one.component, one.shares_port)).collect();
        }
        Ok((first, others))
    }

    /// The site of the node with this number, as it is before it is known what runs there.
    fn on(simulator: &Arc<Simulator>, number: usize, dir: TempDir, setup: &Setup) -> io::Result<Self> {
        let node = simulator.node(number);
        let client = if simulator.nodes().count() == 1 { node.client() } else { node.balanced() };
        let steps: Steps = Arc::new(|site| Arc::new(library(site)));
        let clients = node.clients();
        let to_etcd = move |_: &EtcdDoor, url: &str| {
            let address = url.split_once("://").and_then(|(_, address)| address.parse().ok());
            address.map(&clients).ok_or_else(|| format!("{url} is no address"))
        };
        let before = files(&ManifestsDir::new(manifests(&dir)))?;
        Ok(Self {
            cluster: Cluster::new(client).with_etcd(to_etcd),
            host: node.host(),
            others: others(&before),
            before,
            shared: BTreeMap::new(),
            objects: Inventory::new(),
            handover: setup.handover(),
            on_reboot: OnReboot::default(),
            in_secrets: setup.stores_certs(),
            take_lock: false,
            units: Arc::new(SimulatedUnits::new(dir.path())?),
            simulator: Arc::clone(simulator),
            number,
            steps,
            load: None,
            dir,
        })
    }

    /// Waits until the API shows Ready mirror pods of all static pods, both leaders and its own address.
    ///
    /// # Errors
    /// When this does not come true in time: a manifest does not work.
    pub async fn settle(&self) -> Result<(), WaitError> {
        let all = self.simulator.nodes().count();
        let led = |seen: &Snapshot| seen.api_up && seen.leaders.len() == 2 && seen.endpoints.len() >= all;
        let seen = self.machine().until("a control plane with leaders", SOON / 4, led).await?;
        let node = self.machine().name();
        let names = Component::ALL.map(|component| format!("{component}-{node}"));
        let ready = async {
            loop {
                let pods = self.cluster.pods_labelled("").await.unwrap_or_default();
                let known = |name: &String| {
                    pods.iter().any(|pod| pod.metadata.name.as_ref() == Some(name) && is_ready(pod))
                };
                if names.iter().all(known) {
                    return;
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let late =
            |_| WaitError { what: "Ready mirror pods".to_owned(), waited: SOON / 4, seen: Box::new(seen) };
        tokio::time::timeout(SOON / 4, ready).await.map_err(late)
    }
}

/// A directory that only this user can look into, with an empty one in it for the manifests.
fn own_dir(setup: &Setup, root: &Path) -> io::Result<TempDir> {
    let private = std::fs::Permissions::from_mode(0o700);
    let mut dir = tempfile::Builder::new();
    let dir = dir.prefix("world-").permissions(private).disable_cleanup(setup.keeps()).tempdir_in(root)?;
    std::fs::create_dir(manifests(&dir))?;
    Ok(dir)
}

fn manifests(dir: &TempDir) -> PathBuf {
    dir.path().join("manifests")
}
