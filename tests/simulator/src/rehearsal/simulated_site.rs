//! One simulated node of a cluster, with a journal on the disk, in a private directory of its own.

use super::error::RehearsalError;
use super::inventory::Inventory;
use super::load::Load;
use super::pace::{SOAK, SOON, timeouts};
use super::point::Then;
use crate::{SimulatedNode, SimulatedUnits, Simulator};
use async_trait::async_trait;
use fulcrum_engine::load::load;
use fulcrum_engine::state::{Journal, OpenError, ReadError, RunId};
use fulcrum_engine::{Ending, Engine, Observer, Outcome, Session, StepRegistry, StepSpec};
use fulcrum_steps::check::Ignored;
use fulcrum_steps::cluster::Cluster;
use fulcrum_steps::guard::{GuardEnv, GuardError};
use fulcrum_steps::host::{FileImage, Host, ManifestsDir, Node, Units};
use fulcrum_steps::plan;
use fulcrum_steps::preflight::{PreflightInput, Refused, Report, preflight};
use fulcrum_steps::run_info::{LockPurpose, RollbackMode, RunInfo, SessionRole};
use fulcrum_steps::sealer::Sealer;
use fulcrum_steps::settings::OnReboot;
use fulcrum_steps::settings::{Settings, Wanted};
use fulcrum_steps::site::Site;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// This program's name in a rehearsal's journal.
pub(super) const PROGRAM: &str = concat!("fulcrum ", env!("CARGO_PKG_VERSION"), " rehearsal");

/// Makes the steps for a site: [`library`](fulcrum_steps::step::library), unless a test wants others.
pub type Steps = Arc<dyn Fn(Arc<Site>) -> Arc<dyn StepRegistry> + Send + Sync>;

/// A node with a static control plane that serves.
pub struct SimulatedSite {
    /// The simulated cluster. It stands for this site's node if that is its first, as where there is one.
    pub simulator: Arc<Simulator>,
    /// The number of this site's node.
    pub(super) number: usize,
    /// The API, through the balancer where there are several nodes.
    pub cluster: Cluster,
    /// Its machine.
    pub host: Arc<dyn Host>,
    /// The manifests as they were at the start.
    pub before: BTreeMap<String, FileImage>,
    /// Those of them that are no component's: they stay where everything is self-hosted.
    pub(super) others: BTreeMap<String, FileImage>,
    /// The components that shared their port at the start.
    pub(super) shared: BTreeMap<String, bool>,
    /// The API's objects at the start.
    pub(super) objects: Inventory,
    pub(super) handover: Wanted,
    pub(super) on_reboot: OnReboot,
    /// Whether its pivots put certificates into Secrets.
    pub(super) in_secrets: bool,
    /// Whether its pivots take the lock from another run.
    pub(super) take_lock: bool,
    pub(super) units: Arc<SimulatedUnits>,
    pub(super) steps: Steps,
    /// The clients that are to know when this node is lost.
    pub(super) load: Option<Arc<Load>>,
    /// Last: the fields above work in this directory.
    pub(super) dir: TempDir,
}

impl SimulatedSite {
    /// Its machine.
    pub fn machine(&self) -> &SimulatedNode {
        self.simulator.node(self.number)
    }

    /// Whether its cluster has one node.
    pub(super) fn is_alone(&self) -> bool {
        self.simulator.nodes().count() == 1
    }

    /// This site, with other steps for its runs.
    #[must_use]
    pub fn with_steps(self, steps: Steps) -> Self {
        Self { steps, ..self }
    }

    /// This site, whose pivots take the lock from another run: a person says so.
    #[must_use]
    pub fn taking_the_lock(self) -> Self {
        Self { take_lock: true, ..self }
    }

    /// From now on a reboot ends runs in this direction.
    pub(super) fn set_on_reboot(&mut self, then: Then) {
        self.on_reboot = match then {
            Then::Resume => OnReboot::Resume,
            Then::Rollback => OnReboot::Rollback,
        };
    }

    /// This node is lost, for its clients.
    pub(super) fn goes_away(&self) {
        if let Some(load) = &self.load {
            load.goes_away(self.number);
        }
    }

    /// This node may answer its clients again.
    pub(super) fn may_be_back(&self) {
        if let Some(load) = &self.load {
            load.may_be_back();
        }
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
        preflight(&self.preflight_input()).await
    }

