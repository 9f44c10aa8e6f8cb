//! A roll-out for certificates that somebody has renewed by hand.

use super::edit::{BACK_TRIES, BACK_WITHIN, lock};
use super::pivot::{step, verify};
use crate::certificates::Renewable;
use crate::component::Component;
use crate::run_info::RunInfo;
use crate::settings::Settings;
use crate::step::Job;
use crate::step_name::StepKind;
use fulcrum_engine::{Durability, Plan, PlanError, Policy, StepId};
use fulcrum_state::RunId;
use std::collections::BTreeMap;
use std::time::Duration;

/// The guard starts the pods that go on with older certificates.
pub const ROLL_CERTS: &str = "roll-certs";

/// How long a new pod may take to serve: as long as after `certs renew`.
const SERVES_WITHIN: Duration = Duration::from_secs(300);

/// Rolls out the DaemonSets of the components that read these certificates at their start only, one after the other.
/// If a pod does not serve, everything comes back, and the pods from before go on.
///
/// ```text
/// lock → for each component: prepare-rollback/roll-certs/<c> → roll-certs/<c> → await-roll-out/<c> → verify → record-head
/// ```
///
/// # Errors
/// Never in practice: the DAG is the one above.
pub fn roll_certs(
    settings: &Settings,
    pivot: RunId,
    wanted: BTreeMap<Component, Vec<Renewable>>,
) -> Result<Plan, PlanError> {
    let words = wanted.iter().map(|(component, names)| {
        let names: Vec<&str> = names.iter().map(|name| name.name()).collect();
        format!("{component} goes on with an older {}", names.join(", "))
    });
    let why = words.collect::<Vec<_>>().join("; ");
    let mut steps = vec![lock()];
    let mut last: StepId = StepKind::Lock.into();
    for (component, names) in wanted {
        let prepare = StepKind::PrepareRollCerts.of(component);
        let (roll, wait) = (StepKind::RollCerts.of(component), StepKind::AwaitRollOut.of(component));
        let before = step(prepare, Job::PrepareRollCerts { component }).after([last]);
        steps.push(before.undo_policy(Policy::tries(BACK_TRIES, BACK_WITHIN)));
        steps.push(step(roll, Job::RollCerts { component, names }).after([prepare]));
        let waits = step(wait, Job::AwaitRollOut { component, shadow: false });
        let waits = waits.policy(Policy::tries(1, SERVES_WITHIN)).after([roll]);
        // After a reboot, or another process's death, the pod is another one.
        steps.push(waits.durability(Durability::Process));
        last = wait.id();
    }
    steps.push(verify(vec![last], None).durability(Durability::Boot));
    steps.push(step(StepKind::RecordHead, Job::RecordHead).after([StepKind::Verify]));
    Ok(Plan::new(ROLL_CERTS, steps)?.with_shared(RunInfo::of_pivot(settings, pivot, &why).shared()))
}
