//! Another command line for a component that runs from its DaemonSet.

use crate::changes::recorded;
use crate::hand_over::ask_all_the_while;
use crate::support::{SOON, TestSite, outcome, reason, setup};
use fulcrum_engine::load::load;
use fulcrum_engine::run::Phase;
use fulcrum_engine::state::{Journal, RunId};
use fulcrum_engine::{Ending, Outcome, StepId};
use fulcrum_simulator::rehearsal::{
    Change, ChildExit, Fault, Point, Setup, SimulatedSite, Then, When, intervals, timeouts,
};
use fulcrum_steps::cluster::{Cause, Lock};
use fulcrum_steps::component::Component;
use fulcrum_steps::guard::{Carried, boot, carry_on};
use fulcrum_steps::manifest::{FlagChange, Words};
use fulcrum_steps::plan;
use fulcrum_steps::run_info::RunInfo;
use fulcrum_steps::settings::{HandoverMode, Settings, Wanted};
use fulcrum_steps::unit::HOLD_OFF;
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const API: Component = Component::ApiServer;

pub(crate) async fn pivoted() -> (TestSite, RunId) {
    pivoted_in(setup()).await
}

async fn pivoted_in(setup: Setup) -> (TestSite, RunId) {
    let world = TestSite::boot_with(&setup.with_handover(Wanted::Way(HandoverMode::Steer))).await;
    let ending = world.pivot(&world.journal()).await;
    assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
    (world, ending.run)
}

async fn words(world: &TestSite, component: Component) -> Words {
    let live = world.cluster.daemonset(component.daemonset_name()).await.unwrap().unwrap();
    Words::of(component, &live["spec"]["template"]).unwrap()
}

/// An edit that sets one flag.
async fn setting(world: &TestSite, component: Component, name: &str, value: &str) -> plan::Edit {
    let was = words(world, component).await;
    let words = was.changed(component, &[FlagChange::Set(name.to_owned(), value.to_owned())]).unwrap();
    plan::Edit { component, was, words, within: SOON, why: format!("--{name}={value}") }
}

pub(crate) fn settings(journal: &Journal, run: RunId) -> Settings {
    RunInfo::of(load(&journal.reader(), run).unwrap().plan()).unwrap().settings
}

async fn edit(world: &TestSite, pivot: RunId, edit: plan::Edit) -> Ending {
    let journal = world.journal();
    let settings = Settings { of_pivot: Some(pivot), ..settings(&journal, pivot) };
    let plan = plan::edit(&settings, pivot, edit).unwrap();
    world.engine(&journal, settings).await.start(plan).await.unwrap()
}

/// What a person does with kubectl.
async fn patch(world: &TestSite, component: Component, patch: serde_json::Value) {
    let daemonsets: Api<DaemonSet> = Api::namespaced(world.simulator.client(), "kube-system");
    let parameters = PatchParams::default();
    daemonsets.patch(component.daemonset_name(), &parameters, &Patch::Merge(patch)).await.unwrap();
}

/// As `kubectl edit` does.
async fn write_words(world: &TestSite, component: Component, words: &Words) {
    loop {
        let mut live = world.cluster.daemonset(component.daemonset_name()).await.unwrap().unwrap();
        assert!(words.put(component, &mut live["spec"]["template"]));
        match world.cluster.replace_daemonset(&live, false).await {
            // The controller has written its status meanwhile.
            Err(error) if matches!(error.cause, Cause::Refused { code: 409, .. }) => {}
            other => return other.map(drop).unwrap(),
        }
    }
}

