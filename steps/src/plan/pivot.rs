//! The pivot of one node.

use crate::component::Component;
use crate::run_info::{PIVOT, RunInfo};
use crate::settings::{HandoverMode, Settings};
use crate::step::{BridgeAct, Job, RedirectAct};
use crate::step_name::{StepKind, StepName};
use fulcrum_engine::{Backoff, Durability, Plan, PlanError, Policy, StepId, StepSpec};
use serde_json::Value;
use std::time::Duration;

/// The longest that a static or a new pod may take: the image is unpacked, the process starts, its caches
/// fill. A server that exits at once gets time for four restarts with the kubelet's back-off.
const POD_WITHIN: Duration = Duration::from_secs(180);
/// The longest that one API call, retried, may take.
const CALL_WITHIN: Duration = Duration::from_secs(60);
/// The longest that a run waits for that of another node, in each of two attempts: twice what a pivot takes.
const LOCK_WITHIN: Duration = Duration::from_secs(240);
/// The longest that the guard may take to be installed and to start.
const ARMED_WITHIN: Duration = Duration::from_secs(120);

/// The pivot cuts nothing before everything new serves.
///
/// With `--handover steer`:
///
/// ```text
/// preflight → lock → archive → share-port/<c> → prefer-static → (create-secrets) → label-node → create-daemonset/<c> → await-ready/<c>
///     → (all three) → switch → prepare-rollback/… → retire-static/<c> → prefer-serving → verify → record-head
/// ```
///
/// The steps named `prepare-rollback/…` only prepare. Their *undo* is the exact way back, which reads from
/// right to left:
///
/// ```text
/// prepare-rollback/lower-bridge → /end-redirect → /restore-static/<c> → /vacate-port/<c> → /redirect → /raise-bridge
/// ```
///
/// With `--handover restart`, `share-port` restarts the static pods, which then share their ports by
/// themselves. There is no `prefer-static`, `switch` or `prepare-rollback`. With `--handover bridge` the plan
/// is that of `restart`, between `raise-bridge → redirect` and `end-redirect → lower-bridge`.
///
/// # Errors
/// Never in practice: the DAG is the one above.
pub fn pivot(settings: &Settings, deadline: Duration) -> Result<Plan, PlanError> {
    let mut steps = vec![
        // These checks have passed a moment ago. A pod that is not Ready just now may be again soon.
        step(StepKind::Preflight, Job::Preflight).policy(Policy::tries(10, CALL_WITHIN)),
        step(StepKind::Lock, Job::Lock).after([StepKind::Preflight]).policy(Policy::tries(2, LOCK_WITHIN)),
        step(StepKind::Archive, Job::Archive).after([StepKind::Lock]),
    ];
    let before_changes = if settings.guard { StepKind::ArmGuard } else { StepKind::Archive };
    if settings.guard {
        let arm = step(StepKind::ArmGuard, Job::ArmGuard).after([StepKind::Archive]);
        steps.push(arm.policy(Policy::tries(3, ARMED_WITHIN)));
    }
    let last: Vec<StepId> = match settings.handover {
        HandoverMode::Steer => steer(&mut steps, before_changes),
        HandoverMode::Bridge => bridge(&mut steps, before_changes),
        HandoverMode::Restart => restart(&mut steps, before_changes),
    };
    if settings.in_secrets.is_some() {
        with_secrets(&mut steps);
    }
    steps.push(verify(last, None));
    steps.push(step(StepKind::RecordHead, Job::RecordHead).after([StepKind::Verify]));
    if settings.guard {
        void_at_boot(&mut steps);
    }
    Ok(Plan::new(PIVOT, steps)?
        .with_deadline(deadline)
        .with_shared(RunInfo { settings: settings.clone(), why: None }.shared()))
}

/// With a guard the cut does not survive a reboot: the guard has restored the manifests. So findings after
/// the cut no longer count either.
fn void_at_boot(steps: &mut [StepSpec]) {
    for spec in steps {
        let kind = StepName::parse(spec.id.as_str()).map(StepName::kind);
        if matches!(kind, Some(StepKind::Verify | StepKind::RetireStatic)) {
            spec.durability = Durability::Boot;
        }
    }
}

/// Makes the Secrets after all that goes before the pods, and before the label that may start them. The way back
/// deletes the Secrets when no pod needs them any more.
fn with_secrets(steps: &mut Vec<StepSpec>) {
    let label = StepId::from(StepKind::LabelNode);
    let Some(label) = steps.iter_mut().find(|spec| spec.id == label) else { return };
    let create = step(StepKind::CreateSecrets, Job::CreateSecrets).after(std::mem::take(&mut label.after));
    label.after = vec![StepKind::CreateSecrets.into()];
    steps.push(create);
}

