//! `--handover steer` against the rehearsal cluster: what is not touched, and when.

use crate::support::{SOON, TestSite, outcome, reason};
use fulcrum_engine::{Outcome, Plan};
use fulcrum_simulator::{Ability, Flaw, Origin};
use fulcrum_steps::check::Check;
use fulcrum_steps::component::Component;
use fulcrum_steps::host::{Listener, Steering};
use fulcrum_steps::plan;
use fulcrum_steps::preflight::{PreflightInput, preflight};
use fulcrum_steps::settings::{HandoverMode, Settings};
use std::collections::BTreeMap;
use std::time::Duration;

/// The pids of the static components.
fn static_pids(world: &TestSite) -> BTreeMap<String, u32> {
    let processes = world.simulator.snapshot().processes.into_iter();
    let ours = |name: &str| Component::ALL.iter().any(|component| component.name() == name);
    let ours = processes.filter(|process| process.origin == Origin::Static && ours(&process.component));
    ours.map(|process| (process.component, process.pid)).collect()
}

async fn listeners(world: &TestSite, component: Component) -> Vec<Listener> {
    world.host.listeners(component.default_port()).await.unwrap()
}

async fn shared(world: &TestSite) -> Vec<bool> {
    let mut shared = Vec::new();
    for component in Component::ALL {
        for listener in listeners(world, component).await {
            shared.push(world.host.is_shared(&listener).await.unwrap());
        }
    }
    shared
}

async fn planned(world: &TestSite, within: Duration, soak: Duration) -> (Settings, Plan) {
    let settings = Settings { soak, ..world.preflight().await.unwrap().settings };
    let plan = plan::pivot(&settings, within).unwrap();
    assert_eq!(settings.handover, HandoverMode::Steer);
    (settings, plan)
}

