//! The guard's own runs.

use super::pivot::{of, pod, step};
use crate::component::Component;
use crate::settings::{Handover, Settings};
use crate::step::Job;
use fulcrum_engine::{Durability, Plan, PlanError, Policy, StepId, StepSpec};
use fulcrum_state::RunId;
use serde_json::{Value, json};
use std::time::Duration;

/// From static pods that stand in to the DaemonSets that exist.
pub const HAND_OVER: &str = "hand-over";
/// The static pods come back while the DaemonSets do not serve.
pub const STAND_IN: &str = "stand-in";
/// What would come back becomes what runs now.
pub const RENEW_STANDBY: &str = "renew-standby";

/// How long a pod of a DaemonSet may take to serve after a boot: the kubelet sees the API some time after it
/// answers, and a container that could not listen beside the static one is started again after up to five minutes.
const POD_AFTER_BOOT: Duration = Duration::from_secs(420);

/// The DaemonSets get the control plane again: as a pivot from `share-port` on, without what is there already. If
/// it fails, the static pods stay, and the DaemonSets too.
///
/// ```text
/// lock → share-port/<c> → line-up → await-ready/<c> → (all three) → switch → retire-static/<c> → keep-line-up
///     → verify → seal
/// ```
///
/// Where ports are shared by flag, `share-port`, `line-up`, `switch` and `keep-line-up` are not needed.
///
/// # Errors
/// Never in practice: the DAG is the one above.
pub fn hand_over(
    settings: &Settings,
    pivot: RunId,
    components: &[Component],
    why: &str,
) -> Result<Plan, PlanError> {
    let mut steps = vec![step("lock", Job::Lock)];
    let steered = settings.handover == Handover::Steer;
    let api = steered && components.contains(&Component::ApiServer);
    let all = |what: &str| -> Vec<StepId> {
        components.iter().map(|component| of(what, *component).into()).collect()
    };
    let mut shared: Vec<StepId> = vec!["lock".into()];
    if steered {
        for component in components {
            let share = step(&of("share-port", *component), Job::ShareLive { component: *component });
            steps.push(share.after(["lock"]).durability(Durability::Process));
        }
        shared = all("share-port");
    }
    if api {
        let line_up = step("line-up", Job::LineUp).after([of("share-port", Component::ApiServer)]);
        steps.push(line_up.durability(Durability::Process));
        shared.push("line-up".into());
    }
    for component in components {
        let wait = step(&of("await-ready", *component), Job::AwaitReady { component: *component });
        let wait = wait.policy(Policy::tries(1, POD_AFTER_BOOT)).after(shared.clone());
        steps.push(wait.durability(Durability::Process));
    }
    let mut ready = all("await-ready");
    if api {
        steps.push(pod("switch", Job::Switch).after(ready).durability(Durability::Process));
        ready = vec!["switch".into()];
    }
    for component in components {
        let retire = pod(&of("retire-static", *component), Job::RetireStandby { component: *component });
        steps.push(retire.after(ready.clone()).durability(Durability::Boot));
    }
    let mut last = all("retire-static");
    if api {
        let keep = step("keep-line-up", Job::KeepLineUp);
        let keep = keep.after([of("retire-static", Component::ApiServer)]);
        steps.push(keep.durability(Durability::Process));
        last.push("keep-line-up".into());
    }
    steps.push(super::pivot::verify(last).durability(Durability::Boot));
    steps.push(step("seal", Job::Seal).after(["verify"]));
    Ok(Plan::new(HAND_OVER, steps)?.with_shared(shared_with(settings, pivot, why)))
}

/// The static pods of these components come back; why is told to the cluster when it can be.
///
/// # Errors
/// Never in practice.
pub fn stand_in(
    settings: &Settings,
    pivot: RunId,
    components: &[Component],
    why: &str,
) -> Result<Plan, PlanError> {
    let mut steps = Vec::new();
    for component in components {
        steps.push(pod(&of("stand-in", *component), Job::StandIn { component: *component }));
    }
    let last: Vec<StepId> = steps.iter().map(|spec: &StepSpec| spec.id.clone()).collect();
    let args = json!({ "job": "announce", "why": why });
    steps.push(super::pivot::patient("announce", args).after(last));
    Ok(Plan::new(STAND_IN, steps)?.with_shared(shared_with(settings, pivot, why)))
}

/// The standby of these components becomes what their DaemonSets run.
///
/// # Errors
/// Never in practice.
pub fn renew_standby(
    settings: &Settings,
    pivot: RunId,
    components: &[Component],
    why: &str,
) -> Result<Plan, PlanError> {
    let renew = |component: &Component| {
        step(&of("renew-standby", *component), Job::RenewStandby { component: *component })
    };
    let plan = Plan::new(RENEW_STANDBY, components.iter().map(renew).collect())?;
    Ok(plan.with_shared(shared_with(settings, pivot, why)))
}

fn shared_with(settings: &Settings, pivot: RunId, why: &str) -> Value {
    let settings = Settings { of_pivot: Some(pivot), ..settings.clone() };
    let mut shared = json!(settings);
    shared["why"] = why.into();
    shared
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::pivot::each;
    use crate::plan::pivot::tests::settings;

    /// A reboot takes the cut away: the guard has put the static manifests back.
    #[test]
    fn what_a_reboot_undoes_is_looked_at_again_and_nothing_is_cut_before_everything_serves() {
        for handover in [Handover::Steer, Handover::Bridge, Handover::Restart] {
            let plan = hand_over(&settings(handover), RunId::new(), &Component::ALL, "a boot").unwrap();
            for retire in each("retire-static") {
                let spec = plan.step(&retire).unwrap();
                assert_eq!(spec.durability, Durability::Boot);
                let cut_after = match handover {
                    Handover::Steer => vec!["switch".into()],
                    _ => each("await-ready"),
                };
                assert_eq!(spec.after, cut_after);
            }
            assert_eq!(plan.shared()["why"], "a boot");
            assert!(plan.step(&"create-daemonset/kube-scheduler".into()).is_none());
        }
    }
}
