//! The guard is armed before anything is changed, and a rollback leaves its unit as it was.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

use fulcrum_engine::run::Phase;
use fulcrum_engine::{Ending, Outcome, Silent};
use fulcrum_simulator::rehearsal::{Setup, SimulatedSite, Version};
use fulcrum_steps::component::Component;
use fulcrum_steps::guard::GuardEnv;
use fulcrum_steps::host::Units;
use fulcrum_steps::unit::{Orders, Told, UNIT, arm};
use std::fs;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

async fn world() -> (SimulatedSite, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::built_in(Version::DEFAULT).unwrap();
    (SimulatedSite::boot(&setup, dir.path()).await.unwrap(), dir)
}

async fn pivot(world: &SimulatedSite) -> Ending {
    world.pivot(&world.journal().unwrap(), Arc::new(Silent)).await.unwrap()
}

async fn goes_back(world: &SimulatedSite, pivoted: &Ending) {
    let ending = world.rollback(&world.journal().unwrap(), pivoted.run, Arc::new(Silent)).await.unwrap();
    assert!(matches!(ending.phase, Phase::Ended(Outcome::RolledBack, _)), "{}", ending.phase);
    world.is_as_before().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_was_there_keeps_its_times_and_comes_back_as_it_was() {
    let (world, _dir) = world().await;
    let (units, unit) = (world.units(), world.units().dir().join(UNIT));
    let [patience, hold_off] = [90, 3600].map(|seconds| Some(Duration::from_secs(seconds)));
    let told = Told { patience, hold_off, roll_certificates: Some(true) };
    let orders = Orders::new(units, &world.state_dir(), world.manifests().path(), told).unwrap();
    arm(units, &orders, &[]).await.unwrap();
    // As another version would have written it. A person has disabled it.
    let before = fs::read_to_string(&unit).unwrap().replace("OOMScoreAdjust=-900\n", "");
    fs::write(&unit, &before).unwrap();
    units.disable(UNIT, true).await.unwrap();

    let pivoted = pivot(&world).await;
    assert!(matches!(pivoted.phase, Phase::Ended(Outcome::Completed, _)), "{}", pivoted.phase);
    let armed = fs::read_to_string(&unit).unwrap();
    assert!(
        armed.contains("--patience 90s --hold-off 3600s --roll-certificates") && armed.contains("OOMScore"),
        "{armed}"
    );
    assert!(units.starts(UNIT));

    goes_back(&world, &pivoted).await;
    assert_eq!(fs::read_to_string(&unit).unwrap(), before);
    assert!(!units.starts(UNIT));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_a_pivot_has_brought_goes_with_it() {
    let (world, _dir) = world().await;
    let pivoted = pivot(&world).await;
    let unit = world.units().dir().join(UNIT);
    assert!(fs::read_to_string(&unit).unwrap().contains("--patience 30s --hold-off 600s"));
    goes_back(&world, &pivoted).await;
    assert!(!unit.exists() && !world.units().starts(UNIT));
}

/// A guard that does not find what it needs would watch, and see nothing.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_changed_under_a_guard_that_is_blind() {
    for hide in [SimulatedSite::kubeconfig, GuardEnv::state_dir, |world: &SimulatedSite| {
        world.manifests().path().to_owned()
    }] {
        let (world, _dir) = world().await;
        let hidden = hide(&world);
        world.units().hide(&hidden).unwrap();
        let ending = pivot(&world).await;
        let Phase::Ended(Outcome::RolledBack, said) = &ending.phase else { panic!("{}", ending.phase) };
        assert!(said.contains(hidden.to_str().unwrap()) && said.contains("sandbox"), "{said}");
        world.is_as_before().await.unwrap();
        assert!(!world.units().dir().join(UNIT).exists());
        let daemonset = world.cluster.daemonset(Component::ApiServer.daemonset_name()).await.unwrap();
        assert_eq!(daemonset, None);
    }
}