    /// The input of the checks of a real pivot.
    pub fn preflight_input(&self) -> PreflightInput {
        let (manifests, host, units) =
            (self.manifests(), Arc::clone(&self.host), Arc::clone(&self.units) as _);
        PreflightInput {
            node: Node { manifests, host, units },
            cluster: self.cluster.clone(),
            state_dir: self.state_dir(),
            kubeconfig: self.kubeconfig(),
            node_name: None,
            handover: self.handover,
            soak: SOAK,
            max_latency: None,
            guard: true,
            on_reboot: self.on_reboot,
            ignored: Ignored::default(),
            store_certs_in_secrets: self.in_secrets,
            take_lock: self.take_lock,
        }
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
        let site = Arc::new(site);
        engine(journal, &site, (self.steps)(Arc::clone(&site)), SessionRole::Command).await
    }

    fn site(&self, settings: Settings) -> Result<Site, RehearsalError> {
        let site = site(settings, self.cluster.clone(), Arc::clone(&self.host), &self.state_dir())?;
        Ok(Site { take_lock: self.take_lock, ..site })
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

    /// Whether a run with this outcome has left its node as it must: everything self-hosted, or all as before.
    /// Where there are other nodes, they may be self-hosted.
    ///
    /// # Errors
    /// With the difference. Always for a run that ended in neither way.
    pub(super) async fn ended_well(&self, outcome: Outcome) -> Result<(), RehearsalError> {
        match outcome {
            Outcome::Completed => Ok(self.is_self_hosted().await?),
            Outcome::RolledBack if self.is_alone() => Ok(self.is_as_before().await?),
            Outcome::RolledBack => Ok(self.is_static().await?),
            other => Err(RehearsalError::Ended(format!("as {other}"))),
        }
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
        let engine = engine(&journal, site, steps, SessionRole::Guard).await;
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
    let (timeouts, take_lock) = (timeouts(), false);
    Ok(Site { node, cluster, settings, state_dir, timeouts, rollback_mode, take_lock })
}

/// An engine for `steps` of a site. Each run's end is signed, with a key of the rehearsal's own.
pub(super) async fn engine(
    journal: &Journal,
    site: &Arc<Site>,
    steps: Arc<dyn StepRegistry>,
    role: SessionRole,
) -> Result<Engine, RehearsalError> {
    sealed_engine(journal, site, steps, role, sealer(site)).await
}

/// As [`engine`], with this sealer.
pub(super) async fn sealed_engine(
    journal: &Journal,
    site: &Arc<Site>,
    steps: Arc<dyn StepRegistry>,
    role: SessionRole,
    sealer: Sealer,
) -> Result<Engine, RehearsalError> {
    let session =
        Session::new(site.node.host.boot_id().await?, std::process::id(), PROGRAM).with_role(role.role());
    let steps = move |spec: &StepSpec| steps.step(spec);
    Ok(sealer.attached(Engine::new(journal.clone(), steps, session)))
}

/// What signs the ends of runs. What is said to a person in a real run, `is_verified` finds in the journal.
pub(super) fn sealer(site: &Arc<Site>) -> Sealer {
    Sealer::new(Arc::clone(site), PROGRAM, |words| tracing::debug!("{words}"))
}

/// The settings of the run's plan.
pub(super) fn settings_of(journal: &Journal, run: RunId) -> Result<Settings, RehearsalError> {
    Ok(RunInfo::of(load(&journal.reader(), run)?.plan())?.settings)
}

/// The last run in the journal that a person has begun: the guard begins the others by itself.
pub(super) fn last_run(journal: &Journal) -> Result<Option<RunId>, ReadError> {
    let headers = journal.reader().runs()?;
    let is_a_guards = |kind: &str| {
        matches!(kind, plan::HAND_OVER | plan::FALL_BACK | plan::RENEW_STANDBY | plan::ROLL_CERTS)
    };
    Ok(headers.iter().rev().find(|header| !is_a_guards(&header.kind)).map(|header| header.run))
}

/// The last pivot in the journal.
pub(super) fn last_pivot(journal: &Journal) -> Result<Option<RunId>, ReadError> {
    let headers = journal.reader().runs()?;
    Ok(headers.iter().rev().find(|header| header.kind == plan::PIVOT).map(|header| header.run))
}

impl std::fmt::Debug for SimulatedSite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimulatedSite").field("dir", &self.dir.path()).finish_non_exhaustive()
    }
}
