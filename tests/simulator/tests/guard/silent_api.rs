//! The API is silent, or answers late.

use crate::{API, PATIENT, delete_daemonset, fall_back, guarded, pivoted, unready_for, until_the_story_is};
use async_trait::async_trait;
use fulcrum_engine::run::Phase;
use fulcrum_engine::state::{Journal, RunId, Timestamp};
use fulcrum_engine::{Control, Ending, Engine, Event, Observer, Outcome, PauseCause, StepId};
use fulcrum_simulator::Origin;
use fulcrum_simulator::rehearsal::{SOON, SimulatedSite, intervals};
use fulcrum_steps::component::Component;
use fulcrum_steps::guard::decide::Next;
use fulcrum_steps::guard::{Carried, GuardEnv, GuardError, Intervals, boot, carry_on};
use fulcrum_steps::plan::{FALL_BACK, HAND_OVER, PIVOT};
use fulcrum_steps::settings::Settings;
use fulcrum_steps::site::Site;
use fulcrum_steps::step_name::StepKind;
use fulcrum_steps::unit::{HOLD_OFF, PATIENCE};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The API does not answer the guard, or cannot be reached: the other components must start all the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_back_later_does_not_wait_for_the_api_for_ever() {
    let (world, _run, _dir) = pivoted().await;
    let there = || Component::ALL.map(|component| world.manifests().file(component.manifest_file()).exists());
    let (intervals, stop) = (intervals(PATIENT), CancellationToken::new());
    world.simulator.power_off();
    let start = boot(&world, HOLD_OFF).await.unwrap();
    assert_eq!(there(), [true, false, false]);
    let ended = carry_on(&no_way(&world), &start, &intervals, &stop).await;
    assert!(matches!(ended, Err(GuardError::NoWay(_))), "{ended:?}");
    assert_eq!(there(), [true; 3]);
    world.manifests().remove(Component::Scheduler.manifest_file()).unwrap();
    let start = boot(&world, HOLD_OFF).await.unwrap();
    let put_back = async {
        while there() != [true; 3] {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        carried = carry_on(&world, &start, &intervals, &stop) => panic!("there was nobody to answer: {carried:?}"),
        waited = tokio::time::timeout(SOON, put_back) => waited.expect("the scheduler's manifest"),
    }
}

/// A guard that something keeps from its work.
struct Hindered<'a> {
    site: &'a SimulatedSite,
    /// Whether the guard can reach the cluster.
    reaches: bool,
    /// A shutdown ends the guard when this step is done.
    ends_after: Option<StepId>,
    /// The API answers again when the guard has asked so often for its site.
    answers_at: Option<usize>,
    asked: AtomicUsize,
}

fn unhindered(site: &SimulatedSite) -> Hindered<'_> {
    Hindered { site, reaches: true, ends_after: None, answers_at: None, asked: AtomicUsize::new(0) }
}

fn no_way(site: &SimulatedSite) -> Hindered<'_> {
    Hindered { reaches: false, ..unhindered(site) }
}

#[async_trait]
impl GuardEnv for Hindered<'_> {
    fn state_dir(&self) -> PathBuf {
        self.site.state_dir()
    }
    fn unit_is_gone(&self, unit: &str) -> bool {
        self.site.unit_is_gone(unit)
    }
    async fn boot_id(&self) -> Result<String, GuardError> {
        self.site.boot_id().await
    }
    async fn site(&self, settings: Settings) -> Result<Arc<Site>, GuardError> {
        if self.answers_at == Some(self.asked.fetch_add(1, Ordering::Relaxed) + 1) {
            self.site.simulator.clear_injected();
        }
        match self.reaches {
            true => GuardEnv::site(self.site, settings).await,
            false => Err(GuardError::NoWay("there is none".to_owned())),
        }
    }
    async fn engine(&self, journal: Journal, site: &Arc<Site>) -> Result<Engine, GuardError> {
        let engine = GuardEnv::engine(self.site, journal, site).await?;
        let Some(step) = self.ends_after.clone() else { return Ok(engine) };
        let stop = StopsAfter(step, engine.control());
        Ok(engine.observer(Arc::new(stop)))
    }
}

