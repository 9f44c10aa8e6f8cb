//! One simulated node and cluster, with a journal on the disk, in a private directory of its own.

use super::inventory::{Difference, Inventory, files, inventory};
use super::pace::{POLL, SOAK, SOON, timeouts};
use super::setup::Setup;
use crate::{SimulatedUnits, Simulator, Snapshot, WaitError};
use async_trait::async_trait;
use fulcrum_engine::load::load;
use fulcrum_engine::state::{Journal, OpenError, RunId};
use fulcrum_engine::{
    Ending, Engine, EngineError, LoadError, Observer, Outcome, PlanError, Session, StepRegistry, StepSpec,
};
use fulcrum_steps::cluster::{Cluster, ClusterError, is_ready};
use fulcrum_steps::component::Component;
use fulcrum_steps::guard::{GuardEnv, GuardError};
use fulcrum_steps::host::{FileImage, Host, HostError, ManifestsDir, Node, Units};
use fulcrum_steps::plan;
use fulcrum_steps::preflight::{PreflightInput, Refused, Report, preflight};
use fulcrum_steps::run_info::{LockPurpose, RollbackMode, RunInfo, SessionRole};
use fulcrum_steps::settings::OnReboot;
use fulcrum_steps::settings::{Settings, Wanted};
use fulcrum_steps::site::Site;
use fulcrum_steps::step::library;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// This program's name in a rehearsal's journal.
pub(super) const PROGRAM: &str = concat!("fulcrum ", env!("CARGO_PKG_VERSION"), " rehearsal");

/// Makes the steps for a site: [`library`], unless a test wants others.
pub type Steps = Arc<dyn Fn(Arc<Site>) -> Arc<dyn StepRegistry> + Send + Sync>;

/// A static control plane that serves.
pub struct SimulatedSite {
    /// The simulated cluster.
    pub simulator: Simulator,
    /// Its API.
    pub cluster: Cluster,
    /// Its machine.
    pub host: Arc<dyn Host>,
    /// The manifests as they were at the start.
    pub before: BTreeMap<String, FileImage>,
    /// The components that shared their port at the start.
    pub(super) shared: BTreeMap<String, bool>,
    /// The API's objects at the start.
    pub(super) objects: Inventory,
    handover: Wanted,
    on_reboot: OnReboot,
    pub(super) units: Arc<SimulatedUnits>,
    steps: Steps,
    /// Last: the fields above work in this directory.
    dir: TempDir,
}

