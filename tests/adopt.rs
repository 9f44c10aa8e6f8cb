//! `adopt`: a control plane that was self-hosted without this journal. Its DaemonSets are fulcrum's own, whose journal
//! was lost, or those of kubeadm's old pivot.

use crate::doctor::find;
use crate::hand_over::ask_all_the_while;
use crate::support::{SOON, TestSite, outcome, reason};
use fulcrum_engine::load::load;
use fulcrum_engine::{Ending, Outcome, StepId};
use fulcrum_simulator::rehearsal::{ChildExit, Fault, POLL, Point, Then, When};
use fulcrum_simulator::{Origin, Snapshot};
use fulcrum_steps::component::Component;
use fulcrum_steps::doctor::Area;
use fulcrum_steps::host::Units;
use fulcrum_steps::plan;
use fulcrum_steps::preflight::{Refused, SelfHosted, self_hosted};
use fulcrum_steps::unit::UNIT;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

const OPT_IN: &str = "fulcrum.dev/self-hosted";
const MASTER: &str = "node-role.kubernetes.io/master";

/// What is compared of a DaemonSet that comes back: all that a person or a controller can see, but who it is.
fn seen(daemonset: &Value) -> Value {
    json!({ "labels": daemonset["metadata"]["labels"], "spec": daemonset["spec"] })
}

/// A pivoted node whose journal, standby and guard are gone.
async fn without_a_journal() -> TestSite {
    let world = TestSite::boot().await;
    let journal = world.journal();
    let pivoted = world.pivot(&journal).await;
    assert_eq!(outcome(&pivoted), Outcome::Completed, "{}", reason(&pivoted));
    drop(journal);
    lose(&world).await;
    world
}

async fn lose(world: &TestSite) {
    std::fs::remove_dir_all(world.state_dir()).unwrap();
    world.units().disable(UNIT, true).await.unwrap();
    std::fs::remove_file(world.units().dir().join(UNIT)).unwrap();
    for component in Component::ALL {
        let _ = std::fs::remove_file(world.manifests().spare(component.manifest_file()));
    }
}

/// A node as kubeadm's own pivot left it: DaemonSets for the role's nodes, which share no port and roll out by deletion.
async fn of_kubeadm() -> TestSite {
    let world = TestSite::boot().await;
    let report = world.preflight().await.unwrap();
    let nodes: Api<Node> = Api::all(world.simulator.from_outside());
    let label = Patch::Merge(json!({ "metadata": { "labels": { MASTER: "" } } }));
    let _ = nodes.patch(world.machine().name(), &PatchParams::default(), &label).await.unwrap();
    for pod in &report.static_pods {
        let mut made = pod.daemonset(&report.settings.target(None));
        let name = pod.component().daemonset_name();
        let spec = &mut made["spec"];
        spec["updateStrategy"] = json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 1 } });
        spec["minReadySeconds"] = 0.into();
        spec["template"]["metadata"]["labels"] = json!({ "k8s-app": name });
        let spec = &mut spec["template"]["spec"];
        spec["nodeSelector"] = json!({ MASTER: "" });
        spec["dnsPolicy"] = "ClusterFirstWithHostNet".into();
        let words = spec["containers"][0]["command"].as_array_mut().unwrap();
        words.retain(|word| word != "--permit-port-sharing=true");
        let _ = world.cluster.create_daemonset(&made, false).await.unwrap();
    }
    let bound = async || {
        let pods = world.cluster.pods_labelled("").await.unwrap_or_default();
        let of_daemonset = |pod: &&Pod| {
            let labels = pod.metadata.labels.iter().flatten();
            labels.into_iter().any(|(key, _)| key == "k8s-app")
                && pod.spec.as_ref().unwrap().node_name.is_some()
        };
        pods.iter().filter(of_daemonset).count() == 3
    };
    while !bound().await {
        tokio::time::sleep(POLL).await;
    }
    for component in Component::ALL {
        std::fs::remove_file(world.manifests().file(component.manifest_file())).unwrap();
    }
    let rolled = |seen: &Snapshot| {
        let mut all = Component::ALL.iter().map(|component| component.name());
        all.all(|name| seen.serves(name, Origin::Api) && !seen.runs(name, Origin::Static)) && seen.api_up
    };
    world.simulator.until("kubeadm's DaemonSets", SOON, rolled).await.unwrap();
    world
}

async fn found(world: &TestSite) -> SelfHosted {
    self_hosted(&world.preflight_input()).await.unwrap_or_else(|refused| panic!("{refused}"))
}

