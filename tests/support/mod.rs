//! One world for all tests here: a rehearsal cluster, a journal on the disk, and what a pivot must leave.

use fulcrum_engine::run::Phase;
use fulcrum_engine::state::{Journal, RunId};
use fulcrum_engine::{Ending, Engine, Outcome, Session};
use fulcrum_steps::cluster::{Cluster, LOCK_LEASE, OPT_IN_LABEL, is_ready};
use fulcrum_steps::component::Component;
use fulcrum_steps::node::{FileImage, Host, ManifestsDir, Node};
use fulcrum_steps::plan;
use fulcrum_steps::preflight::{Ask, Refused, Report, preflight};
use fulcrum_steps::rehearsal::{Origin, Rehearsal, RehearsalOptions, Snapshot, write_control_plane};
use fulcrum_steps::site::{Handover, Patience, Settings, Site};
use fulcrum_steps::step::library;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// How often waits look again here: everything takes milliseconds.
pub(crate) const POLL: Duration = Duration::from_millis(4);
/// The longest that anything here may take.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A static control plane that serves.
pub(crate) struct World {
    pub(crate) rehearsal: Rehearsal,
    pub(crate) cluster: Cluster,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) before: BTreeMap<String, FileImage>,
    dir: TempDir,
}

impl World {
    /// Boots it, and waits until the cluster knows its static pods.
    pub(crate) async fn boot() -> Self {
        Self::boot_with(|_| {}).await
    }

    /// The same, with the manifests directory changed before the kubelet sees it.
    pub(crate) async fn boot_with(change: impl FnOnce(&ManifestsDir)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let manifests = dir.path().join("manifests");
        std::fs::create_dir(&manifests).unwrap();
        let options = RehearsalOptions::new(&manifests);
        write_control_plane(&options).unwrap();
        change(&ManifestsDir::new(&manifests));
        let rehearsal = Rehearsal::start(options).unwrap();
        let (cluster, host) = (Cluster::new(rehearsal.client()), rehearsal.host());
        let before = files(&ManifestsDir::new(manifests));
        let world = Self { rehearsal, cluster, host, before, dir };
        world.settle().await;
        world
    }

