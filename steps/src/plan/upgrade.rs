//! Another release of Kubernetes for the DaemonSets.

use super::edit::{BACK_TRIES, BACK_WITHIN, lock, roll_out};
use super::pivot::{step, verify};
use crate::component::Component;
use crate::run_info::RunInfo;
pub use crate::run_info::UPGRADE;
use crate::settings::Settings;
use crate::step::{Job, PhaseCall};
use crate::step_name::StepKind;
use crate::upgrade::{Merged, Phase};
use fulcrum_engine::{Durability, Plan, PlanError, Policy, StepId};
use fulcrum_state::RunId;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// The release stops behaving as the one before it.
pub const FINALIZE: &str = "finalize-upgrade";

/// How long the guards of the other nodes may take to renew their standby: more than the minute that a new pod must
/// have served, and a restart of a guard.
const STANDBYS_WITHIN: Duration = Duration::from_secs(300);

/// What an upgrade, or its end, changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrade {
    /// The components, in the order in which they are rolled out. The API server is the first one: no other component
    /// may be newer.
    pub merged: Vec<Merged>,
    /// The release that kubeadm's configuration of the cluster notes, and the one that it is to note.
    #[serde(default)]
    pub noted: Option<(String, String)>,
    /// What kubeadm does after that.
    #[serde(default)]
    pub rest: Option<Rest>,
    /// How long each new pod may take to serve.
    pub within: Duration,
    /// The upgrade in words, for the history.
    pub why: String,
}

/// The phases that kubeadm goes through once the control plane runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {
    /// The kubeadm of the release, where it stays until the run is over.
    pub kubeadm: PathBuf,
    /// What it reads as its configuration.
    pub config: String,
    /// The phases, in their order.
    pub phases: Vec<Phase>,
}

/// Changes each DaemonSet in turn and waits until its new pods serve. If one does not, everything comes back, the last
/// one first. With a guard the standby follows each component at once: after a power cut an API server of the old
/// release would meet components and objects of the new one.
///
/// ```text
/// lock → for each component: edit-daemonset/<c> → await-roll-out/<c> → renew-standby/<c> → await-standbys/<c>
///     → upload-config → kubeadm-phase/… → verify → record-head
/// ```
///
/// On several nodes the guard of each renews its own standby, a minute after the roll-out. No controller manager and no
/// scheduler of the new release starts before every node would boot with its API server. What comes after those two
/// waits for their standbys.
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
    let Upgrade { merged, noted, rest, within, why } = upgrade;
    let mut steps = vec![lock()];
    let mut last: StepId = StepKind::Lock.into();
    let mut standbys = Vec::new();
    for Merged { component, changes: fields } in merged {
        steps.extend(roll_out(Job::ChangeDaemonset { component, fields }, component, within, last));
        last = StepKind::AwaitRollOut.of(component).into();
        if settings.guard {
            let renew = step(StepKind::RenewStandby.of(component), Job::RenewStandby { component });
            steps.push(renew.after([last]));
            last = StepKind::RenewStandby.of(component).into();
            let wait = step(StepKind::AwaitStandbys.of(component), Job::AwaitStandbys { component });
            let wait = wait.policy(Policy::tries(1, within.max(STANDBYS_WITHIN))).after([last.clone()]);
            steps.push(wait.durability(Durability::Boot));
            if component == Component::ApiServer {
                last = StepKind::AwaitStandbys.of(component).into();
            } else {
                standbys.push(StepKind::AwaitStandbys.of(component).id());
            }
        }
    }
    standbys.push(last);
    if let Some((from, to)) = noted {
        let upload = step(StepKind::UploadConfig, Job::UploadConfig { from, to }).after(standbys);
        steps.push(upload.undo_policy(Policy::tries(BACK_TRIES, BACK_WITHIN)));
        standbys = vec![StepKind::UploadConfig.into()];
    }
    if let Some(Rest { kubeadm, config, phases }) = rest {
        for phase in phases {
            let id: StepId = format!("{}/{}", StepId::from(StepKind::KubeadmPhase), phase.short()).into();
            let call = PhaseCall { phase, kubeadm: kubeadm.clone(), config: config.clone() };
            let run =
                step(id.clone(), Job::KubeadmPhase(call)).policy(Policy::tries(3, within)).after(standbys);
            steps.push(run.undo_policy(Policy::tries(BACK_TRIES, BACK_WITHIN)));
            standbys = vec![id];
        }
    }
    steps.push(verify(standbys, None).durability(Durability::Boot));
    steps.push(step(StepKind::RecordHead, Job::RecordHead).after([StepKind::Verify]));
    Ok(Plan::new(kind, steps)?.with_shared(RunInfo::of_pivot(settings, pivot, &why).shared()))
}