/// A rehearsal could not be carried out, or did not end as it must.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// The checks refused.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Something is not as it must be.
    #[error(transparent)]
    Differs(#[from] Difference),
    /// The cluster was too slow.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// The run ended otherwise than it must.
    #[error("the run ended {0}")]
    Ended(String),
    /// The child process failed.
    #[error("the process that was to be broken: {0}")]
    Child(String),
    /// The case took too long.
    #[error("not over within {0:?}")]
    TooLong(std::time::Duration),
    /// The journal could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The journal could not be read.
    #[error(transparent)]
    Read(#[from] fulcrum_engine::state::ReadError),
    /// The run could not be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The engine could not go on.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The plan could not be made.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The simulated API failed.
    #[error(transparent)]
    Api(#[from] ClusterError),
    /// The simulated API failed.
    #[error("the simulated cluster: {0}")]
    Kube(#[from] kube::Error),
    /// The simulated machine failed.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The guard failed.
    #[error("the guard: {0}")]
    Guard(#[from] GuardError),
    /// What was stored is not understood.
    #[error("what was stored is not understood: {0}")]
    Json(#[from] serde_json::Error),
    /// The disk failed.
    #[error("the rehearsal's own files: {0}")]
    Disk(#[from] io::Error),
}

impl SimulatedSite {
    /// Boots a site in a new directory under `root`, and waits until the cluster knows its static pods.
    ///
    /// # Errors
    /// When its directory cannot be made, or its manifests make no working control plane. If the checks say
    /// why, the error has their words.
    pub async fn boot(setup: &Setup, root: &Path) -> Result<Self, RehearsalError> {
        let private = std::fs::Permissions::from_mode(0o700);
        let mut dir = tempfile::Builder::new();
        let dir =
            dir.prefix("world-").permissions(private).disable_cleanup(setup.keeps()).tempdir_in(root)?;
        let manifests = dir.path().join("manifests");
        std::fs::create_dir(&manifests)?;
        let simulator = Simulator::start(setup.install(&manifests)?)?;
        let (cluster, host) = (Cluster::new(simulator.client()), simulator.host());
        let before = files(&ManifestsDir::new(manifests))?;
        let steps: Steps = Arc::new(|site| Arc::new(library(site)));
        let (shared, objects, handover) = (BTreeMap::new(), Inventory::new(), setup.handover());
        let (on_reboot, units) = (OnReboot::default(), Arc::new(SimulatedUnits::new(dir.path())?));
        let mut world = Self {
            simulator,
            cluster,
            host,
            before,
            shared,
            objects,
            handover,
            on_reboot,
            units,
            steps,
            dir,
        };
        if let Err(unsettled) = world.settle().await {
            world.preflight().await?;
            return Err(unsettled.into());
        }
        let processes = world.simulator.snapshot().processes;
        world.shared = processes.into_iter().map(|one| (one.component, one.shares_port)).collect();
        world.objects = inventory(&world.simulator).await?;
        Ok(world)
    }

    /// This site, with other steps for its runs.
    #[must_use]
    pub fn with_steps(self, steps: Steps) -> Self {
        Self { steps, ..self }
    }

    /// This site, with another treatment of runs that a reboot cuts short.
    #[must_use]
    pub(super) fn with_on_reboot(self, on_reboot: OnReboot) -> Self {
        Self { on_reboot, ..self }
    }

    /// The directory that the simulated kubelet reads.
    pub fn manifests(&self) -> ManifestsDir {
        ManifestsDir::new(self.dir.path().join("manifests"))
    }

    /// The directory of the journal and the archive.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The kubeconfig that the runs are told. Nothing reads it.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("admin.conf")
    }

    /// The machine's units.
    pub fn units(&self) -> &SimulatedUnits {
        &self.units
    }

    /// Opens the journal.
    ///
    /// # Errors
    /// The journal's error.
    pub fn journal(&self) -> Result<Journal, OpenError> {
        Journal::open(self.state_dir(), LockPurpose::Rehearse.text())
    }

    /// The checks of a real pivot.
    ///
    /// # Errors
    /// When a real pivot would be refused.
    pub async fn preflight(&self) -> Result<Report, Refused> {
        let (manifests, host, units) =
            (self.manifests(), Arc::clone(&self.host), Arc::clone(&self.units) as _);
        let input = PreflightInput {
            node: Node { manifests, host, units },
            cluster: self.cluster.clone(),
            state_dir: self.state_dir(),
            kubeconfig: self.kubeconfig(),
            node_name: None,
            handover: self.handover,
            soak: SOAK,
            guard: true,
            on_reboot: self.on_reboot,
        };
        preflight(&input).await
    }

    /// An engine on this world, made as the command makes it.
    ///
    /// # Errors
    /// When the simulated machine does not answer.
    pub async fn engine(&self, journal: &Journal, settings: Settings) -> Result<Engine, RehearsalError> {
        self.engine_on(journal, self.site(settings)?).await
    }

    async fn engine_on(&self, journal: &Journal, site: Site) -> Result<Engine, RehearsalError> {
        site.mend_redirect().await?;
        engine(journal, (self.steps)(Arc::new(site)), self.host.as_ref(), SessionRole::Command).await
    }

    fn site(&self, settings: Settings) -> Result<Site, RehearsalError> {
        site(settings, self.cluster.clone(), Arc::clone(&self.host), &self.state_dir())
    }

    /// Runs a whole pivot, as far as it gets.
    ///
    /// # Errors
    /// When the checks refuse, or the journal fails.
    pub async fn pivot(
        &self,
        journal: &Journal,
        watching: Arc<dyn Observer>,
    ) -> Result<Ending, RehearsalError> {
        let settings = self.preflight().await?.settings;
        let plan = plan::pivot(&settings, SOON)?;
        Ok(self.engine(journal, settings).await?.observer(watching).start(plan).await?)
    }

    /// Undoes a run.
    ///
    /// # Errors
    /// When it has been undone already, or the journal fails.
    pub async fn rollback(
        &self,
        journal: &Journal,
        run: RunId,
        watching: Arc<dyn Observer>,
    ) -> Result<Ending, RehearsalError> {
        self.rollback_for(journal, run, RollbackMode::Exact, watching).await
    }

    /// Rolls a run back in this mode.
    ///
    /// # Errors
    /// When it has been undone already, or the journal fails.
    pub async fn rollback_for(
        &self,
        journal: &Journal,
        run: RunId,
        mode: RollbackMode,
        watching: Arc<dyn Observer>,
    ) -> Result<Ending, RehearsalError> {
        let mut site = self.site(settings_of(journal, run)?)?;
        site.rollback_mode = mode;
        Ok(self.engine_on(journal, site).await?.observer(watching).roll_back(run, mode.asked_for()).await?)
    }

    /// Takes a run up.
    ///
    /// # Errors
    /// When it is over, or the journal fails.
    pub async fn resume(&self, journal: &Journal, run: RunId) -> Result<Ending, RehearsalError> {
        Ok(self.engine(journal, settings_of(journal, run)?).await?.resume(run).await?)
    }

    /// Whether a run with this outcome has left what it must: everything self-hosted, or all as before.
    ///
    /// # Errors
    /// With the difference. Always for a run that ended in neither way.
    pub(super) async fn ended_well(&self, outcome: Outcome) -> Result<(), RehearsalError> {
        match outcome {
            Outcome::Completed => Ok(self.is_self_hosted().await?),
            Outcome::RolledBack => Ok(self.is_as_before().await?),
            Outcome::NeedsOperator => Err(RehearsalError::Ended("as one that needs a person".to_owned())),
        }
    }

    /// Waits until the API shows Ready mirror pods of all static pods, both leaders and its own address.
    ///
    /// # Errors
    /// When this does not come true in time: a manifest does not work.
    pub async fn settle(&self) -> Result<(), WaitError> {
        let led = |seen: &Snapshot| seen.api_up && seen.leaders.len() == 2 && !seen.endpoints.is_empty();
        let seen = self.simulator.until("a control plane with leaders", SOON / 4, led).await?;
        let node = format!("-{}", self.node_name().await);
        let names = Component::ALL.map(|component| format!("{component}{node}"));
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

    async fn node_name(&self) -> String {
        self.cluster.nodes_labelled("").await.unwrap_or_default().into_iter().next().unwrap_or_default()
    }
}

/// The environment of a rehearsal's guard.
#[async_trait]
impl GuardEnv for SimulatedSite {
    fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn unit_is_gone(&self, unit: &str) -> bool {
        !self.units.dir().join(unit).exists()
    }

    async fn boot_id(&self) -> Result<String, GuardError> {
        Ok(self.host.boot_id().await?)
    }

    async fn site(&self, settings: Settings) -> Result<Arc<Site>, GuardError> {
        let site = SimulatedSite::site(self, settings);
        site.map(Arc::new).map_err(|error| GuardError::NoWay(error.to_string()))
    }

    async fn engine(&self, journal: Journal, site: &Arc<Site>) -> Result<Engine, GuardError> {
        let steps = (self.steps)(Arc::clone(site));
        let engine = engine(&journal, steps, self.host.as_ref(), SessionRole::Guard).await;
        engine.map_err(|error| GuardError::NoWay(error.to_string()))
    }
}

/// The site for the steps of a rehearsal.
pub(super) fn site(
    settings: Settings,
    cluster: Cluster,
    host: Arc<dyn Host>,
    state_dir: &Path,
) -> Result<Site, RehearsalError> {
    let units = Arc::new(SimulatedUnits::new(state_dir.parent().unwrap_or(state_dir))?);
    let node = Node { manifests: settings.manifests(), host, units };
    let (state_dir, rollback_mode) = (state_dir.to_owned(), RollbackMode::default());
    Ok(Site { node, cluster, settings, state_dir, timeouts: timeouts(), rollback_mode })
}

/// An engine for `steps`, on that machine.
pub(super) async fn engine(
    journal: &Journal,
    steps: Arc<dyn StepRegistry>,
    host: &dyn Host,
    role: SessionRole,
) -> Result<Engine, RehearsalError> {
    let session = Session {
        boot_id: host.boot_id().await?,
        pid: std::process::id(),
        program: PROGRAM.to_owned(),
        role: role.role(),
        actor: fulcrum_engine::Actor::new(),
    };
    let steps = move |spec: &StepSpec| steps.step(spec);
    Ok(Engine::new(journal.clone(), steps, session))
}

/// The settings of the run's plan.
pub(super) fn settings_of(journal: &Journal, run: RunId) -> Result<Settings, RehearsalError> {
    Ok(RunInfo::of(load(&journal.reader(), run)?.plan())?.settings)
}

impl std::fmt::Debug for SimulatedSite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimulatedSite").field("dir", &self.dir.path()).finish_non_exhaustive()
    }
}
