//! The guard on the simulated cluster: what it restores, and when it hands over again.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

mod silent_api;
mod upgraded;

use fulcrum_engine::load::load;
use fulcrum_engine::run::Phase;
use fulcrum_engine::state::{Journal, RunId};
use fulcrum_engine::{Outcome, Silent};
use fulcrum_simulator::rehearsal::{POLL, SOON, Setup, SimulatedSite, Steps, Version, intervals};
use fulcrum_simulator::{ApiFault, Origin};
use fulcrum_steps::cluster::{GuardState, NodeEntry, NodeMode, RunPhase};
use fulcrum_steps::component::Component;
use fulcrum_steps::guard::{Ended, Guard, GuardEnv, Intervals, JournalView, boot, carry_on};
use fulcrum_steps::handover::standby::Standby;
use fulcrum_steps::host::{Listener, Steering};
use fulcrum_steps::manifest::{FlagChange, Words};
use fulcrum_steps::plan::{EDIT, FALL_BACK, HAND_OVER, PIVOT, RENEW_STANDBY};
use fulcrum_steps::run_info::RunInfo;
use fulcrum_steps::settings::{HandoverMode, Wanted};
use fulcrum_steps::site::Site;
use fulcrum_steps::unit::{HOLD_OFF, PATIENCE};
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const API: &str = "kube-apiserver";

const PATIENT: Duration = Duration::from_millis(300);

async fn pivoted() -> (SimulatedSite, RunId, TempDir) {
    pivoted_by(HandoverMode::Steer).await
}

async fn pivoted_by(handover: HandoverMode) -> (SimulatedSite, RunId, TempDir) {
    pivoted_with(handover, None).await
}

async fn pivoted_with(handover: HandoverMode, steps: Option<Steps>) -> (SimulatedSite, RunId, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::built_in(Version::DEFAULT).unwrap().with_handover(Wanted::Way(handover));
    let world = SimulatedSite::boot(&setup, dir.path()).await.unwrap();
    let world = match steps {
        Some(steps) => world.with_steps(steps),
        None => world,
    };
    let ending = world.pivot(&world.journal().unwrap(), Arc::new(Silent)).await.unwrap();
    assert!(matches!(ending.phase, Phase::Ended(Outcome::Completed, _)), "{}", ending.phase);
    world.is_self_hosted().await.unwrap();
    (world, ending.run, dir)
}

/// The kubelet is answered, and starts the DaemonSets' pods, before the API server is ready.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_boot_the_static_api_server_is_first_in_line_before_it_is_ready() {
    let (world, _run, _dir) = pivoted().await;
    world.simulator.power_off();
    let start = boot(&world, HOLD_OFF).await.unwrap();
    unready_for(&world, u32::MAX);
    world.simulator.power_on();
    let stop = CancellationToken::new();
    let lined_up = async {
        let both = |seen: &fulcrum_simulator::Snapshot| {
            [Origin::Static, Origin::Api].into_iter().all(|origin| seen.of(API, origin).any(|one| one.ready))
        };
        world.simulator.until("two API servers", SOON, both).await.unwrap();
        let group = world.host.listeners(Component::ApiServer.default_port()).await.unwrap();
        until_connections_go_to(&world, &group, 0).await;
    };
    let intervals = Intervals::new(PATIENCE, HOLD_OFF);
    tokio::select! {
        carried = carry_on(&world, &start, &intervals, &stop) => panic!("it did not wait: {carried:?}"),
        () = lined_up => {}
    }
}

/// The servers report so often that they are not ready. So the test has time to see which one listens first.
fn unready_for(world: &SimulatedSite, times: u32) {
    let (path, outcome) = ("/readyz".to_owned(), fulcrum_simulator::Outcome::InternalError);
    world.simulator.inject(ApiFault { method: None, path, times, outcome });
}

/// The guard lines no server up where the hand-over itself lines none up.
#[tokio::test(flavor = "multi_thread")]
async fn a_reboot_is_survived_whatever_the_way_of_the_hand_over() {
    for handover in [HandoverMode::Steer, HandoverMode::Bridge, HandoverMode::Restart] {
        let (world, run, _dir) = pivoted_by(handover).await;
        unready_for(&world, 20);
        tokio::time::timeout(SOON * 2, world.reboot()).await.expect("a hand-over").unwrap();
        world.is_self_hosted().await.unwrap();
        goes_back_exactly(&world, run).await;
    }
}