    pub(crate) fn manifests(&self) -> ManifestsDir {
        ManifestsDir::new(self.dir.path().join("manifests"))
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn journal(&self) -> Journal {
        Journal::open(self.state_dir(), "test").unwrap()
    }

    pub(crate) async fn preflight(&self) -> Result<Report, Refused> {
        let ask = Ask {
            manifests: self.manifests(),
            host: Arc::clone(&self.host),
            cluster: self.cluster.clone(),
            kubeconfig: "/none".into(),
            node_name: None,
            handover: Handover::Restart,
        };
        preflight(&ask).await
    }

    pub(crate) fn site(&self, settings: Settings) -> Arc<Site> {
        site(settings, self.cluster.clone(), Arc::clone(&self.host), &self.state_dir())
    }

    /// An engine on this world, as the command makes it.
    pub(crate) async fn engine(&self, journal: &Journal, settings: Settings) -> Engine {
        engine(journal, self.site(settings)).await
    }

    /// A whole pivot, or as much as comes of it.
    pub(crate) async fn pivot(&self, journal: &Journal) -> Ending {
        let settings = self.preflight().await.unwrap().settings;
        let plan = plan::pivot(&settings, SOON).unwrap();
        self.engine(journal, settings).await.start(plan).await.unwrap()
    }

    /// A pivot that pauses after `step`.
    pub(crate) async fn pivot_until(&self, journal: &Journal, step: &str) -> Ending {
        let settings = self.preflight().await.unwrap().settings;
        let plan = plan::pivot(&settings, SOON).unwrap();
        self.engine(journal, settings).await.pause_after([step.into()]).start(plan).await.unwrap()
    }

    pub(crate) async fn rollback(&self, journal: &Journal, run: RunId) -> Ending {
        let settings = settings_of(journal, run);
        self.engine(journal, settings).await.unwind(run, "rollback").await.unwrap()
    }

    pub(crate) async fn resume(&self, journal: &Journal, run: RunId) -> Ending {
        let settings = settings_of(journal, run);
        self.engine(journal, settings).await.resume(run).await.unwrap()
    }

    /// The whole control plane runs from DaemonSets, and from nothing else.
    pub(crate) async fn assert_pivoted(&self, context: &str) {
        let hosted = |seen: &Snapshot| {
            Component::ALL.iter().all(|component| {
                seen.serves(component.name(), Origin::Api) && !seen.runs(component.name(), Origin::Static)
            })
        };
        let what = format!("the control plane to be self-hosted ({context})");
        self.rehearsal.until(&what, SOON, hosted).await.unwrap();
        let names = self.manifests().names().unwrap();
        assert_eq!(names, ["etcd.yaml"], "{context}");
        let etcd = &self.before["etcd.yaml"];
        assert_eq!(self.manifests().read("etcd.yaml").unwrap().as_ref(), Some(etcd), "{context}");
        assert!(self.cluster.lease(LOCK_LEASE).await.unwrap().is_none(), "the lock is held: {context}");
    }

    /// Everything is as it was before: files byte for byte, processes, objects.
    pub(crate) async fn assert_static(&self, context: &str) {
        let plain = |seen: &Snapshot| {
            Component::ALL.iter().all(|component| {
                let name = component.name();
                let exact = seen.of(name, Origin::Static).all(|process| !process.shares_port);
                seen.serves(name, Origin::Static) && exact && !seen.runs(name, Origin::Api)
            })
        };
        let what = format!("the control plane to be static ({context})");
        self.rehearsal.until(&what, SOON, plain).await.unwrap();
        assert_eq!(files(&self.manifests()), self.before, "{context}");
        let left = std::fs::read_dir(self.manifests().path()).unwrap().count();
        assert_eq!(left, self.before.len(), "something is left beside the manifests: {context}");
        for component in Component::ALL {
            let daemonset = self.cluster.daemonset(component.daemonset_name()).await.unwrap();
            assert!(daemonset.is_none(), "{component}: {context}");
        }
        assert!(self.cluster.lease(LOCK_LEASE).await.unwrap().is_none(), "the lock is held: {context}");
        let node = self.cluster.node("node-1").await.unwrap().unwrap();
        assert!(!node.metadata.labels.unwrap().contains_key(OPT_IN_LABEL), "the label is left: {context}");
    }

    /// Waits until the API shows three Ready mirror pods and both leaders.
    pub(crate) async fn settle(&self) {
        let led = |seen: &Snapshot| seen.api_up && seen.leaders.len() == 2;
        self.rehearsal.until("a control plane", SOON, led).await.unwrap();
        let ready = async {
            loop {
                let pods = self.cluster.pods_labelled("tier=control-plane").await.unwrap_or_default();
                let names = Component::ALL.map(|component| format!("{component}-node-1"));
                let known = |name: &String| {
                    pods.iter().any(|pod| pod.metadata.name.as_ref() == Some(name) && is_ready(pod))
                };
                if names.iter().all(known) {
                    return;
                }
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(SOON, ready).await.expect("three Ready mirror pods");
    }
}

pub(crate) fn site(settings: Settings, cluster: Cluster, host: Arc<dyn Host>, state_dir: &Path) -> Arc<Site> {
    let node = Node { manifests: ManifestsDir::new(&settings.manifests_dir), host };
    let patience = Patience {
        poll: POLL,
        lease_quiet: POLL * 8,
        drain: POLL * 4,
        drain_alone: POLL * 2,
        settle: POLL * 6,
    };
    Arc::new(Site { node, cluster, settings, archive: state_dir.join("archive"), patience })
}

pub(crate) async fn engine(journal: &Journal, site: Arc<Site>) -> Engine {
    let boot_id = site.node.host.boot_id().await.unwrap();
    let session = Session { boot_id, pid: std::process::id(), program: "test".to_owned() };
    Engine::new(journal.clone(), library(site), session)
}

pub(crate) fn settings_of(journal: &Journal, run: RunId) -> Settings {
    let run = fulcrum_engine::load::load(journal, run).unwrap();
    serde_json::from_value(run.plan().shared().clone()).unwrap()
}

pub(crate) fn outcome(ending: &Ending) -> Outcome {
    match &ending.phase {
        Phase::Ended(outcome, _) => *outcome,
        other => panic!("not ended, but {other}"),
    }
}

pub(crate) fn reason(ending: &Ending) -> &str {
    match &ending.phase {
        Phase::Ended(_, reason) | Phase::Paused(reason) => reason,
        other => panic!("neither ended nor paused, but {other}"),
    }
}

fn files(manifests: &ManifestsDir) -> BTreeMap<String, FileImage> {
    let names = manifests.names().unwrap().into_iter().map(|name| name.into_string().unwrap());
    names.map(|name| (name.clone(), manifests.read(&name).unwrap().unwrap())).collect()
}