async fn daemonsets(world: &TestSite) -> BTreeMap<Component, Value> {
    let mut all = BTreeMap::new();
    for component in Component::ALL {
        let live = world.cluster.daemonset(component.daemonset_name()).await.unwrap();
        all.insert(component, live.map_or(Value::Null, |live| seen(&live)));
    }
    all
}

/// The run of the command, without a failed request.
async fn adopt(world: &TestSite, there: &SelfHosted) -> Ending {
    let journal = world.journal();
    let plan = plan::adopt(&there.settings, &there.found, SOON).unwrap();
    let (stop, asking) = ask_all_the_while(world);
    let ending = world.engine(&journal, there.settings.clone()).await.start(plan).await.unwrap();
    stop.store(true, Ordering::Relaxed);
    assert_eq!(asking.await.unwrap(), 0, "requests failed");
    ending
}

/// Static pods serve, of the manifests that were shown, and nothing of the DaemonSets is left.
async fn assert_static(world: &TestSite, there: &SelfHosted, context: &str) {
    let is_static = |seen: &Snapshot| {
        let mut all = Component::ALL.iter().map(|component| component.name());
        all.all(|name| seen.serves(name, Origin::Static) && !seen.runs(name, Origin::Api))
    };
    world.simulator.until("static pods", SOON, is_static).await.unwrap();
    for (component, one) in &there.found.daemonsets {
        let image = world.manifests().read(component.manifest_file()).unwrap().unwrap();
        assert_eq!(image.content, one.manifest, "{context}");
    }
    assert!(daemonsets(world).await.values().all(Value::is_null), "{context}");
    let node = world.cluster.node(world.machine().name()).await.unwrap().unwrap();
    assert!(!node.metadata.labels.unwrap().contains_key(OPT_IN), "{context}");
}