/// The API answers only after the guard has begun to watch. Then the guard decides again.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_answers_late_is_still_handed_over() {
    let (world, run, _dir) = pivoted().await;
    fall_back(&world, run, Component::Scheduler).await;
    unready_for(&world, u32::MAX);
    // The guard makes a site to wait for the API, and another one when its patience is over and it watches.
    let env = Hindered { answers_at: Some(2), ..unhindered(&world) };
    guarded(&env, until_the_story_is(&world, &[PIVOT, FALL_BACK, HAND_OVER])).await;
    assert!(env.asked.load(Ordering::Relaxed) > 2, "the guard has not decided again");
}

/// The scheduler's static pod serves, and then the API server goes. The guard must not wait for the API until
/// it hands over, for only the guard brings the API back.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_goes_before_the_hand_over_is_not_waited_for() {
    let (world, run, _dir) = pivoted().await;
    let scheduler = Component::Scheduler;
    delete_daemonset(&world, scheduler).await;
    let gone = |seen: &fulcrum_simulator::Snapshot| !seen.runs(scheduler.name(), Origin::Api);
    world.simulator.until("no scheduler", SOON, gone).await.unwrap();
    fall_back(&world, run, scheduler).await;
    world.simulator.hold_down((API, Origin::Api));
    world.simulator.until("no API", SOON, |seen| !seen.api_up).await.unwrap();
    let (intervals, stop) = (intervals(PATIENT), CancellationToken::new());
    let start = boot(&world, HOLD_OFF).await.unwrap();
    assert_eq!(start.decision.next, Next::HandOverIfProven);
    let carried = tokio::time::timeout(SOON, carry_on(&world, &start, &intervals, &stop)).await;
    assert!(matches!(carried, Ok(Ok(Carried::Silent))), "{carried:?}");
    let brought_back = async {
        let served = |seen: &fulcrum_simulator::Snapshot| seen.serves(API, Origin::Static);
        world.simulator.until("a static API server", SOON, served).await.unwrap();
    };
    guarded(&world, brought_back).await;
}

struct StopsAfter(StepId, Control);

impl Observer for StopsAfter {
    fn event(&self, _run: RunId, _time: Timestamp, event: &Event) {
        if matches!(event, Event::AttemptDone { step, .. } if *step == self.0) {
            self.1.pause("SIGTERM", PauseCause::Signal);
        }
    }
}

/// The guard is started again in the middle of its own hand-over, on one boot. The API server has gone meanwhile:
/// only the way back restores its manifest.
#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_that_was_cut_goes_back_when_the_api_is_silent() {
    let (world, _run, _dir) = pivoted().await;
    let stop = CancellationToken::new();
    world.simulator.power_off();
    let start = boot(&world, HOLD_OFF).await.unwrap();
    world.simulator.power_on();
    let step = StepKind::RetireStatic.of(Component::ApiServer).id();
    let ends = Hindered { ends_after: Some(step), ..unhindered(&world) };
    let carried = carry_on(&ends, &start, &Intervals::new(PATIENCE, HOLD_OFF), &stop).await.unwrap();
    assert!(matches!(&carried, Carried::Ended(Ending { phase: Phase::Paused { .. }, .. })), "{carried:?}");
    world.simulator.hold_down((API, Origin::Api));
    world.simulator.until("no API", SOON, |seen| !seen.api_up).await.unwrap();
    let start = boot(&world, HOLD_OFF).await.unwrap();
    assert!(matches!(start.decision.next, Next::Resume(_)), "{start:?}");
    let carried = tokio::time::timeout(SOON * 2, carry_on(&world, &start, &intervals(PATIENT), &stop)).await;
    let Ok(Ok(Carried::Ended(ending))) = carried else { panic!("{carried:?}") };
    assert!(matches!(ending.phase, Phase::Ended(Outcome::RolledBack, _)), "{}", ending.phase);
    assert!(world.simulator.snapshot().serves(API, Origin::Static));
}

/// A reader has the journal open when the guard is out of patience.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_back_later_waits_for_a_reader_only() {
    let (world, _run, _dir) = pivoted().await;
    world.simulator.power_off();
    let start = boot(&world, HOLD_OFF).await.unwrap();
    let reading = world.journal().unwrap();
    let (env, intervals, stop) = (no_way(&world), intervals(PATIENT), CancellationToken::new());
    let mut carried = std::pin::pin!(carry_on(&env, &start, &intervals, &stop));
    assert!(futures::poll!(carried.as_mut()).is_pending(), "it has met the lock");
    drop(reading);
    let carried = carried.await;
    assert!(matches!(carried, Err(GuardError::NoWay(_))), "{carried:?}");
    for component in Component::ALL {
        assert!(world.manifests().file(component.manifest_file()).exists(), "{component}");
    }
}
