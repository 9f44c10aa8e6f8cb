//! Another image for this node's member of etcd, which stays a static pod.

use super::edit::{BACK_TRIES, BACK_WITHIN, lock};
use super::pivot::{step, verify};
use crate::run_info::RunInfo;
use crate::settings::Settings;
use crate::step::Job;
use crate::step_name::StepKind;
use crate::upgrade::EtcdChange;
use fulcrum_engine::{Durability, Plan, PlanError, Policy};
use fulcrum_state::RunId;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// This node's member of etcd gets another image.
pub const UPGRADE_ETCD: &str = "upgrade-etcd";

/// How long a snapshot may take: some gigabytes to a slow disk.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(600);

/// An upgrade of etcd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeEtcd {
    /// What changes.
    pub change: EtcdChange,
    /// How long the new etcd may take to serve.
    pub within: Duration,
    /// The upgrade in words, for the history.
    pub why: String,
}

/// What a plan changes of etcd: nothing, unless it is that of an upgrade of etcd.
pub fn etcd_changed(plan: &Plan) -> Option<EtcdChange> {
    plan.steps().iter().find_map(|step| match serde_json::from_value(step.args.clone()) {
        Ok(Job::ChangeEtcd(change)) => Some(change),
        _ => None,
    })
}

/// Keeps the manifest and a snapshot, gives etcd its new image, waits until it serves, and checks the cluster. If it does
/// not serve, the former image comes back where it can.
///
/// ```text
/// lock → snapshot-etcd → change-etcd → verify → record-head
/// ```
///
/// # Errors
/// Never in practice: the DAG is the one above.
pub fn upgrade_etcd(settings: &Settings, pivot: RunId, upgrade: UpgradeEtcd) -> Result<Plan, PlanError> {
    let UpgradeEtcd { change, within, why } = upgrade;
    let keep = step(StepKind::SnapshotEtcd, Job::SnapshotEtcd(change.clone()));
    let change = step(StepKind::ChangeEtcd, Job::ChangeEtcd(change)).policy(Policy::tries(1, within));
    let steps = vec![
        lock(),
        keep.policy(Policy::tries(2, SNAPSHOT_WITHIN)).after([StepKind::Lock]),
        change
            .undo_policy(Policy::tries(BACK_TRIES, within.max(BACK_WITHIN)))
            .after([StepKind::SnapshotEtcd]),
        verify(vec![StepKind::ChangeEtcd.into()], None).durability(Durability::Boot),
        step(StepKind::RecordHead, Job::RecordHead).after([StepKind::Verify]),
    ];
    Ok(Plan::new(UPGRADE_ETCD, steps)?.with_shared(RunInfo::of_pivot(settings, pivot, &why).shared()))
}
