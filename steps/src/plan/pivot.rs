//! The pivot of one node.

use crate::component::Component;
use crate::settings::{Handover, Settings};
use crate::step::{BridgeAct, Job, RedirectAct};
use fulcrum_engine::{Backoff, Durability, Plan, PlanError, Policy, StepId, StepSpec};
use serde_json::{Value, json};
use std::time::Duration;

/// The workflow's name in the journal.
pub const PIVOT: &str = "pivot";

/// The longest that a static or a new pod may take: image unpacked, process started, caches filled. A
/// server that exits at once is given time for four restarts with the kubelet's back-off.
const POD_WITHIN: Duration = Duration::from_secs(180);
/// The longest that one API call, retried, may take.
const CALL_WITHIN: Duration = Duration::from_secs(60);
/// The longest that the guard may take to be installed and to start.
const ARMED_WITHIN: Duration = Duration::from_secs(120);

/// The pivot: nothing is cut before everything new serves.
///
/// With `--handover steer`:
///
/// ```text
/// preflight → lock → archive → label-node → share-port/<c> → line-up → create-daemonset/<c> → await-ready/<c>
///     → (all three) → switch → way-back/… → retire-static/<c> → keep-line-up → verify → seal
/// ```
///
/// The steps named `way-back/…` only prepare. Their *undo* is the exact way back, which reads from the right to
/// the left:
///
/// ```text
/// way-back/lower-bridge → /end-redirect → /restore-static/<c> → /vacate-port/<c> → /redirect → /raise-bridge
/// ```
///
/// With `--handover restart`, `share-port` restarts the static pods, which then share their ports by themselves;
/// there is no `line-up`, `switch` or `way-back`. With `--handover bridge` it is the same, between `raise-bridge → redirect`
/// and `end-redirect → lower-bridge`.
///
/// # Errors
/// Never in practice: the DAG is the one above.
pub fn pivot(settings: &Settings, deadline: Duration) -> Result<Plan, PlanError> {
    let mut steps = vec![
        // The same checks have passed a moment ago: a pod that is not Ready just now may be again soon.
        step("preflight", Job::Preflight).policy(Policy::tries(10, CALL_WITHIN)),
        step("lock", Job::Lock).after(["preflight"]),
        step("archive", Job::Archive).after(["lock"]),
    ];
    let before_changes = if settings.guard { "arm-guard" } else { "archive" };
    if settings.guard {
        let arm = step("arm-guard", Job::ArmGuard).after(["archive"]);
        steps.push(arm.policy(Policy::tries(3, ARMED_WITHIN)));
    }
    steps.push(step("label-node", Job::LabelNode).after([before_changes]));
    let last: Vec<StepId> = match settings.handover {
        Handover::Steer => steer(&mut steps),
        Handover::Bridge => bridge(&mut steps),
        Handover::Restart => restart(&mut steps, "label-node"),
    };
    steps.push(verify(last));
    steps.push(step("seal", Job::Seal).after(["verify"]));
    if settings.guard {
        void_at_boot(&mut steps);
    }
    Ok(Plan::new(PIVOT, steps)?.with_deadline(deadline).with_shared(json!(settings)))
}

/// With a guard the cut does not survive a reboot: the guard has put the manifests back. So what was found after it
/// counts no more either.
fn void_at_boot(steps: &mut [StepSpec]) {
    for spec in steps {
        let id = spec.id.as_str();
        if id == "verify" || id.starts_with("retire-static/") {
            spec.durability = Durability::Boot;
        }
    }
}

pub(super) fn verify(last: Vec<StepId>) -> StepSpec {
    step("verify", Job::Verify).after(last).policy(Policy::tries(1, POD_WITHIN))
}

/// The static pods are restarted so that their ports can be shared. Returns the last steps, as do the others.
fn restart(steps: &mut Vec<StepSpec>, after: &str) -> Vec<StepId> {
    for component in Component::ALL {
        // Side by side: a leader loses its lease while the API server restarts anyway, and its restart
        // takes as long.
        steps.push(pod(&of("share-port", component), Job::SharePort { component }).after([after]));
    }
    start_new(steps, &each("share-port"));
    for component in Component::ALL {
        let retire = pod(&of("retire-static", component), Job::RetireStatic { component });
        steps.push(retire.after(each("await-ready")));
    }
    each("retire-static")
}

