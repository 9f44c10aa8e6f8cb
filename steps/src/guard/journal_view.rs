//! Turns the journal into the facts for a decision.

use super::GuardError;
use super::decide::{RunFacts, Standing, Workflow};
use crate::component::Component;
use crate::handover::standby::Standby;
use crate::host::FileImage;
use crate::plan::{
    EDIT, FALL_BACK, FINALIZE, HAND_OVER, PIVOT, RENEW_CERTS, RENEW_STANDBY, ROLL_CERTS, UPGRADE,
    UPGRADE_ETCD,
};
use crate::run_info::{RollbackMode, RunInfo, SessionRole};
use crate::settings::Settings;
use crate::step_name::StepKind;
use fulcrum_engine::load::load;
use fulcrum_engine::run::Phase;
use fulcrum_engine::state::{Journal, Reader, RunHeader, RunId};
use fulcrum_engine::{Outcome, PauseCause, Run, StepId};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// What the journal tells of the last pivot and of what came after it.
#[derive(Debug, Clone)]
pub struct JournalView {
    /// The pivot.
    pub pivot: RunId,
    /// What was decided when it was planned.
    pub settings: Settings,
    /// The pivot and the runs after it, oldest first.
    pub runs: Vec<RunFacts>,
    /// The mode of the pivot's rollback, if there is one.
    pub rollback_mode: RollbackMode,
    /// The static manifests as the pivot took them away.
    pub retired: BTreeMap<Component, FileImage>,
    /// The last run since then that has finalized an upgrade, or is about to.
    pub finalized: Option<RunId>,
    /// The uids of the DaemonSets that the pivot has made, as far as it noted them.
    pub made: BTreeMap<Component, Value>,
}

impl JournalView {
    /// Reads the journal. `None` if no pivot was ever begun.
    ///
    /// # Errors
    /// When the journal cannot be read, or was written by a newer version.
    pub fn read(journal: &Journal) -> Result<Option<Self>, GuardError> {
        Self::of(&journal.reader())
    }

    /// As [`JournalView::read`], without opening the journal for writing.
    ///
    /// # Errors
    /// As [`JournalView::read`].
    pub fn of(journal: &Reader) -> Result<Option<Self>, GuardError> {
        let headers = journal.runs()?;
        let from = headers.iter().rposition(|header| header.kind == PIVOT);
        let Some(from) = from else { return Ok(None) };
        let (mut runs, mut finalized) = (Vec::new(), None);
        for header in &headers[from + 1..] {
            let Some(workflow) = workflow(&header.kind) else { continue };
            let run = load(journal, header.run)?;
            if header.kind == FINALIZE && !run.is_rolled_back() {
                finalized = Some(header.run);
            }
            runs.push(facts(header, workflow, &run));
        }
        let pivot = headers[from].run;
        let run = load(journal, pivot)?;
        runs.insert(0, facts(&headers[from], Workflow::Pivot, &run));
        let mut retired = BTreeMap::new();
        for component in Component::ALL {
            let state = run.state(&retire(component));
            if let Some(digest) = state.and_then(|state| state.pre_image) {
                retired.insert(component, serde_json::from_slice(&journal.blob(&digest)?)?);
            }
        }
        let uid = |component: Component| {
            let output = run.output(&StepKind::CreateDaemonset.of(component).id())?;
            Some((component, output["uid"].clone()))
        };
        let made = Component::ALL.into_iter().filter_map(uid).collect();
        let settings = RunInfo::of(run.plan())?.settings;
        let rollback_mode = RollbackMode::of(run.rollback());
        Ok(Some(Self { pivot, settings, runs, rollback_mode, retired, finalized, made }))
    }

    /// The pivot.
    pub fn pivot_facts(&self) -> &RunFacts {
        &self.runs[0]
    }

    /// The facts of this run.
    pub(super) fn run(&self, run: RunId) -> Option<&RunFacts> {
        self.runs.iter().find(|facts| facts.run == run)
    }

    /// Whether the pivot is completed, and every run after it is at an end.
    pub fn is_at_rest(&self) -> bool {
        let over = |run: &RunFacts| matches!(run.standing, Standing::Completed | Standing::RolledBack);
        self.pivot_facts().standing == Standing::Completed && self.runs.iter().all(over)
    }

    /// Whether an edit or a renewal of certificates waits for a person.
    pub(super) fn has_an_open_change(&self) -> bool {
        let over = |run: &RunFacts| matches!(run.standing, Standing::Completed | Standing::RolledBack);
        self.runs.iter().any(|run| run.workflow.is_a_change() && !over(run))
    }

    /// The standby of this pivot.
    pub fn standby(&self, state_dir: &Path) -> Standby {
        Standby::of(state_dir, self.pivot).made_for(self.settings.target(None))
    }
}

fn workflow(kind: &str) -> Option<Workflow> {
    [
        (PIVOT, Workflow::Pivot),
        (HAND_OVER, Workflow::HandOver),
        (FALL_BACK, Workflow::FallBack),
        (RENEW_STANDBY, Workflow::RenewStandby),
        (EDIT, Workflow::Edit),
        (UPGRADE, Workflow::Upgrade),
        (FINALIZE, Workflow::Upgrade),
        (UPGRADE_ETCD, Workflow::UpgradeEtcd),
        (RENEW_CERTS, Workflow::RenewCerts),
        (ROLL_CERTS, Workflow::RollCerts),
    ]
    .into_iter()
    .find_map(|(name, workflow)| (name == kind).then_some(workflow))
}

fn facts(header: &RunHeader, workflow: Workflow, state: &Run) -> RunFacts {
    let session = state.session();
    let retired = Component::ALL.into_iter().filter(|component| {
        state.state(&retire(*component)).is_some_and(|step| step.started() && step.pre_image.is_some())
    });
    RunFacts {
        run: header.run,
        begun: header.created,
        workflow,
        standing: standing(state),
        boot_id: session.map(|session| session.boot_id.clone()).unwrap_or_default(),
        by_guard: session.is_some_and(|session| SessionRole::of(session) == SessionRole::Guard),
        retired: retired.collect(),
    }
}

fn standing(state: &Run) -> Standing {
    match state.phase() {
        Phase::Ended(Outcome::Completed, _) => Standing::Completed,
        Phase::Ended(Outcome::RolledBack, _) => Standing::RolledBack,
        Phase::Ended(..) => Standing::NeedsOperator,
        Phase::Paused { cause, .. } if *cause != PauseCause::Signal => Standing::Paused,
        _ => Standing::Unfinished { rolling_back: state.rollback().is_some() },
    }
}

fn retire(component: Component) -> StepId {
    StepKind::RetireStatic.of(component).id()
}