/// The DaemonSets serve again, as they were, and no manifest is left.
async fn assert_found(world: &TestSite, before: &BTreeMap<Component, Value>, context: &str) {
    world.is_self_hosted().await.unwrap_or_else(|difference| panic!("{context}: {difference}"));
    assert_eq!(daemonsets(world).await, *before, "{context}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fulcrums_own_daemonsets_are_taken_over_and_the_node_is_as_any_pivoted_one() {
    let world = without_a_journal().await;
    let there = found(&world).await;
    assert!(there.found.labelled && there.found.daemonsets.values().all(|one| one.shares));
    let before = daemonsets(&world).await;
    let ending = adopt(&world, &there).await;
    assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
    assert_static(&world, &there, "adopted").await;
    world.settle().await.unwrap();
    let journal = world.journal();
    let pivoted = world.pivot(&journal).await;
    assert_eq!(outcome(&pivoted), Outcome::Completed, "{}", reason(&pivoted));
    world.assert_pivoted("from adopted static pods").await;
    assert_eq!(daemonsets(&world).await, before, "the manifests give the DaemonSets that they were made of");
    let back = world.rollback(&journal, pivoted.run).await;
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    assert_static(&world, &there, "rolled back").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kubeadms_pivot_left_is_taken_over_without_a_failed_request() {
    let world = of_kubeadm().await;
    let there = found(&world).await;
    assert!(!there.found.labelled && there.found.daemonsets.values().all(|one| !one.shares));
    let ending = adopt(&world, &there).await;
    assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
    assert_static(&world, &there, "adopted").await;
}

/// An undo of a completed adoption brings back what was found. With shared ports no request fails.
#[tokio::test(flavor = "multi_thread")]
async fn an_adoption_is_undone_to_what_was_found() {
    for (world, shares) in [(without_a_journal().await, true), (of_kubeadm().await, false)] {
        let (there, before) = (found(&world).await, daemonsets(&world).await);
        let ending = adopt(&world, &there).await;
        assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
        let (stop, asking) = ask_all_the_while(&world);
        let back = world.rollback(&world.journal(), ending.run).await;
        stop.store(true, Ordering::Relaxed);
        let failed = asking.await.unwrap();
        assert_eq!(outcome(&back), Outcome::RolledBack, "{shares}: {}", reason(&back));
        assert!(!shares || failed == 0, "{failed} requests failed");
        assert_found(&world, &before, "undone").await;
    }
}

/// SIGKILL at the beginning, after the effect and before the result of every step; then forward or back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_adoption_that_is_killed_anywhere_comes_to_its_end() {
    let fulcrum = Path::new(env!("CARGO_BIN_EXE_fulcrum"));
    let world = without_a_journal().await;
    let there = found(&world).await;
    let steps: Vec<StepId> = plan::adopt(&there.settings, &there.found, SOON)
        .unwrap()
        .steps()
        .iter()
        .map(|step| step.id.clone())
        .collect();
    drop(world);
    let whens = [When::Started, When::Effect, When::Done];
    for (at, step) in steps.iter().enumerate() {
        // Each step; and over six of them each instant in both directions.
        let then = if at % 2 == 0 { Then::Resume } else { Then::Rollback };
        let when = whens[at % 3];
        let point = Point { step: step.clone(), when };
        let world = without_a_journal().await;
        let (there, before) = (found(&world).await, daemonsets(&world).await);
        let (stop, asking) = ask_all_the_while(&world);
        let exit = world.inject_fault_in_change(fulcrum, (&there).into(), (&point, Fault::Kill, then)).await;
        assert_eq!(exit.unwrap(), ChildExit::Killed, "{point}");
        let journal = world.journal();
        let run = journal.reader().runs().unwrap()[0].run;
        let is_over = load(&journal.reader(), run).unwrap().is_over();
        let ending = match then {
            // After its last step the run ends before the signal comes.
            Then::Resume if is_over => None,
            Then::Resume => Some(world.resume(&journal, run).await),
            Then::Rollback => Some(world.rollback(&journal, run).await),
        };
        let ended = ending.as_ref().map_or(Outcome::Completed, outcome);
        let context = format!("{point}, {then}: {}", ending.as_ref().map(reason).unwrap_or_default());
        match then {
            Then::Resume => {
                assert_eq!(ended, Outcome::Completed, "{context}");
                assert_static(&world, &there, &context).await;
            }
            Then::Rollback => {
                assert_eq!(ended, Outcome::RolledBack, "{context}");
                assert_found(&world, &before, &context).await;
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(asking.await.unwrap(), 0, "requests failed: {context}");
    }
}

/// A static pod that does not start takes nothing away: the DaemonSets serve as before.
#[tokio::test(flavor = "multi_thread")]
async fn a_static_pod_that_never_serves_leaves_what_was_found() {
    let world = without_a_journal().await;
    let (there, before) = (found(&world).await, daemonsets(&world).await);
    world.simulator.hold_down(("kube-scheduler", Origin::Static));
    let journal = world.journal();
    let plan = plan::adopt(&there.settings, &there.found, Duration::from_secs(3)).unwrap();
    let ending = world.engine(&journal, there.settings.clone()).await.start(plan).await.unwrap();
    assert_eq!(outcome(&ending), Outcome::RolledBack, "{}", reason(&ending));
    assert_found(&world, &before, "a static scheduler that never served").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_names_the_command() {
    let world = without_a_journal().await;
    let said = find(&world, Area::Daemonsets, "which this journal does not have").await;
    assert_eq!(said.remedy, "fulcrum adopt");
    let world = of_kubeadm().await;
    let said = find(&world, Area::Daemonsets, "made by kubeadm's pivot, or by hand").await;
    assert_eq!(said.remedy, "fulcrum adopt");
}

fn refusal(refused: Result<SelfHosted, Refused>) -> String {
    refused.map(|there| format!("{:?}", there.found)).unwrap_err().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_over_is_refused_by_name() {
    let world = TestSite::boot().await;
    let said = refusal(self_hosted(&world.preflight_input()).await);
    assert!(said.contains("kube-apiserver.yaml is there: kube-apiserver has a static pod"), "{said}");
    let journal = world.journal();
    assert_eq!(outcome(&world.pivot(&journal).await), Outcome::Completed);
    drop(journal);
    let said = refusal(self_hosted(&world.preflight_input()).await);
    assert!(said.contains("fulcrum guard uninstall"), "{said}");
    lose(&world).await;
    let name = Component::Scheduler.daemonset_name();
    let mut live = world.cluster.daemonset(name).await.unwrap().unwrap();
    let variable = json!({ "name": "T", "valueFrom": { "secretKeyRef": { "name": "t", "key": "t" } } });
    live["spec"]["template"]["spec"]["containers"][0]["env"] = json!([variable]);
    let _ = world.cluster.replace_daemonset(&live, false).await.unwrap();
    let said = refusal(self_hosted(&world.preflight_input()).await);
    assert!(
        said.contains("spec.template.spec.containers[0].env[0].valueFrom.secretKeyRef refers to a Secret"),
        "{said}"
    );
}