/// Checks the cluster, and of the components all or `only` this one.
pub(super) fn verify(last: Vec<StepId>, only: Option<Component>) -> StepSpec {
    step(StepKind::Verify, Job::Verify { only }).after(last).policy(Policy::tries(1, POD_WITHIN))
}

/// Restarts the static pods, which makes their ports shareable. Returns the last steps, as do the other
/// functions here.
fn restart(steps: &mut Vec<StepSpec>, after: StepKind) -> Vec<StepId> {
    for component in Component::ALL {
        // Both at once: a leader loses its lease while the API server restarts anyway, and its restart takes
        // as long.
        steps.push(pod(StepKind::SharePort.of(component), Job::SharePort { component }).after([after]));
    }
    start_new(steps, &each(StepKind::SharePort));
    for component in Component::ALL {
        let retire = pod(StepKind::RetireStatic.of(component), Job::RetireStatic { component });
        steps.push(retire.after(each(StepKind::AwaitReady)));
    }
    each(StepKind::RetireStatic)
}

/// Restarts the static pods while a third API server on another port takes the new connections.
fn bridge(steps: &mut Vec<StepSpec>, after: StepKind) -> Vec<StepId> {
    let [raise, lower] = [BridgeAct::Raise, BridgeAct::Lower].map(Some);
    let [begin, end] = [RedirectAct::Begin, RedirectAct::End].map(Some);
    // A resume that finds the bridge dead has ended the redirect to it. Where both are made again, both must
    // end again.
    let raise_bridge = pod(StepKind::RaiseBridge, Job::Bridge { forward: raise, back: lower }).after([after]);
    steps.push(raise_bridge.durability(Durability::Process));
    let redirect =
        step(StepKind::Redirect, Job::Redirect { forward: begin, back: end }).after([StepKind::RaiseBridge]);
    steps.push(redirect.durability(Durability::Process));
    let retired = restart(steps, StepKind::Redirect);
    let end_redirect =
        step(StepKind::EndRedirect, Job::Redirect { forward: end, back: begin }).after(retired);
    steps.push(end_redirect.durability(Durability::Process));
    let lower_bridge = pod(StepKind::LowerBridge, Job::Bridge { forward: lower, back: raise })
        .after([StepKind::EndRedirect]);
    steps.push(lower_bridge.durability(Durability::Process));
    vec![StepKind::LowerBridge.into()]
}

/// Tells the kernel which server gets new connections. Nothing is restarted.
fn steer(steps: &mut Vec<StepSpec>, after: StepKind) -> Vec<StepId> {
    for component in Component::ALL {
        let share = pod(StepKind::SharePort.of(component), Job::ShareLive { component });
        steps.push(share.after([after]).durability(Durability::Process));
    }
    let api = Component::ApiServer;
    let prefer = pod(StepKind::PreferStatic, Job::PreferStatic).after([StepKind::SharePort.of(api)]);
    steps.push(prefer.durability(Durability::Process));
    start_new(steps, &[each(StepKind::SharePort), vec![StepKind::PreferStatic.into()]].concat());
    let switch = pod(StepKind::Switch, Job::Switch).after(each(StepKind::AwaitReady));
    steps.push(switch.durability(Durability::Process));
    way_back(steps);
    for component in Component::ALL {
        let prepared = match component {
            Component::ApiServer => StepKind::PrepareRaiseBridge.into(),
            _ => StepKind::PrepareVacatePort.of(component),
        };
        let leaders = leaders_before(component).map(|leader| StepKind::RetireStatic.of(leader));
        let retire = pod(StepKind::RetireStatic.of(component), Job::RetireStatic { component });
        let retire = retire.after([prepared]).after(leaders);
        // What does not survive a crash or a boot is checked again right before the cut.
        steps.push(retire.after([StepKind::Switch]).after(each(StepKind::AwaitReady)));
    }
    let keep = step(StepKind::PreferServing, Job::PreferServing).after([StepKind::RetireStatic.of(api)]);
    steps.push(keep.durability(Durability::Process));
    [each(StepKind::RetireStatic), vec![StepKind::PreferServing.into()]].concat()
}

/// Prepares what the exact way back needs before the cut: a rollback then needs no API for it. The undos do
/// what is prepared here, in the reverse order.
fn way_back(steps: &mut Vec<StepSpec>) {
    let api = Component::ApiServer;
    let (restore, vacate) = (StepKind::PrepareRestoreStatic, StepKind::PrepareVacatePort);
    let bridge = |act| Job::Bridge { forward: None, back: Some(act) };
    let redirect = |act| Job::Redirect { forward: None, back: Some(act) };
    steps.push(pod(StepKind::PrepareLowerBridge, bridge(BridgeAct::Lower)).after([StepKind::Switch]));
    let end = step(StepKind::PrepareEndRedirect, redirect(RedirectAct::End));
    steps.push(end.after([StepKind::PrepareLowerBridge]));
    for component in Component::ALL {
        let after = if component == api { StepKind::PrepareEndRedirect } else { StepKind::Switch };
        steps.push(pod(restore.of(component), Job::RestoreStatic { component }).after([after]));
        let vacate = pod(vacate.of(component), Job::VacatePort { component });
        steps.push(vacate.after([restore.of(component)]));
    }
    let begin = step(StepKind::PrepareRedirect, redirect(RedirectAct::Begin));
    steps.push(begin.after([vacate.of(api)]));
    steps
        .push(pod(StepKind::PrepareRaiseBridge, bridge(BridgeAct::Raise)).after([StepKind::PrepareRedirect]));
}