/// The same, while a third API server on another port takes the new connections.
fn bridge(steps: &mut Vec<StepSpec>) -> Vec<StepId> {
    let [raise, lower] = [BridgeAct::Raise, BridgeAct::Lower].map(Some);
    let [begin, end] = [RedirectAct::Begin, RedirectAct::End].map(Some);
    // A resume that finds the bridge dead has ended the redirect to it; where both are made again, both must end
    // again.
    let raise_bridge = pod("raise-bridge", Job::Bridge { forward: raise, back: lower }).after(["label-node"]);
    steps.push(raise_bridge.durability(Durability::Process));
    let redirect = step("redirect", Job::Redirect { forward: begin, back: end }).after(["raise-bridge"]);
    steps.push(redirect.durability(Durability::Process));
    let retired = restart(steps, "redirect");
    let end_redirect = step("end-redirect", Job::Redirect { forward: end, back: begin }).after(retired);
    steps.push(end_redirect.durability(Durability::Process));
    let lower_bridge =
        pod("lower-bridge", Job::Bridge { forward: lower, back: raise }).after(["end-redirect"]);
    steps.push(lower_bridge.durability(Durability::Process));
    vec!["lower-bridge".into()]
}

/// The kernel is told whose turn it is, and nothing is restarted.
fn steer(steps: &mut Vec<StepSpec>) -> Vec<StepId> {
    for component in Component::ALL {
        let share = pod(&of("share-port", component), Job::ShareLive { component });
        steps.push(share.after(["label-node"]).durability(Durability::Process));
    }
    let api = Component::ApiServer;
    let line_up = pod("line-up", Job::LineUp).after([of("share-port", api)]);
    steps.push(line_up.durability(Durability::Process));
    start_new(steps, &[each("share-port"), vec!["line-up".into()]].concat());
    let switch = pod("switch", Job::Switch).after(each("await-ready"));
    steps.push(switch.durability(Durability::Process));
    way_back(steps);
    for component in Component::ALL {
        let after = match component {
            Component::ApiServer => "way-back/raise-bridge".to_owned(),
            _ => of("way-back/vacate-port", component),
        };
        let retire = pod(&of("retire-static", component), Job::RetireStatic { component }).after([after]);
        // What does not survive a crash or a boot is looked at again before the cut, whatever lies between.
        steps.push(retire.after(["switch"]).after(each("await-ready")));
    }
    let keep = step("keep-line-up", Job::KeepLineUp).after([of("retire-static", api)]);
    steps.push(keep.durability(Durability::Process));
    [each("retire-static"), vec!["keep-line-up".into()]].concat()
}

/// What the exact way back needs is prepared before the cut, so that a rollback needs no API for it; what is
/// prepared in this order is *done* by the undos, in the reverse one.
fn way_back(steps: &mut Vec<StepSpec>) {
    let api = Component::ApiServer;
    let [restore, vacate] = ["way-back/restore-static", "way-back/vacate-port"];
    let bridge = |act| Job::Bridge { forward: None, back: Some(act) };
    let redirect = |act| Job::Redirect { forward: None, back: Some(act) };
    steps.push(pod("way-back/lower-bridge", bridge(BridgeAct::Lower)).after(["switch"]));
    let end = step("way-back/end-redirect", redirect(RedirectAct::End));
    steps.push(end.after(["way-back/lower-bridge"]));
    for component in Component::ALL {
        let after = if component == api { "way-back/end-redirect" } else { "switch" };
        steps.push(pod(&of(restore, component), Job::RestoreStatic { component }).after([after]));
        let vacate = pod(&of(vacate, component), Job::VacatePort { component });
        steps.push(vacate.after([of(restore, component)]));
    }
    let begin = step("way-back/redirect", redirect(RedirectAct::Begin));
    steps.push(begin.after([of(vacate, api)]));
    steps.push(pod("way-back/raise-bridge", bridge(BridgeAct::Raise)).after(["way-back/redirect"]));
}

/// The DaemonSets, and the wait until their pods serve.
fn start_new(steps: &mut Vec<StepSpec>, after: &[StepId]) {
    for component in Component::ALL {
        // After all three: each restart could take away what the creation of another's pod needs.
        let create = step(&of("create-daemonset", component), Job::CreateDaemonset { component });
        steps.push(create.after(after.iter().cloned()).policy(Policy::tries(3, CALL_WITHIN)));
        let wait = pod(&of("await-ready", component), Job::AwaitReady { component });
        // What a pod answered before a restart of this program says little; before a reboot, nothing.
        steps.push(wait.after([of("create-daemonset", component)]).durability(Durability::Process));
    }
}