/// What happens while the guard is there.
async fn guarded(env: &dyn GuardEnv, happens: impl Future<Output = ()>) {
    let guard = Guard {
        env,
        intervals: intervals(PATIENT),
        roll_certificates: false,
        stop: CancellationToken::new(),
    };
    let again_and_again = async {
        loop {
            match guard.run(|| {}).await {
                Ended::RunIsOver => {}
                ended => panic!("the guard has ended: {ended:?}"),
            }
        }
    };
    tokio::select! {
        () = again_and_again => {}
        () = happens => {}
    }
}

/// Kinds and outcomes of the runs, once no process is at work on one.
async fn story(world: &SimulatedSite) -> Vec<(String, Option<Outcome>)> {
    let Ok(journal) = Journal::open(world.state_dir(), "status") else { return Vec::new() };
    let outcome = |run| match load(&journal.reader(), run).unwrap().phase() {
        Phase::Ended(outcome, _) => Some(*outcome),
        _ => None,
    };
    let runs = journal.reader().runs().unwrap();
    runs.into_iter().map(|header| (header.kind, outcome(header.run))).collect()
}

async fn until_the_story_is(world: &SimulatedSite, expected: &[&str]) {
    let done = |story: &[(String, Option<Outcome>)]| {
        story.iter().map(|(kind, _)| kind.as_str()).eq(expected.iter().copied())
            && story.iter().all(|(_, outcome)| *outcome == Some(Outcome::Completed))
    };
    let wait = async {
        while !done(&story(world).await) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    if tokio::time::timeout(SOON * 2, wait).await.is_err() {
        panic!("expected {expected:?}, the journal says {:?}", story(world).await);
    }
}

/// Waits until the guard watches: the first thing that it does then is to keep the standby.
async fn until_watched(world: &SimulatedSite, run: RunId) {
    let standby = Standby::of(&world.state_dir(), run);
    let kept = async {
        while Component::ALL.iter().any(|component| standby.get(*component).unwrap().is_none()) {
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
    };
    tokio::time::timeout(SOON, kept).await.expect("a standby");
}

/// A flag is added to the API server, whose pods have to be Ready for so many seconds then.
async fn roll_out_slowly(world: &SimulatedSite, flag: &str, min_ready: u32) {
    let daemonsets: Api<DaemonSet> = Api::namespaced(world.simulator.client(), "kube-system");
    let name = Component::ApiServer.daemonset_name();
    let mut live = serde_json::to_value(daemonsets.get(name).await.unwrap()).unwrap();
    let container = &mut live["spec"]["template"]["spec"]["containers"][0];
    container["command"].as_array_mut().unwrap().push(json!(flag));
    let template = json!({ "spec": { "containers": [container] } });
    let patch = json!({ "spec": { "template": template, "minReadySeconds": min_ready } });
    daemonsets.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

async fn roll_out(world: &SimulatedSite, flag: &str) {
    roll_out_slowly(world, flag, 20).await;
}

async fn goes_back_exactly(world: &SimulatedSite, run: RunId) {
    let ending = world.rollback(&world.journal().unwrap(), run, Arc::new(Silent)).await.unwrap();
    assert!(matches!(ending.phase, Phase::Ended(Outcome::RolledBack, _)), "{:?}", ending.phase);
    world.is_as_before().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reboot_is_survived_and_so_is_the_next() {
    let (world, run, _dir) = pivoted().await;
    for _ in 0..2 {
        world.reboot().await.unwrap();
        world.is_self_hosted().await.unwrap();
    }
    until_the_story_is(&world, &[PIVOT, HAND_OVER, HAND_OVER]).await;
    // All static pods were there again, and had to go.
    let journal = world.journal().unwrap();
    for header in &journal.reader().runs().unwrap()[1..] {
        let plan = load(&journal.reader(), header.run).unwrap();
        let retired = Component::ALL.map(|component| format!("retire-static/{component}").into());
        assert!(retired.iter().all(|step| plan.plan().step(step).is_some()), "{:?}", plan.plan());
    }
    drop(journal);
    goes_back_exactly(&world, run).await;
}

async fn delete_daemonset(world: &SimulatedSite, component: Component) {
    let name = component.daemonset_name();
    let live = world.cluster.daemonset(name).await.unwrap().unwrap();
    world.cluster.delete_daemonset(name, live["metadata"]["uid"].as_str().unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_daemonsets_are_deleted_the_node_falls_back_and_stays_static() {
    let (world, run, _dir) = pivoted().await;
    guarded(&world, async {
        // The API server's last: nothing more can be deleted once it is going.
        for component in Component::ALL.into_iter().rev() {
            delete_daemonset(&world, component).await;
        }
        let back = |seen: &fulcrum_simulator::Snapshot| {
            Component::ALL.iter().all(|component| seen.serves(component.name(), Origin::Static))
        };
        world.simulator.until("static pods", SOON, back).await.unwrap();
    })
    .await;
    // The guard does not hand over to what is gone. A component that went later has a run of its own.
    // The first time it may finish the fallback that was cut above.
    for _ in 0..2 {
        let start = boot(&world, HOLD_OFF).await.unwrap();
        carry_on(&world, &start, &intervals(PATIENT), &CancellationToken::new()).await.unwrap();
    }
    let story = story(&world).await;
    assert!(story.len() > 1 && story[1..].iter().all(|(kind, _)| kind == FALL_BACK), "{story:?}");
    goes_back_exactly(&world, run).await;
}

/// A fallback of one component, as the watch begins it.
async fn fall_back(world: &SimulatedSite, run: RunId, component: Component) {
    let journal = world.journal().unwrap();
    let view = JournalView::read(&journal).unwrap().unwrap();
    view.standby(&world.state_dir()).begin(&view.retired).unwrap();
    let settings = view.settings;
    let info = RunInfo::of_pivot(&settings, run, "a test");
    let site = GuardEnv::site(world, info.settings).await.unwrap();
    let plan = fulcrum_steps::plan::fall_back(&settings, run, &[component], "a test").unwrap();
    let fallen_back = GuardEnv::engine(world, journal, &site).await.unwrap().start(plan).await.unwrap();
    assert!(matches!(fallen_back.phase, Phase::Ended(Outcome::Completed, _)), "{}", fallen_back.phase);
}

/// The new pod is Ready by the old one's answers. When the old one has gone, no process listens.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_roll_out_falls_back_to_what_was_proven() {
    let (world, run, _dir) = pivoted().await;
    guarded(&world, async {
        until_watched(&world, run).await;
        roll_out(&world, "--simulate=never-listens").await;
        let back = |seen: &fulcrum_simulator::Snapshot| seen.serves(API, Origin::Static);
        world.simulator.until("a static API server", SOON, back).await.unwrap();
        until_the_story_is(&world, &[PIVOT, FALL_BACK]).await;
    })
    .await;
    goes_back_exactly(&world, run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_roll_out_is_what_comes_back_after_a_reboot() {
    let (world, run, _dir) = pivoted().await;
    guarded(&world, async {
        until_watched(&world, run).await;
        roll_out(&world, "--v=7").await;
        until_the_story_is(&world, &[PIVOT, RENEW_STANDBY]).await;
    })
    .await;
    let standby = Standby::of(&world.state_dir(), run).get(Component::ApiServer).unwrap().unwrap();
    assert!(standby.content.contains("--v=7"), "{}", standby.content);
    world.reboot().await.unwrap();
    world.is_self_hosted().await.unwrap();
    goes_back_exactly(&world, run).await;
}

/// The guard begins no run beside an edit, and holds what the edit has rolled out to be proven afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn the_guard_waits_for_an_edit_and_then_renews_the_standby() {
    let (world, run, _dir) = pivoted().await;
    guarded(&world, async {
        until_watched(&world, run).await;
        let journal = loop {
            match world.journal() {
                Ok(journal) => break journal,
                Err(_held) => tokio::time::sleep(Duration::from_millis(4)).await,
            }
        };
        let settings = JournalView::read(&journal).unwrap().unwrap().settings;
        let name = Component::ApiServer.daemonset_name();
        let live = world.cluster.daemonset(name).await.unwrap().unwrap();
        let was = Words::of(Component::ApiServer, &live["spec"]["template"]).unwrap();
        let change = FlagChange::Set("v".to_owned(), "7".to_owned());
        let words = was.changed(Component::ApiServer, &[change]).unwrap();
        let (component, why) = (Component::ApiServer, "a test".to_owned());
        let edit = fulcrum_steps::plan::Edit { component, was, words, within: SOON, why };
        let plan = fulcrum_steps::plan::edit(&settings, run, edit).unwrap();
        let ending = world.engine(&journal, settings).await.unwrap().start(plan).await.unwrap();
        assert!(matches!(ending.phase, Phase::Ended(Outcome::Completed, _)), "{}", ending.phase);
        drop(journal);
        until_the_story_is(&world, &[PIVOT, EDIT, RENEW_STANDBY]).await;
    })
    .await;
    goes_back_exactly(&world, run).await;
}

/// The newer of two API servers gets new connections when it has proven itself, long before the older one's
/// pod is deleted: that waits for `minReadySeconds`. If the newer one's pod is deleted instead, the older one gets them.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_roll_out_connections_go_to_the_server_that_stays() {
    let (world, _run, _dir) = pivoted().await;
    let port = Component::ApiServer.default_port();
    guarded(&world, async {
        roll_out_slowly(&world, "--v=7", 1_000_000).await;
        let both = |seen: &fulcrum_simulator::Snapshot| {
            seen.of(API, Origin::Api).filter(|server| server.ready).count() == 2
        };
        world.simulator.until("two API servers", SOON, both).await.unwrap();
        let group = world.host.listeners(port).await.unwrap();
        until_connections_go_to(&world, &group, 1).await;
        world.simulator.slow_kubelet(1_000_000); // It does not get to the pod that is deleted.
        let pods = world.cluster.pods_labelled(&Site::pod_labels(Component::ApiServer)).await.unwrap();
        let newer = pods.iter().find(|pod| pod.metadata.uid == group[1].process.pod_uid).unwrap();
        tokio::time::sleep(POLL * 50).await;
        let pods = world.cluster.pods_labelled(&Site::pod_labels(Component::ApiServer)).await.unwrap();
        assert!(pods.iter().all(|pod| pod.metadata.deletion_timestamp.is_none()), "neither is available yet");
        let (name, uid) = (newer.metadata.name.as_deref().unwrap(), newer.metadata.uid.as_deref().unwrap());
        world.cluster.delete_pod(name, uid).await.unwrap();
        until_connections_go_to(&world, &group, 0).await;
    })
    .await;
}

async fn until_connections_go_to(world: &SimulatedSite, group: &[Listener], place: usize) {
    let goes_there = |steering: Option<Steering>| match steering {
        Some(Steering::To { serving } | Steering::Prefer { serving, .. }) => serving == group[place].inode,
        None => false,
    };
    let switched = async {
        while !goes_there(world.host.steering(group).await.unwrap()) {
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
    };
    assert!(tokio::time::timeout(SOON, switched).await.is_ok(), "{:?}", world.host.steering(group).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guard_says_in_the_roll_call_that_it_is_there() {
    let (world, _run, _dir) = pivoted().await;
    let name = world.machine().name();
    let said = async || world.cluster.entry_of(name).await.unwrap().unwrap();
    assert_eq!(said().await.guard.unwrap().state, GuardState::Armed);
    let there = async {
        while said().await.guard.is_none_or(|guard| guard.state != GuardState::Watching) {
            tokio::time::sleep(POLL).await;
        }
    };
    let watched = async { tokio::time::timeout(SOON, there).await.expect("the guard says so") };
    guarded(&world, watched).await;
    let entry = said().await;
    let guard = entry.guard.unwrap();
    assert!(guard.beat.is_some() && guard.standby.is_some_and(|standby| !standby.behind));
    assert_eq!((entry.mode, entry.phase), (NodeMode::SelfHosted, RunPhase::Completed));
    assert!(entry.checkpoint.is_some(), "what the run has signed stays");
}

/// The API gave no answer when the run said that it has ended.
#[tokio::test(flavor = "multi_thread")]
async fn the_guard_says_how_the_last_run_has_ended_if_the_run_could_not() {
    let (world, run, _dir) = pivoted().await;
    let name = world.machine().name();
    let as_if_it_went_on = |entry: &mut NodeEntry| entry.phase = RunPhase::Running;
    world.cluster.update_entry(name, as_if_it_went_on).await.unwrap();
    let known = async {
        while world.cluster.entry_of(name).await.unwrap().unwrap().phase != RunPhase::Completed {
            tokio::time::sleep(POLL).await;
        }
    };
    guarded(&world, async { tokio::time::timeout(SOON, known).await.expect("the guard says so") }).await;
    assert_eq!(world.cluster.entry_of(name).await.unwrap().unwrap().run, run.to_string());
}
