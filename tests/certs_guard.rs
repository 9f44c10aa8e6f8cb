//! What the guard says and does after a plain `kubeadm certs renew`.

use crate::certs::{assert_as, assert_in_use, files, guard_goes_on, pivoted, renew, root};
use crate::support::{SOON, TestSite, outcome, reason};
use fulcrum_engine::Outcome;
use fulcrum_engine::load::load;
use fulcrum_simulator::rehearsal::{Change, ChildExit, Fault, Point, Then, When, intervals};
use fulcrum_steps::certificates::Renewable;
use fulcrum_steps::component::Component;
use fulcrum_steps::guard::{Ended, Guard, Intervals};
use fulcrum_steps::plan::ROLL_CERTS;
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// With the option the guard does what is needed: a run of its own.
#[tokio::test(flavor = "multi_thread")]
async fn the_guard_rolls_out_what_was_renewed_by_hand() {
    let (world, pivot) = pivoted().await;
    let pids = |world: &TestSite| -> BTreeMap<String, u32> {
        world.machine().snapshot().processes.into_iter().map(|one| (one.component, one.pid)).collect()
    };
    let before = pids(&world);
    for name in ["scheduler.conf", "controller-manager.conf", "apiserver"] {
        world.host.renew_certificate(name, &root(&world)).await.unwrap();
    }
    let pace = Intervals { certificates: Duration::from_millis(20), ..intervals(Duration::from_secs(5)) };
    let stop = CancellationToken::new();
    let guard = Guard { env: &*world, intervals: pace, roll_certificates: true, stop };
    let ended = tokio::time::timeout(SOON, guard.run(|| {})).await.unwrap();
    assert_eq!(ended, Ended::RunIsOver);
    let journal = world.journal();
    let runs = journal.reader().runs().unwrap();
    let run = load(&journal.reader(), runs.last().unwrap().run).unwrap();
    assert_eq!(run.plan().workflow(), ROLL_CERTS);
    assert_eq!(format!("{}", run.phase()).split(':').next(), Some("completed"), "{}", run.phase());
    let steps: Vec<&str> = run.plan().steps().iter().map(|step| step.id.as_str()).collect();
    let roll = |component: &str| steps.iter().position(|step| *step == format!("roll-certs/{component}"));
    let waits =
        |component: &str| steps.iter().position(|step| *step == format!("await-roll-out/{component}"));
    assert!(waits("kube-controller-manager") < roll("kube-scheduler"), "one at a time: {steps:?}");
    drop(journal);
    assert_in_use(&world, "after the guard's roll-out").await;
    world.assert_pivoted("after the guard's roll-out").await;
    let after = pids(&world);
    let changed: Vec<&String> =
        before.iter().filter(|(name, pid)| after[*name] != **pid).map(|(name, _)| name).collect();
    assert_eq!(changed, ["kube-controller-manager", "kube-scheduler"]);

    // Nothing is left to be done, but that the standby may follow.
    for _ in 0..3 {
        if tokio::time::timeout(Duration::from_millis(300), guard.run(|| {})).await.is_err() {
            break;
        }
    }
    drop(guard);
    let again = world.journal().reader().runs().unwrap();
    assert_eq!(again.iter().filter(|run| run.kind == ROLL_CERTS).count(), 1, "{again:?}");
    let back = world.rollback(&world.journal(), pivot).await;
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    world.assert_static("after the guard's roll-out").await;
}

/// SIGKILL at boundaries of the guard's roll-out. The next guard goes on, and then nothing is left to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_roll_out_of_the_guard_that_is_killed_is_finished() {
    let (world, pivot) = pivoted().await;
    let scheduler = Component::Scheduler;
    for (step, when) in [
        ("lock".to_owned(), When::Done),
        (format!("prepare-rollback/roll-certs/{scheduler}"), When::Done),
        (format!("roll-certs/{scheduler}"), When::Effect),
        (format!("await-roll-out/{scheduler}"), When::Started),
        ("seal".to_owned(), When::Started),
    ] {
        let point = Point { step: step.as_str().into(), when };
        world.host.renew_certificate("scheduler.conf", &root(&world)).await.unwrap();
        let change = Change::RollCerts(BTreeMap::from([(scheduler, vec![Renewable::SchedulerConf])]));
        let fulcrum = Path::new(env!("CARGO_BIN_EXE_fulcrum"));
        let killed = world.inject_fault_in_change(fulcrum, change, (&point, Fault::Kill, Then::Resume)).await;
        assert_eq!(killed.unwrap(), ChildExit::Killed, "{point}");
        let ending = guard_goes_on(&world).await;
        assert_eq!(outcome(&ending), Outcome::Completed, "{point}: {}", reason(&ending));
        assert_in_use(&world, &point.to_string()).await;
        world.assert_pivoted(&point.to_string()).await;
    }
    let before = files(&world);
    let last = world.journal().reader().runs().unwrap().last().unwrap().run;
    let back = world.rollback(&world.journal(), last).await;
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    assert_as(&files(&world), &before);
    let back = world.rollback(&world.journal(), pivot).await;
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
}

/// A plain `kubeadm certs renew`: the guard says who goes on with the former one. A renewal by fulcrum ends that.
#[tokio::test(flavor = "multi_thread")]
async fn the_guard_tells_of_files_that_were_renewed_by_hand() {
    let (world, pivot) = pivoted().await;
    world.host.renew_certificate("scheduler.conf", &root(&world)).await.unwrap();
    let pace = Intervals { certificates: Duration::from_millis(20), ..intervals(Duration::from_secs(5)) };
    let guard =
        Guard { env: &*world, intervals: pace, roll_certificates: false, stop: CancellationToken::new() };
    let events: Api<Event> = Api::namespaced(world.simulator.client(), "default");
    let told = async {
        loop {
            let all = events.list(&ListParams::default()).await.unwrap().items;
            let words = all.into_iter().find(|one| one.reason.as_deref() == Some("OlderCertificateInUse"));
            match words.and_then(|event| event.message) {
                Some(words) => return words,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let words = tokio::select! {
        ended = guard.run(|| {}) => panic!("the guard has ended: {ended:?}"),
        words = tokio::time::timeout(SOON, told) => words.unwrap(),
    };
    assert!(words.contains("kube-scheduler"), "{words}");
    assert!(words.contains("`fulcrum certs renew scheduler.conf`"), "{words}");
    let ending = renew(&world, pivot, &[Renewable::SchedulerConf]).await;
    assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
    assert_in_use(&world, "after what was renewed by hand").await;
}