pub(super) fn of(what: &str, component: Component) -> String {
    format!("{what}/{component}")
}

pub(super) fn each(what: &str) -> Vec<StepId> {
    Component::ALL.map(|component| of(what, component).into()).to_vec()
}

/// A step that waits for a pod.
pub(super) fn pod(name: &str, job: Job) -> StepSpec {
    step(name, job).policy(Policy::tries(1, POD_WITHIN))
}

/// A step that is patient on the way back: a rollback waits for an API that is down, and what ends it is a
/// person, not a count. 60 attempts of up to three minutes.
pub(super) fn step(name: &str, job: Job) -> StepSpec {
    patient(name, serde_json::to_value(job).unwrap_or(Value::Null))
}

pub(super) fn patient(name: &str, args: Value) -> StepSpec {
    let backoff = Backoff { initial: Duration::from_millis(500), max: Duration::from_secs(15) };
    let undo = Policy { attempts: 60, backoff, timeout: POD_WITHIN };
    StepSpec::new(name, args).policy(Policy::tries(5, CALL_WITHIN)).undo_policy(undo)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::collections::BTreeMap;

    pub(in super::super) fn settings(handover: Handover) -> Settings {
        Settings {
            cluster_uid: "u".into(),
            node: "cp1".into(),
            node_addresses: vec![],
            manifests_dir: "/m".into(),
            manifest_names: BTreeMap::new(),
            publishes_itself: true,
            kubeconfig: "/k".into(),
            role_label: crate::cluster::ROLE_LABEL.into(),
            kubernetes_minor: 35,
            handover,
            soak: Duration::from_secs(2),
            health: BTreeMap::new(),
            guard: true,
            on_reboot: Default::default(),
            of_pivot: None,
        }
    }

    const ALL: [Handover; 3] = [Handover::Steer, Handover::Bridge, Handover::Restart];

    fn plan_of(handover: Handover) -> Plan {
        pivot(&settings(handover), Duration::from_secs(600)).unwrap()
    }

    /// Whether `later` comes after `earlier`, through others or not.
    fn comes_after(plan: &Plan, later: &StepId, earlier: &StepId) -> bool {
        let after = &plan.step(later).unwrap().after;
        after.contains(earlier) || after.iter().any(|between| comes_after(plan, between, earlier))
    }

    #[test]
    fn nothing_is_cut_before_everything_new_is_ready() {
        for plan in ALL.map(plan_of) {
            for (retire, ready) in each("retire-static")
                .iter()
                .flat_map(|r| each("await-ready").into_iter().map(move |a| (r, a)))
            {
                assert!(comes_after(&plan, retire, &ready), "{retire} {ready}");
            }
        }
    }

    /// An undo goes against the order of the plan: the port is free before the static pod is put back, and all of
    /// it happens while new connections go to the bridge.
    #[test]
    fn the_exact_way_back_goes_over_the_bridge() {
        let plan = plan_of(Handover::Steer);
        let order = [
            "way-back/raise-bridge",
            "way-back/redirect",
            "way-back/vacate-port/kube-apiserver",
            "way-back/restore-static/kube-apiserver",
            "way-back/end-redirect",
            "way-back/lower-bridge",
            "create-daemonset/kube-apiserver",
        ];
        for pair in order.windows(2) {
            assert!(comes_after(&plan, &pair[0].into(), &pair[1].into()), "{pair:?}");
        }
        assert!(comes_after(&plan, &"retire-static/kube-apiserver".into(), &order[0].into()));
    }

    #[test]
    fn a_stored_plan_gives_back_its_jobs_and_settings() {
        for (handover, plan) in ALL.map(|handover| (handover, plan_of(handover))) {
            let stored: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
            for step in stored.steps() {
                let job: Job = serde_json::from_value(step.args.clone()).unwrap();
                assert_eq!(json!(job), step.args);
            }
            assert_eq!(
                serde_json::from_value::<Settings>(stored.shared().clone()).unwrap(),
                settings(handover)
            );
        }
    }
}
