//! Another release of Kubernetes for the DaemonSets.

use super::edit::{BACK_TRIES, BACK_WITHIN, lock, roll_out};
use super::pivot::{step, verify};
use crate::run_info::RunInfo;
use crate::settings::Settings;
use crate::step::Job;
use crate::step_name::StepKind;
use crate::upgrade::Merged;
use fulcrum_engine::{Durability, Plan, PlanError, Policy, StepId};
use fulcrum_state::RunId;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The DaemonSets get another release of Kubernetes.
pub const UPGRADE: &str = "upgrade";
/// The release stops behaving as the one before it.
pub const FINALIZE: &str = "finalize-upgrade";

/// What an upgrade, or its end, changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrade {
    /// The components, in the order in which they are rolled out. The API server is the first one: no other component
    /// may be newer.
    pub merged: Vec<Merged>,
    /// The release that kubeadm's configuration of the cluster notes, and the one that it is to note.
    #[serde(default)]
    pub noted: Option<(String, String)>,
    /// How long each new pod may take to serve.
    pub within: Duration,
    /// The upgrade in words, for the history.
    pub why: String,
}

/// Changes each DaemonSet in turn and waits until its new pods serve. If one does not, everything comes back, the last
/// one first. With a guard the standby follows each component at once: after a power cut an API server of the old
/// release would meet components and objects of the new one.
///
/// ```text
/// lock → for each component: edit-daemonset/<c> → await-roll-out/<c> → renew-standby/<c> → upload-config → verify
///     → record-head
/// ```
///
/// # Errors
/// Never in practice: the DAG is the one above.
pub fn upgrade(settings: &Settings, pivot: RunId, upgrade: Upgrade) -> Result<Plan, PlanError> {
    plan(UPGRADE, settings, pivot, upgrade)
}

/// Takes the emulation of the former release away, in the same order. A rollback of the upgrade is not possible from
/// then on. `upgrade` has the changes.
///
/// # Errors
/// Never in practice: the DAG is that of an upgrade.
pub fn finalize(settings: &Settings, pivot: RunId, upgrade: Upgrade) -> Result<Plan, PlanError> {
    plan(FINALIZE, settings, pivot, upgrade)
}

fn plan(kind: &str, settings: &Settings, pivot: RunId, upgrade: Upgrade) -> Result<Plan, PlanError> {
    let Upgrade { merged, noted, within, why } = upgrade;
    let mut steps = vec![lock()];
    let mut last: StepId = StepKind::Lock.into();
    for Merged { component, changes: fields } in merged {
        steps.extend(roll_out(Job::ChangeDaemonset { component, fields }, component, within, last));
        last = StepKind::AwaitRollOut.of(component).into();
        if settings.guard {
            let renew = step(StepKind::RenewStandby.of(component), Job::RenewStandby { component });
            steps.push(renew.after([last]));
            last = StepKind::RenewStandby.of(component).into();
        }
    }
    if let Some((from, to)) = noted {
        let upload = step(StepKind::UploadConfig, Job::UploadConfig { from, to }).after([last]);
        steps.push(upload.undo_policy(Policy::tries(BACK_TRIES, BACK_WITHIN)));
        last = StepKind::UploadConfig.into();
    }
    steps.push(verify(vec![last], None).durability(Durability::Boot));
    steps.push(step(StepKind::RecordHead, Job::RecordHead).after([StepKind::Verify]));
    Ok(Plan::new(kind, steps)?.with_shared(RunInfo::of_pivot(settings, pivot, &why).shared()))
}
