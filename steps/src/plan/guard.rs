//! The guard's own runs.

use super::pivot::{leaders_before, pod, step};
use crate::component::Component;
use crate::run_info::{FALL_BACK, RunInfo};
use crate::settings::{HandoverMode, Settings};
use crate::step::Job;
use crate::step_name::StepKind;
use fulcrum_engine::{Durability, Plan, PlanError, Policy, StepId, StepSpec};
use fulcrum_state::RunId;
use std::time::Duration;

/// From static pods that are a fallback to the DaemonSets that exist.
pub const HAND_OVER: &str = "hand-over";
/// The standby becomes what runs now.
pub const RENEW_STANDBY: &str = "renew-standby";

/// How long a pod of a DaemonSet may take to serve after a boot. The kubelet sees the API some time after it
/// answers. And it may wait up to five minutes before it starts a container again that could not listen
/// beside the static one.
const POD_AFTER_BOOT: Duration = Duration::from_secs(420);

/// Hands the control plane to the DaemonSets again: a pivot from `share-port` on, without what exists
/// already. If it fails, the static pods stay, and the DaemonSets too.
///
/// ```text
/// lock → share-port/<c> → prefer-static → await-ready/<c> → (all three) → switch → retire-static/<c> → prefer-serving
///     → verify → record-head
/// ```
///
/// Where ports are shared by flag, `share-port`, `prefer-static`, `switch` and `prefer-serving` are not
/// needed.
///
/// # Errors
/// Never in practice: the DAG is the one above.
pub fn hand_over(
    settings: &Settings,
    pivot: RunId,
    components: &[Component],
    why: &str,
) -> Result<Plan, PlanError> {
    let mut steps = vec![step(StepKind::Lock, Job::Lock)];
    let steered = settings.handover == HandoverMode::Steer;
    let api = steered && components.contains(&Component::ApiServer);
    let all = |kind: StepKind| -> Vec<StepId> {
        components.iter().map(|component| kind.of(*component).id()).collect()
    };
    let mut shared: Vec<StepId> = vec![StepKind::Lock.into()];
    if steered {
        for component in components {
            let share = step(StepKind::SharePort.of(*component), Job::ShareLive { component: *component });
            steps.push(share.after([StepKind::Lock]).durability(Durability::Process));
        }
        shared = all(StepKind::SharePort);
    }
    if api {
        let prefer = step(StepKind::PreferStatic, Job::PreferStatic)
            .after([StepKind::SharePort.of(Component::ApiServer)]);
        steps.push(prefer.durability(Durability::Process));
        shared.push(StepKind::PreferStatic.into());
    }
    for component in components {
        let wait = step(StepKind::AwaitReady.of(*component), Job::AwaitReady { component: *component });
        let wait = wait.policy(Policy::tries(1, POD_AFTER_BOOT)).after(shared.clone());
        steps.push(wait.durability(Durability::Process));
    }
    let mut ready = all(StepKind::AwaitReady);
    if api {
        steps.push(pod(StepKind::Switch, Job::Switch).after(ready).durability(Durability::Process));
        ready = vec![StepKind::Switch.into()];
    }
    for component in components {
        let retire = pod(StepKind::RetireStatic.of(*component), Job::RetireStandby { component: *component });
        let leaders = leaders_before(*component).filter(|leader| components.contains(leader));
        let before = leaders.map(|leader| StepKind::RetireStatic.of(leader).id());
        steps.push(retire.after(ready.clone()).after(before).durability(Durability::Boot));
    }
    let mut last = all(StepKind::RetireStatic);
    if api {
        let keep = step(StepKind::PreferServing, Job::PreferServing);
        let keep = keep.after([StepKind::RetireStatic.of(Component::ApiServer)]);
        steps.push(keep.durability(Durability::Process));
        last.push(StepKind::PreferServing.into());
    }
    steps.push(super::pivot::verify(last, None).durability(Durability::Boot));
    steps.push(step(StepKind::RecordHead, Job::RecordHead).after([StepKind::Verify]));
    Ok(Plan::new(HAND_OVER, steps)?.with_shared(RunInfo::of_pivot(settings, pivot, why).shared()))
}

/// Restores the static pods of these components. Tells the cluster why, once it can.
///
/// # Errors
/// Never in practice.
pub fn fall_back(
    settings: &Settings,
    pivot: RunId,
    components: &[Component],
    why: &str,
) -> Result<Plan, PlanError> {
    let mut steps = Vec::new();
    for component in components {
        steps.push(pod(StepKind::FallBack.of(*component), Job::FallBack { component: *component }));
    }
    let last: Vec<StepId> = steps.iter().map(|spec: &StepSpec| spec.id.clone()).collect();
    steps.push(step(StepKind::Announce, Job::Announce { why: why.to_owned() }).after(last));
    Ok(Plan::new(FALL_BACK, steps)?.with_shared(RunInfo::of_pivot(settings, pivot, why).shared()))
}

/// Makes the standby of these components what their DaemonSets run.
///
/// # Errors
/// Never in practice.
pub(crate) fn renew_standby(
    settings: &Settings,
    pivot: RunId,
    components: &[Component],
    why: &str,
) -> Result<Plan, PlanError> {
    let renew = |component: &Component| {
        step(StepKind::RenewStandby.of(*component), Job::RenewStandby { component: *component })
    };
    let plan = Plan::new(RENEW_STANDBY, components.iter().map(renew).collect())?;
    Ok(plan.with_shared(RunInfo::of_pivot(settings, pivot, why).shared()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::pivot::each;
    use crate::plan::pivot::tests::settings;

    /// A reboot reverses the cut: the guard has restored the static manifests.
    #[test]
    fn what_a_reboot_undoes_is_looked_at_again_and_nothing_is_cut_before_everything_serves() {
        for handover in [HandoverMode::Steer, HandoverMode::Bridge, HandoverMode::Restart] {
            let plan = hand_over(&settings(handover), RunId::new(), &Component::ALL, "a boot").unwrap();
            for retire in each(StepKind::RetireStatic) {
                let spec = plan.step(&retire).unwrap();
                assert_eq!(spec.durability, Durability::Boot);
                let mut cut_after = match handover {
                    HandoverMode::Steer => vec!["switch".into()],
                    _ => each(StepKind::AwaitReady),
                };
                if retire.as_str() == "retire-static/kube-apiserver" {
                    let leaders = ["retire-static/kube-controller-manager", "retire-static/kube-scheduler"];
                    cut_after.extend(leaders.map(StepId::from));
                }
                assert_eq!(spec.after, cut_after);
            }
            assert_eq!(plan.shared()["why"], "a boot");
            assert!(plan.step(&"create-daemonset/kube-scheduler".into()).is_none());
        }
    }
}