/// A start of the guard, which has a run to carry on or to begin.
pub(crate) async fn guard_goes_on(world: &SimulatedSite) -> Ending {
    let start = boot(world, HOLD_OFF).await.unwrap();
    let (pace, stop) = (intervals(Duration::from_secs(5)), CancellationToken::new());
    match carry_on(world, &start, &pace, &stop).await.unwrap() {
        Carried::Ended(ending) => ending,
        other => panic!("{}: {other:?}", start.decision.why),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_flag_is_rolled_out_and_a_bad_one_comes_back() {
    let (world, pivot) = pivoted().await;
    for component in [API, Component::Scheduler] {
        let good = setting(&world, component, "v", "7").await;
        let expected = good.words.clone();
        let ending = edit(&world, pivot, good).await;
        assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
        assert_eq!(words(&world, component).await, expected);
        let bad = setting(&world, component, "simulate", "crash").await;
        let ending = edit(&world, pivot, bad).await;
        assert_eq!(outcome(&ending), Outcome::RolledBack, "{}", reason(&ending));
        assert!(reason(&ending).contains("does not come up"), "{}", reason(&ending));
        assert_eq!(words(&world, component).await, expected, "the former one is back");
        world.assert_pivoted("after an edit").await;
    }
    let back = world.rollback(&world.journal(), pivot).await;
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    world.assert_static("after edits").await;
    // The edits were later runs, and the way back is what was done last.
    let mut status = std::process::Command::new(env!("CARGO_BIN_EXE_fulcrum"));
    status.env_clear().arg("--state-dir").arg(world.state_dir()).arg("status");
    let told = status.args(["--kubeconfig", "/nowhere", "--manifests-dir", "/nowhere"]).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains(&format!("last run {pivot} (pivot): rolled-back")), "{told}");
}

/// The next leader need not wait until the lease of the one before has run out.
#[tokio::test(flavor = "multi_thread")]
async fn the_lease_of_a_leader_that_goes_is_given_back() {
    let (world, pivot) = pivoted_in(setup().with_lease(SOON / 4)).await;
    for component in [Component::ControllerManager, Component::Scheduler] {
        let lease = format!("lease {}", component.lease_name().unwrap());
        let taken = || {
            let lines = world.simulator.log().into_iter().filter(|line| line.to == lease);
            lines.map(|line| line.what).collect::<Vec<_>>()
        };
        let before = taken().len();
        let flag = setting(&world, component, "v", "7").await;
        let ending = edit(&world, pivot, flag).await;
        assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
        let since = taken().split_off(before);
        assert!(matches!(since.as_slice(), [one] if one.ends_with("from nobody")), "{component}: {since:?}");
    }
}

/// The controller does not look again by itself: its queue has kept the time of the pods from before, which had become Ready
/// right before.
#[tokio::test(flavor = "multi_thread")]
async fn a_roll_out_that_stands_still_is_made_to_go_on() {
    let (world, pivot) = pivoted_in(setup().with_second(Duration::from_millis(20))).await;
    let change = setting(&world, Component::Scheduler, "v", "3").await;
    let ending = edit(&world, pivot, change).await;
    assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
    let live = world.cluster.daemonset(Component::Scheduler.daemonset_name()).await.unwrap().unwrap();
    assert!(live["metadata"]["annotations"]["fulcrum.dev/look-again"].is_string(), "{}", live["metadata"]);
}

/// The kubelet asks the port, and the old server answers. The controller would end the old one soon.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_ready_by_the_answers_of_the_old_one_is_taken_back() {
    let (world, pivot) = pivoted().await;
    patch(&world, API, json!({ "spec": { "minReadySeconds": 2000 } })).await;
    let (stop, asking) = ask_all_the_while(&world);
    let bad = setting(&world, API, "simulate", "never-listens").await;
    let ending = edit(&world, pivot, bad).await;
    assert_eq!(outcome(&ending), Outcome::RolledBack, "{}", reason(&ending));
    assert!(reason(&ending).contains("not its process that serves"), "{}", reason(&ending));
    stop.store(true, Ordering::Relaxed);
    assert_eq!(asking.await.unwrap(), 0);
    world.assert_pivoted("after a bad edit").await;
}

/// The kubelet ends a server at once when it is told. So the run does not leave that to the controller, which looks 5 s
/// after the new pod is Ready here: it tells the old server to go itself, a little before. Its clients do not notice.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_tells_the_old_api_server_to_go() {
    let (world, pivot) = pivoted().await;
    patch(&world, API, json!({ "spec": { "minReadySeconds": 5000 } })).await;
    let (stop, asking) = ask_all_the_while(&world);
    let good = setting(&world, API, "v", "7").await;
    let ending = edit(&world, pivot, good).await;
    assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
    stop.store(true, Ordering::Relaxed);
    assert_eq!(asking.await.unwrap(), 0);
    world.assert_pivoted("after an edit").await;
    let changes = recorded(&world.journal(), ending.run);
    let is_pod = |fact: &Value| {
        fact["name"].as_str().unwrap().starts_with("Pod/kube-system/self-hosted-kube-apiserver-")
    };
    let told: Vec<&Value> = changes.iter().filter(|fact| is_pod(fact)).collect();
    assert!(told.len() == 1 && told[0]["after"].is_null(), "{changes:?}");
}

