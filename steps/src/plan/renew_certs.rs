//! A renewal of certificates that a person has asked for.

use super::pivot::{step, verify};
use crate::certificates::{Renewable, Renewal};
use crate::component::Component;
use crate::run_info::RunInfo;
use crate::settings::Settings;
use crate::step::Job;
use crate::step_name::StepKind;
use fulcrum_engine::{Durability, Plan, PlanError, Policy, StepId};
use fulcrum_state::RunId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// kubeadm renews certificates, and the processes that use them get them.
pub const RENEW_CERTS: &str = "renew-certs";

/// kubeadm takes a second, and up to a minute where the cluster does not answer.
const RENEW_WITHIN: Duration = Duration::from_secs(90);
/// A process that looks each five minutes has read a file after 5.5 of them.
const PROVE_WITHIN: Duration = Duration::from_secs(420);
/// One attempt to put files back, or to start pods with them.
const BACK_WITHIN: Duration = Duration::from_secs(180);
/// Without an API an attempt takes some seconds. Then the guard must get its turn: it waits for this run.
const BACK_TRIES: u32 = 4;
/// The files are back by then. An API server that could not start with the others is started again.
const ROLL_BACK_TRIES: u32 = 8;
/// One attempt to let go of the lock. The API has answered a moment before.
const LET_GO_WITHIN: Duration = Duration::from_secs(10);

/// What a person wants of a renewal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewCerts {
    /// The certificates.
    pub names: Vec<Renewable>,
    /// The components that read some of them at their start only, with which.
    pub rolled: BTreeMap<Component, Vec<Renewable>>,
    /// How long the new pod of a component may take to serve.
    pub within: Duration,
}

impl RenewCerts {
    /// What this renewal does.
    pub fn of(renewal: &Renewal, within: Duration) -> Self {
        Self { names: renewal.names.clone(), rolled: renewal.rolled.clone(), within }
    }
}

/// Keeps the files, has kubeadm renew them, starts the pods that would not read them, and proves that every
/// process has them. If one does not get them, the former files come back.
///
/// ```text
/// lock → prepare-rollback/roll-certs/<c> → renew-certs/<name> → (the next one) → roll-certs/<c> → await-roll-out/<c>
///     → (the next component) → prove-certs → verify → forget-certs → record-head
/// ```
///
/// Where the certificates come from Secrets, `update-secrets` comes after the last `renew-certs/<name>`, and
/// `prepare-rollback/update-secrets` before the first.
///
/// The undo of `renew-certs/<name>` puts the files back. The undo of `prepare-rollback/roll-certs/<c>` starts the pods once
/// more. The files are back by then.
///
/// # Errors
/// Never in practice: the DAG is the one above.
pub fn renew_certs(settings: &Settings, pivot: RunId, wanted: RenewCerts) -> Result<Plan, PlanError> {
    let RenewCerts { names, rolled, within } = wanted;
    let why = names.iter().map(|name| name.name()).collect::<Vec<_>>().join(", ");
    let lock = step(StepKind::Lock, Job::Lock).undo_policy(Policy::tries(BACK_TRIES, LET_GO_WITHIN));
    let mut steps = vec![lock];
    let mut last: StepId = StepKind::Lock.into();
    for component in rolled.keys().copied() {
        let id = StepKind::PrepareRollCerts.of(component);
        let prepare = step(id, Job::PrepareRollCerts { component }).after([last]);
        steps.push(prepare.undo_policy(Policy::tries(ROLL_BACK_TRIES, BACK_WITHIN)));
        last = id.id();
    }
    let in_secrets = settings.in_secrets.is_some();
    if in_secrets {
        let prepare = step(StepKind::PrepareUpdateSecrets, Job::PrepareUpdateSecrets).after([last]);
        steps.push(prepare.undo_policy(Policy::tries(ROLL_BACK_TRIES, BACK_WITHIN)));
        last = StepKind::PrepareUpdateSecrets.into();
    }
    // One after the other: what a step records of its files fits into one entry.
    for name in names.iter().copied() {
        let id = renewal_of(name);
        steps.push(
            step(id.clone(), Job::RenewCerts { name }).policy(Policy::tries(3, RENEW_WITHIN)).after([last]),
        );
        last = id;
    }
    if in_secrets {
        steps.push(step(StepKind::UpdateSecrets, Job::UpdateSecrets).after([last]));
        last = StepKind::UpdateSecrets.into();
    }
    for (component, names) in rolled {
        let (roll, wait) = (StepKind::RollCerts.of(component), StepKind::AwaitRollOut.of(component));
        steps.push(step(roll, Job::RollCerts { component, names }).after([last]));
        let waits =
            step(wait, Job::AwaitRollOut { component, shadow: false }).policy(Policy::tries(1, within));
        // After a reboot, or another process's death, the pod is another one.
        steps.push(waits.after([roll]).durability(Durability::Process));
        last = wait.id();
    }
    let prove = step(StepKind::ProveCerts, Job::ProveCerts { names }).policy(Policy::tries(1, PROVE_WITHIN));
    steps.push(prove.after([last]).durability(Durability::Boot));
    steps.push(verify(vec![StepKind::ProveCerts.into()], None).durability(Durability::Boot));
    steps.push(step(StepKind::ForgetCerts, Job::ForgetCerts).after([StepKind::Verify]));
    steps.push(step(StepKind::RecordHead, Job::RecordHead).after([StepKind::ForgetCerts]));
    Ok(Plan::new(RENEW_CERTS, steps)?.with_shared(RunInfo::of_pivot(settings, pivot, &why).shared()))
}

/// The step that renews this certificate.
fn renewal_of(name: Renewable) -> StepId {
    format!("{}/{name}", StepId::from(StepKind::RenewCerts)).into()
}
