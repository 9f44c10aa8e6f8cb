//! The run on the second of three nodes, broken at named points: by SIGKILL, a power cut, or a partition. It comes to its
//! end, and the other nodes serve all the while.

use crate::support::{SOON, setup};
use fulcrum_engine::run::Phase;
use fulcrum_engine::{Ending, Outcome, Silent};
use fulcrum_simulator::rehearsal::{
    Case, Fault, FaultRehearsal, Point, SimulatedSite, Story, Then, Verb, When, cases,
};
use fulcrum_steps::cluster::LOCK_LEASE;
use fulcrum_steps::plan;
use futures::StreamExt;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Cases side by side in a debug build.
const SIDE_BY_SIDE: usize = 3;
/// One in how many cases is tried here. That is prime to the 30 of each step.
const ONE_IN: usize = 49;

fn fulcrum() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_fulcrum"))
}

async fn boot() -> (Vec<SimulatedSite>, tempfile::TempDir) {
    let root = tempfile::tempdir().unwrap();
    (SimulatedSite::boot_all(&setup().with_nodes(3), root.path()).await.unwrap(), root)
}

async fn all_cases(said: &str) -> Vec<Case> {
    let (sites, _root) = boot().await;
    let settings = sites[1].preflight().await.unwrap().settings;
    cases(&plan::pivot(&settings, SOON).unwrap(), said, 3).unwrap()
}

async fn all_pass(cases: Vec<Case>) {
    let dir = tempfile::tempdir().unwrap();
    let (setup, program, root) = (setup().with_nodes(3), fulcrum().to_owned(), dir.path().to_owned());
    let rehearsal = FaultRehearsal { setup, story: Story::Pivot, program, root, steps: None };
    let mut tried = std::pin::pin!(rehearsal.try_all(cases, SIDE_BY_SIDE));
    while let Some(broken) = tried.next().await {
        assert!(broken.verdict.is_pass(), "{}: {:?}", broken.case, broken.verdict);
        let asked = broken.requests.expect("there are clients");
        assert!(asked.answered > 0 && asked.failures() == 0, "{}: {asked:?}", broken.case);
    }
}

/// What is tried here of everything: every fault, forward and back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_broken_on_one_of_three_nodes_ends_while_the_others_serve() {
    let some: Vec<Case> = all_cases("everywhere").await.into_iter().step_by(ONE_IN).collect();
    let kinds: BTreeSet<String> =
        some.iter().map(|case| format!("{} {}", case.point.when.is_undo(), case.fault)).collect();
    assert_eq!(kinds.len(), 6, "{kinds:?}");
    all_pass(some).await;
}

/// Where the node's API server changes hands.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_cut_itself_is_broken_on_one_of_three_nodes() {
    all_pass(all_cases("retire-static/kube-apiserver@effect").await).await;
}

fn ended_as(ending: &Ending, expected: Outcome) {
    match &ending.phase {
        Phase::Ended(outcome, why) => assert_eq!(*outcome, expected, "{why}"),
        other => panic!("{other}"),
    }
}

/// The next node's run waits for the lock until the dead node's guard has ended its run.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_died_with_the_lock_holds_nobody_up_for_good() {
    let (sites, _root) = boot().await;
    let point = Point { step: "await-ready/kube-apiserver".into(), when: When::Effect };
    let broken = Some((&point, Fault::Kill, Then::Resume));
    sites[1].inject_fault(fulcrum(), Verb::Pivot, broken).await.unwrap();
    let holder = sites[2].cluster.lock_holder().await.unwrap().unwrap();
    assert!(holder.starts_with("node-2/"), "{holder}");
    let journal = sites[2].journal().unwrap();
    let mut next = std::pin::pin!(sites[2].pivot(&journal, Arc::new(Silent)));
    let waits = tokio::time::timeout(Duration::from_millis(500), &mut next).await;
    assert!(waits.is_err(), "it waits for {holder}");
    sites[2].is_static().await.unwrap();
    sites[1].reboot().await.unwrap();
    let ending = next.await.unwrap();
    ended_as(&ending, Outcome::Completed);
    assert!(sites[2].cluster.lease(LOCK_LEASE).await.unwrap().is_none());
    for site in &sites[1..] {
        site.is_self_hosted().await.unwrap();
    }
    let back = sites[2].rollback(&journal, ending.run, Arc::new(Silent)).await.unwrap();
    ended_as(&back, Outcome::RolledBack);
    sites[1].mend(Then::Rollback).await.unwrap();
    for site in &sites {
        site.is_as_before().await.unwrap();
    }
}