/// What is wrong with another component does not take an edit back.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_is_judged_by_its_own_component() {
    let (world, pivot) = pivoted().await;
    let settings = settings(&world.journal(), pivot);
    let plan = plan::edit(&settings, pivot, setting(&world, Component::Scheduler, "v", "7").await).unwrap();
    let verify = plan.step(&StepId::from("verify")).unwrap();
    assert_eq!(verify.args, json!({ "job": "verify", "only": Component::Scheduler }));
}

/// SIGKILL at each boundary of each step. The guard goes on: an edit does not wait for a person.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_is_killed_anywhere_is_finished_by_the_guard() {
    let (world, pivot) = pivoted().await;
    let steps = ["lock", "edit-daemonset/kube-apiserver", "await-roll-out/kube-apiserver", "verify", "seal"];
    let mut turn = 0;
    for step in steps {
        for when in [When::Started, When::Effect, When::Done] {
            // The result of the last step ends the run.
            if (step, when) == ("seal", When::Done) {
                continue;
            }
            turn += 1;
            let point = Point { step: step.into(), when };
            let change = setting(&world, API, "v", &turn.to_string()).await;
            let expected = change.words.clone();
            let fulcrum = Path::new(env!("CARGO_BIN_EXE_fulcrum"));
            let killed = world
                .inject_fault_in_change(fulcrum, Change::Edit(change), (&point, Fault::Kill, Then::Resume))
                .await;
            assert_eq!(killed.unwrap(), ChildExit::Killed, "{point}");
            let ending = guard_goes_on(&world).await;
            assert_eq!(outcome(&ending), Outcome::Completed, "{point}: {}", reason(&ending));
            assert_eq!(words(&world, API).await, expected, "{point}");
            world.assert_pivoted(&point.to_string()).await;
        }
    }
    let back = world.rollback(&world.journal(), pivot).await;
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    world.assert_static("after edits that were killed").await;
}

/// A reboot in the middle: the static pods serve, the edit goes on, and the DaemonSets get their turn again.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_a_reboot_cuts_short_goes_on_and_the_daemonsets_serve_again() {
    let (world, pivot) = pivoted().await;
    let point = Point { step: "edit-daemonset/kube-apiserver".into(), when: When::Effect };
    let change = setting(&world, API, "v", "7").await;
    let expected = change.words.clone();
    let fulcrum = Path::new(env!("CARGO_BIN_EXE_fulcrum"));
    let killed = world
        .inject_fault_in_change(fulcrum, Change::Edit(change), (&point, Fault::Kill, Then::Resume))
        .await;
    assert_eq!(killed.unwrap(), ChildExit::Killed);
    world.reboot().await.unwrap();
    // That start of the guard has finished the edit. The next one hands over.
    let handed_over = guard_goes_on(&world).await;
    assert_eq!(outcome(&handed_over), Outcome::Completed, "{}", reason(&handed_over));
    world.assert_pivoted("after a reboot in an edit").await;
    assert_eq!(words(&world, API).await, expected);
    let back = world.rollback(&world.journal(), pivot).await;
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    world.assert_static("after a reboot in an edit").await;
}