async fn until_switched(world: &TestSite, is_over: impl Fn() -> bool) {
    let end = tokio::time::Instant::now() + SOON;
    loop {
        let both = listeners(world, Component::ApiServer).await;
        if let Ok(Some(Steering::To { .. })) = world.host.steering(&both).await {
            return;
        }
        assert!(tokio::time::Instant::now() < end && !is_over(), "it was never switched");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn static_pods_run_untouched_until_the_cut() {
    let world = TestSite::boot().await;
    let before = static_pids(&world);
    assert_eq!(before.len(), 3);
    let paused = world.pivot_until(&world.journal(), "switch").await;
    assert!(reason(&paused).contains("switch"), "{}", reason(&paused));
    assert_eq!(static_pids(&world), before);
    for (name, image) in &world.before {
        assert_eq!(world.manifests().read(name).unwrap().as_ref(), Some(image));
    }
    let both = listeners(&world, Component::ApiServer).await;
    let steering = world.host.steering(&both).await.unwrap();
    assert_eq!(steering, Some(Steering::To { serving: both[1].inode }));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_never_serves_leaves_the_static_pods_untouched() {
    let world = TestSite::boot().await;
    world.simulator.flaw(("kube-apiserver", Origin::Api), Flaw::NeverReady);
    let before = static_pids(&world);
    let (settings, plan) = planned(&world, Duration::from_secs(3), Duration::ZERO).await;
    let ending = world.engine(&world.journal(), settings).await.start(plan).await.unwrap();
    assert_eq!(outcome(&ending), Outcome::RolledBack, "{}", reason(&ending));
    assert!(reason(&ending).contains("await-ready/kube-apiserver"), "{}", reason(&ending));
    world.assert_static("after a server that never served").await;
    assert_eq!(static_pids(&world), before);
    assert_eq!(shared(&world).await, [false; 3]);
}

/// One answer that is not the new server's, while the old one still listens.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_answer_in_the_soak_switches_back() {
    let world = TestSite::boot().await;
    let before = static_pids(&world);
    let (settings, plan) = planned(&world, SOON, SOON).await;
    let engine = world.engine(&world.journal(), settings).await;
    let run = tokio::spawn(async move { engine.start(plan).await.unwrap() });
    until_switched(&world, || run.is_finished()).await;
    world.simulator.hold_down(("kube-apiserver", Origin::Api));
    let ending = run.await.unwrap();
    assert_eq!(outcome(&ending), Outcome::RolledBack, "{}", reason(&ending));
    assert!(reason(&ending).contains("step switch failed"), "{}", reason(&ending));
    world.assert_static("after a wrong answer").await;
    assert_eq!(static_pids(&world), before);
    assert_eq!(shared(&world).await, [false; 3]);
}

/// Answers that get slower than the person allows, while the old server still listens.
#[tokio::test(flavor = "multi_thread")]
async fn slow_answers_in_the_soak_switch_back() {
    let world = TestSite::boot().await;
    let before = static_pids(&world);
    let (settings, _) = planned(&world, SOON, SOON).await;
    // More than a busy machine takes for an answer of the simulation.
    let settings = Settings { max_latency: Some(Duration::from_secs(2)), ..settings };
    let plan = plan::pivot(&settings, SOON).unwrap();
    let engine = world.engine(&world.journal(), settings).await;
    let run = tokio::spawn(async move { engine.start(plan).await.unwrap() });
    until_switched(&world, || run.is_finished()).await;
    world.simulator.answer_time(Duration::from_secs(3));
    world.simulator.until("the answer to be too late", SOON, |_| run.is_finished()).await.ok();
    world.simulator.answer_time(Duration::ZERO);
    let ending = run.await.unwrap();
    assert_eq!(outcome(&ending), Outcome::RolledBack, "{}", reason(&ending));
    assert!(
        reason(&ending).contains("not answered within 2s, the longest that --max-latency"),
        "{}",
        reason(&ending)
    );
    world.assert_static("after slow answers").await;
    assert_eq!(static_pids(&world), before);
}

/// A limit of the answers' time where nothing would measure it.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_the_latency_needs_the_soak() {
    let world = TestSite::boot().await;
    let limited = PreflightInput { max_latency: Some(SOON), ..world.preflight_input() };
    preflight(&limited).await.unwrap();
    world.simulator.lack(Ability::Steering);
    let refused = preflight(&limited).await.unwrap_err().to_string();
    assert!(refused.contains("--max-latency is measured after the switch of steer, and bridge"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_is_what_the_node_allows() {
    let chosen = async |world: &TestSite| {
        let report = world.preflight().await.unwrap();
        let said =
            report.results.iter().find(|verdict| verdict.check == Check::Handover).unwrap().to_string();
        (report.settings.handover, said)
    };
    let world = TestSite::boot().await;
    assert_eq!(chosen(&world).await.0, HandoverMode::Steer);
    world.simulator.connect_over_loopback("kubectl", 6443);
    let (way, said) = chosen(&world).await;
    assert_eq!(way, HandoverMode::Steer, "the other ways are worse for such a client: {said}");
    let report = world.preflight().await.unwrap();
    assert!(report.results.iter().any(|result| result.to_string().contains("kubectl")), "it is named");
    world.simulator.lack(Ability::Steering);
    let report = world.preflight().await.unwrap();
    let seen: Vec<String> = report.results.iter().map(ToString::to_string).collect();
    let named =
        |said: &String| said.contains("kubectl") && said.contains("while the static one is restarted");
    assert!(report.settings.handover == HandoverMode::Bridge && seen.iter().any(named), "{seen:?}");
    let world = TestSite::boot().await;
    world.simulator.lack(Ability::Steering);
    let (way, said) = chosen(&world).await;
    assert!(way == HandoverMode::Bridge && said.contains("steer cannot work"), "{said}");
    world.simulator.lack(Ability::Redirects);
    let (way, said) = chosen(&world).await;
    assert!(way == HandoverMode::Restart && said.contains("nor bridge"), "{said}");
}
