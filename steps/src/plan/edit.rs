//! A change of a DaemonSet's command line that a person has asked for.

use super::pivot::{step, verify};
use crate::component::Component;
use crate::manifest::{TemplateChange, Words};
use crate::run_info::RunInfo;
use crate::settings::Settings;
use crate::step::Job;
use crate::step_name::StepKind;
use fulcrum_engine::{Durability, Plan, PlanError, Policy, StepId, StepSpec};
use fulcrum_state::RunId;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A DaemonSet gets another command line.
pub const EDIT: &str = "edit";

/// One attempt to put the former words back, and to see its pods serve.
pub(super) const BACK_WITHIN: Duration = Duration::from_secs(180);
/// Without an API an attempt takes some seconds. Then the guard must get its turn: it waits for this run.
pub(super) const BACK_TRIES: u32 = 4;

/// One attempt to let go of the lock. The API has answered a moment before.
const LET_GO_WITHIN: Duration = Duration::from_secs(10);

/// What a person wants of an edit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// The component.
    pub component: Component,
    /// Its command line as the person has seen it.
    pub was: Words,
    /// The new command line.
    pub words: Words,
    /// How long the new pod may take to serve.
    pub within: Duration,
    /// The changes in words, for the history.
    pub why: String,
}

/// Gives the DaemonSet another command line, waits until its new pod serves, and checks the cluster. If the
/// new pod does not serve, the former words come back.
///
/// ```text
/// lock → edit-daemonset/<c> → await-roll-out/<c> → verify → record-head
/// ```
///
/// # Errors
/// Never in practice: the DAG is the one above.
pub fn edit(settings: &Settings, pivot: RunId, edit: Edit) -> Result<Plan, PlanError> {
    let Edit { component, was, words, within, why } = edit;
    let [change, wait] =
        roll_out(Job::EditDaemonset { component, was, words }, component, within, StepKind::Lock.into());
    let steps = vec![
        lock(),
        change,
        wait,
        // Another component may be away for a reason of its own, which is none to take the edit back.
        verify(vec![StepKind::AwaitRollOut.of(component).id()], Some(component)).durability(Durability::Boot),
        step(StepKind::RecordHead, Job::RecordHead).after([StepKind::Verify]),
    ];
    Ok(Plan::new(EDIT, steps)?.with_shared(RunInfo::of_pivot(settings, pivot, &why).shared()))
}

/// What a plan changes in DaemonSets: nothing, unless it is that of an edit or of an upgrade.
pub fn edited(plan: &Plan) -> Vec<(Component, TemplateChange)> {
    let jobs = plan.steps().iter().filter_map(|step| serde_json::from_value::<Job>(step.args.clone()).ok());
    jobs.filter_map(|job| job.template_change()).collect()
}

/// The steps that change one DaemonSet and see its pods serve, after the step `after`. The last one is
/// `await-roll-out`.
pub(super) fn roll_out(job: Job, component: Component, within: Duration, after: StepId) -> [StepSpec; 2] {
    // A person's edit may mean to change what is served. A release's must not.
    let shadow = component == Component::ApiServer && matches!(job, Job::ChangeDaemonset { .. });
    let change = step(StepKind::EditDaemonset.of(component), job);
    let change = change.undo_policy(Policy::tries(BACK_TRIES, BACK_WITHIN)).after([after]);
    let wait = step(StepKind::AwaitRollOut.of(component), Job::AwaitRollOut { component, shadow });
    let wait = wait.policy(Policy::tries(1, within)).after([StepKind::EditDaemonset.of(component)]);
    // After a reboot, or another process's death, the pod is another one.
    [change, wait.durability(Durability::Process)]
}

/// The lock of a run whose way back must not hold the guard up.
pub(super) fn lock() -> StepSpec {
    step(StepKind::Lock, Job::Lock).undo_policy(Policy::tries(BACK_TRIES, LET_GO_WITHIN))
}