/// Opts the node in, makes the DaemonSets and waits until their pods serve. Where the DaemonSets are there already, their
/// pods start when the node is opted in. So the label comes after all that a second process needs, and its undo after
/// those that take the pods away.
fn start_new(steps: &mut Vec<StepSpec>, after: &[StepId]) {
    // After all three: each restart could take away what the creation of another's pod needs.
    steps.push(step(StepKind::LabelNode, Job::LabelNode).after(after.iter().cloned()));
    for component in Component::ALL {
        let create = step(StepKind::CreateDaemonset.of(component), Job::CreateDaemonset { component });
        steps.push(create.after([StepKind::LabelNode]).policy(Policy::tries(3, CALL_WITHIN)));
        let wait = pod(StepKind::AwaitReady.of(component), Job::AwaitReady { component });
        // A pod's answer before a restart of this program says little. An answer before a reboot says
        // nothing.
        steps.push(wait.after([StepKind::CreateDaemonset.of(component)]).durability(Durability::Process));
    }
}

/// The components that are cut before this one. The API server is the last. A new leader lists the whole
/// cluster, and every client of an API server that ends connects anew. Both at once make requests wait, also
/// those that hold the endpoints and give the leases back.
pub(super) fn leaders_before(component: Component) -> impl Iterator<Item = Component> {
    Component::ALL.into_iter().filter(move |other| component == Component::ApiServer && *other != component)
}

pub(super) fn each(kind: StepKind) -> Vec<StepId> {
    Component::ALL.map(|component| kind.of(component).id()).to_vec()
}

/// A step that waits for a pod.
pub(super) fn pod(name: impl Into<StepId>, job: Job) -> StepSpec {
    step(name, job).policy(Policy::tries(1, POD_WITHIN))
}

/// A step that is patient on the way back. A rollback waits for an API that is down, and a person ends the
/// wait, not a count. 60 attempts of up to three minutes.
pub(super) fn step(name: impl Into<StepId>, job: Job) -> StepSpec {
    let args = serde_json::to_value(job).unwrap_or(Value::Null);
    let backoff = Backoff { initial: Duration::from_millis(500), max: Duration::from_secs(15) };
    let undo = Policy::tries(60, POD_WITHIN).with_backoff(backoff);
    StepSpec::new(name, args).policy(Policy::tries(5, CALL_WITHIN)).undo_policy(undo)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    pub(in super::super) fn settings(handover: HandoverMode) -> Settings {
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
            max_latency: None,
            health: BTreeMap::new(),
            guard: true,
            on_reboot: Default::default(),
            of_pivot: None,
            in_secrets: None,
            ignored: crate::check::Ignored::default(),
        }
    }

    const ALL: [HandoverMode; 3] = [HandoverMode::Steer, HandoverMode::Bridge, HandoverMode::Restart];

    fn plan_of(handover: HandoverMode) -> Plan {
        pivot(&settings(handover), Duration::from_secs(600)).unwrap()
    }

    /// Whether `later` comes after `earlier`, directly or through other steps.
    fn comes_after(plan: &Plan, later: &StepId, earlier: &StepId) -> bool {
        let after = &plan.step(later).unwrap().after;
        after.contains(earlier) || after.iter().any(|between| comes_after(plan, between, earlier))
    }

    #[test]
    fn nothing_is_cut_before_everything_new_is_ready() {
        for plan in ALL.map(plan_of) {
            for (retire, ready) in each(StepKind::RetireStatic)
                .iter()
                .flat_map(|r| each(StepKind::AwaitReady).into_iter().map(move |a| (r, a)))
            {
                assert!(comes_after(&plan, retire, &ready), "{retire} {ready}");
            }
        }
    }

    #[test]
    fn the_api_server_is_cut_last() {
        let plan = plan_of(HandoverMode::Steer);
        for leader in ["retire-static/kube-controller-manager", "retire-static/kube-scheduler"] {
            assert!(comes_after(&plan, &"retire-static/kube-apiserver".into(), &leader.into()), "{leader}");
        }
    }

    /// An undo goes against the order of the plan. The port is free before the static pod is restored, and
    /// all of it happens while new connections go to the bridge.
    #[test]
    fn the_exact_way_back_goes_over_the_bridge() {
        let plan = plan_of(HandoverMode::Steer);
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