/// After a power cut three API servers start at once, and the API says of the pods what was true before. The static one
/// serves. So the new one may take all the time that the edit has for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_server_may_take_its_time_beside_a_static_one() {
    let (world, _) = pivoted().await;
    let point = Point { step: "await-roll-out/kube-apiserver".into(), when: When::Started };
    let within = timeouts().unproven * 3;
    let bad = plan::Edit { within, ..setting(&world, API, "simulate", "never-listens").await };
    let fulcrum = Path::new(env!("CARGO_BIN_EXE_fulcrum"));
    let fault = (&point, Fault::Kill, Then::Resume);
    let killed = world.inject_fault_in_change(fulcrum, Change::Edit(bad), fault).await;
    assert_eq!(killed.unwrap(), ChildExit::Killed);
    world.reboot().await.unwrap();
    let journal = world.journal();
    let runs = journal.reader().runs().unwrap();
    let edited = runs.iter().rfind(|header| header.kind == plan::EDIT).unwrap();
    let run = load(&journal.reader(), edited.run).unwrap();
    let Phase::Ended(Outcome::RolledBack, why) = run.phase() else { panic!("{:?}", run.phase()) };
    assert!(why.contains("await-roll-out/kube-apiserver") && why.contains("no result within"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_is_taken_back_later_and_what_somebody_else_has_written_stays() {
    let (world, pivot) = pivoted().await;
    let before = words(&world, Component::Scheduler).await;
    let first = edit(&world, pivot, setting(&world, Component::Scheduler, "v", "7").await).await;
    let name = Component::Scheduler.daemonset_name();
    let mut live = world.cluster.daemonset(name).await.unwrap().unwrap();
    live["spec"]["template"]["spec"]["containers"][0]["image"] = json!("registry.example/theirs:v1");
    world.cluster.replace_daemonset(&live, false).await.unwrap();
    let back = world.rollback(&world.journal(), first.run).await;
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    assert_eq!(words(&world, Component::Scheduler).await, before);
    let live = world.cluster.daemonset(name).await.unwrap().unwrap();
    let image = &live["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(*image, json!("registry.example/theirs:v1"), "somebody else's image stays");
    world.assert_pivoted("after an edit that was taken back").await;

    let second = setting(&world, Component::Scheduler, "v", "8").await;
    let stale = second.clone();
    let second = edit(&world, pivot, second).await;
    assert_eq!(outcome(&second), Outcome::Completed, "{}", reason(&second));
    let theirs = words(&world, Component::Scheduler).await;
    let theirs = theirs.changed(Component::Scheduler, &[FlagChange::Set("v".into(), "9".into())]).unwrap();
    write_words(&world, Component::Scheduler, &theirs).await;
    let back = world.rollback(&world.journal(), second.run).await;
    assert_eq!(outcome(&back), Outcome::NeedsOperator, "{}", reason(&back));
    assert!(reason(&back).contains("neither the one from before"), "{}", reason(&back));
    assert_eq!(words(&world, Component::Scheduler).await, theirs, "somebody else's stays");
    write_words(&world, Component::Scheduler, &before).await;
    let back = world.rollback(&world.journal(), second.run).await;
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    write_words(&world, Component::Scheduler, &theirs).await;
    let refused = edit(&world, pivot, plan::Edit { why: "a stale view".to_owned(), ..stale }).await;
    assert_eq!(outcome(&refused), Outcome::RolledBack, "{}", reason(&refused));
    assert!(reason(&refused).contains("somebody has changed it"), "{}", reason(&refused));
}

/// A person has said --take-lock on another node, while this run waited for a person or had no process.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_whose_lock_was_taken_changes_nothing() {
    let (world, pivot) = pivoted().await;
    let journal = world.journal();
    let settings = Settings { of_pivot: Some(pivot), ..settings(&journal, pivot) };
    let good = setting(&world, API, "v", "7").await;
    let was = good.was.clone();
    let plan = plan::edit(&settings, pivot, good).unwrap();
    let engine = world.engine(&journal, settings.clone()).await.pause_after([StepId::from("lock")]);
    let paused = engine.start(plan).await.unwrap();
    let thief = Lock::of("node-2", "r");
    let holder = world.cluster.lock_holder().await.unwrap().unwrap();
    thief.take_from(&world.cluster, &holder).await.unwrap();
    let ending = world.engine(&journal, settings).await.resume(paused.run).await.unwrap();
    assert_eq!(outcome(&ending), Outcome::RolledBack, "{}", reason(&ending));
    assert!(reason(&ending).contains("has taken the lock"), "{}", reason(&ending));
    assert_eq!(words(&world, API).await, was);
    assert_eq!(world.cluster.lock_holder().await.unwrap().as_deref(), Some("node-2/r"));
}
