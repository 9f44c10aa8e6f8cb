//! The way from DaemonSets that were found to static pods, from which a pivot begins.

use super::pivot::{each, pod, step};
use crate::component::Component;
use crate::preflight::Found;
use crate::run_info::RunInfo;
use crate::settings::Settings;
use crate::step::Job;
use crate::step_name::StepKind;
use fulcrum_engine::{Durability, Plan, PlanError, Policy};
use std::time::Duration;

/// A control plane that was self-hosted without this journal becomes one of static pods.
pub const ADOPT: &str = "adopt";

/// The longest that a run waits for that of another node, in each of two attempts.
const LOCK_WITHIN: Duration = Duration::from_secs(240);

/// Starts static pods beside the DaemonSets' pods, and takes the DaemonSets away once the static pods serve.
///
/// ```text
/// lock → start-static/kube-apiserver → start-static/<the others> → (all three) → remove-daemonset/<c>
///     → verify-static → let-go
/// ```
///
/// The static manifests are in the plan, as a person has seen them. An undo makes the DaemonSets again while the
/// static pods serve, and takes the manifests away then.
///
/// # Errors
/// Never in practice: the DAG is the one above.
pub fn adopt(settings: &Settings, found: &Found, deadline: Duration) -> Result<Plan, PlanError> {
    let lock = step(StepKind::Lock, Job::LockFound).policy(Policy::tries(2, LOCK_WITHIN));
    let mut steps = vec![lock];
    for (&component, one) in &found.daemonsets {
        let (uid, shares, labelled) = (one.uid.clone(), one.shares, found.labelled);
        let start = Job::StartStatic { component, manifest: one.manifest.clone(), shares };
        // A controller manager that starts without an API server ends again.
        let after = match component {
            Component::ApiServer => StepKind::Lock.into(),
            _ => StepKind::StartStatic.of(Component::ApiServer).id(),
        };
        let start = pod(StepKind::StartStatic.of(component), start).after([after]);
        // How the kernel steers, and that a listener is shared, is over with the process.
        steps.push(start.durability(Durability::Process));
        let remove = Job::RemoveDaemonset { component, uid, shares, labelled };
        let remove = pod(StepKind::RemoveDaemonset.of(component), remove);
        steps.push(remove.after(each(StepKind::StartStatic)));
    }
    let verify = pod(StepKind::VerifyStatic, Job::VerifyStatic).after(each(StepKind::RemoveDaemonset));
    steps.push(verify);
    steps.push(step(StepKind::LetGo, Job::LetGo).after([StepKind::VerifyStatic]));
    Ok(Plan::new(ADOPT, steps)?
        .with_deadline(deadline)
        .with_shared(RunInfo { settings: settings.clone(), why: None }.shared()))
}
