//! The rehearsal's world, for tests: what goes wrong here is a failed test.

use fulcrum_engine::run::Phase;
use fulcrum_engine::state::{Journal, RunId};
use fulcrum_engine::{Ending, Engine, Outcome, Silent};
use fulcrum_simulator::rehearsal::{self, Setup, Version};
use fulcrum_steps::plan;
use fulcrum_steps::settings::Settings;
use std::ops::Deref;
use std::sync::Arc;
use tempfile::TempDir;

pub(crate) use fulcrum_simulator::rehearsal::SOON;

/// A static control plane that serves, with a directory of its own.
pub(crate) struct TestSite {
    world: rehearsal::SimulatedSite,
    _dir: TempDir,
}

impl Deref for TestSite {
    type Target = rehearsal::SimulatedSite;

    fn deref(&self) -> &rehearsal::SimulatedSite {
        &self.world
    }
}

/// What kubeadm 1.35 writes.
pub(crate) fn setup() -> Setup {
    Setup::built_in(Version::DEFAULT).unwrap()
}

impl TestSite {
    /// Boots it, and waits until the cluster knows its static pods.
    pub(crate) async fn boot() -> Self {
        Self::boot_with(&setup()).await
    }

    pub(crate) async fn boot_with(setup: &Setup) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = rehearsal::SimulatedSite::boot(setup, dir.path()).await.unwrap();
        world.settle().await.unwrap();
        Self { world, _dir: dir }
    }

    /// This site, made another one.
    pub(crate) fn with(
        self,
        make: impl FnOnce(rehearsal::SimulatedSite) -> rehearsal::SimulatedSite,
    ) -> Self {
        Self { world: make(self.world), ..self }
    }

    pub(crate) fn journal(&self) -> Journal {
        self.world.journal().unwrap()
    }

    pub(crate) async fn engine(&self, journal: &Journal, settings: Settings) -> Engine {
        self.world.engine(journal, settings).await.unwrap()
    }

    pub(crate) async fn pivot(&self, journal: &Journal) -> Ending {
        self.world.pivot(journal, Arc::new(Silent)).await.unwrap()
    }

    /// A pivot that pauses after `step`.
    pub(crate) async fn pivot_until(&self, journal: &Journal, step: &str) -> Ending {
        let settings = self.preflight().await.unwrap().settings;
        let plan = plan::pivot(&settings, SOON).unwrap();
        self.engine(journal, settings).await.pause_after([step.into()]).start(plan).await.unwrap()
    }

    pub(crate) async fn rollback(&self, journal: &Journal, run: RunId) -> Ending {
        self.world.rollback(journal, run, Arc::new(Silent)).await.unwrap()
    }

    pub(crate) async fn resume(&self, journal: &Journal, run: RunId) -> Ending {
        self.world.resume(journal, run).await.unwrap()
    }

    /// The whole control plane runs from DaemonSets, and from nothing else.
    pub(crate) async fn assert_pivoted(&self, context: &str) {
        self.is_self_hosted().await.unwrap_or_else(|difference| panic!("{context}: {difference}"));
    }

    /// Everything is as it was before: files byte for byte, processes, objects.
    pub(crate) async fn assert_static(&self, context: &str) {
        self.is_as_before().await.unwrap_or_else(|difference| panic!("{context}: {difference}"));
    }
}

pub(crate) fn outcome(ending: &Ending) -> Outcome {
    match &ending.phase {
        Phase::Ended(outcome, _) => *outcome,
        other => panic!("not ended, but {other}"),
    }
}

pub(crate) fn reason(ending: &Ending) -> &str {
    match &ending.phase {
        Phase::Ended(_, reason) | Phase::Paused { reason, .. } => reason,
        other => panic!("neither ended nor paused, but {other}"),
    }
}
