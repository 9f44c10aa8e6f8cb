//! `fulcrum_engine::testing` on workflows that hold, and on some that do not: it says where.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod deploy;
mod marks;
mod waits;

use deploy::Deploy;
use fulcrum_engine::Durability;
use fulcrum_engine::testing::{
    Broken, World, every_run_twice_is_as_once, every_undo_twice_is_as_once,
    failure_at_every_step_rolls_back_to_nothing, prefixes_recover,
};
use marks::{Flaw, Marks};

async fn holds<W: World>() {
    every_run_twice_is_as_once::<W>().await.unwrap();
    failure_at_every_step_rolls_back_to_nothing::<W>().await.unwrap();
    every_undo_twice_is_as_once::<W>().await.unwrap();
}

#[tokio::test]
async fn a_deployment_holds() {
    holds::<Deploy>().await;
}

struct Diamond;
impl marks::Kind for Diamond {
    const STEPS: &[(&str, &[&str])] = &[("a", &[]), ("b", &["a"]), ("c", &["a"]), ("d", &["b", "c"])];
}

#[tokio::test]
async fn a_diamond_holds() {
    holds::<Marks<Diamond>>().await;
}

/// A crash after every single entry, on the way forward and on the way back, once and twice, whatever the
/// effect in flight had come to.
#[tokio::test]
async fn every_prefix_of_a_journal_resumes_and_rolls_back() {
    prefixes_recover::<Marks<Diamond>>(1).await.unwrap();
    prefixes_recover::<Deploy>(1).await.unwrap();
}

struct Wide;
impl marks::Kind for Wide {
    const STEPS: &[(&str, &[&str])] = &[("a", &[]), ("b", &[]), ("c", &[]), ("d", &[]), ("e", &[])];
}

#[tokio::test]
async fn a_wide_workflow_holds() {
    holds::<Marks<Wide>>().await;
    prefixes_recover::<Marks<Wide>>(1).await.unwrap();
}

/// On a runtime with several threads steps really are side by side.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wide_workflow_holds_on_several_threads() {
    prefixes_recover::<Marks<Wide>>(1).await.unwrap();
}

/// What lives in a process is gone with it, and is made again.
struct Volatile;
impl marks::Kind for Volatile {
    const STEPS: &[(&str, &[&str])] = &[("a", &[]), ("b", &["a"])];
    const DURABILITY: Durability = Durability::Process;
}

#[tokio::test]
async fn a_volatile_workflow_holds() {
    prefixes_recover::<Marks<Volatile>>(1).await.unwrap();
}

macro_rules! flawed {
    ($name:ident, $flaw:expr) => {
        struct $name;
        impl marks::Kind for $name {
            const STEPS: &[(&str, &[&str])] = &[("a", &[]), ("b", &["a"]), ("c", &["b"])];
            const FLAW: Option<(&str, Flaw)> = Some(("b", $flaw));
        }
    };
}

flawed!(Counts, Flaw::RunCounts);
flawed!(Trips, Flaw::UndoTripsOverNothing);
flawed!(Leaves, Flaw::UndoLeavesSomething);
flawed!(Blind, Flaw::ProbeSaysDone);

#[tokio::test]
async fn a_run_that_is_not_idempotent_is_named() {
    let error = every_run_twice_is_as_once::<Marks<Counts>>().await.unwrap_err();
    assert!(matches!(error, Broken::Differs { .. }), "{error:?}");
    assert!(error.to_string().starts_with("step b run twice: the world should look like"), "{error}");
}

#[tokio::test]
async fn an_undo_that_is_not_idempotent_is_named() {
    let error = every_undo_twice_is_as_once::<Marks<Trips>>().await.unwrap_err();
    assert!(error.to_string().starts_with("step b undone twice: the run should be rolled-back"), "{error}");
    let error = failure_at_every_step_rolls_back_to_nothing::<Marks<Trips>>().await.unwrap_err();
    assert!(error.to_string().starts_with("step b failing before its effect: the run should be"), "{error}");
}

#[tokio::test]
async fn an_undo_that_leaves_something_is_named() {
    let error = failure_at_every_step_rolls_back_to_nothing::<Marks<Leaves>>().await.unwrap_err();
    assert!(error.to_string().starts_with("step b failing after its effect: the world should"), "{error}");
}

#[tokio::test]
async fn a_probe_that_is_wrong_is_found_by_the_prefix_that_it_matters_for() {
    every_run_twice_is_as_once::<Marks<Blind>>().await.unwrap();
    failure_at_every_step_rolls_back_to_nothing::<Marks<Blind>>().await.unwrap();
    let error = prefixes_recover::<Marks<Blind>>(1).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("the run there and back, cut after entry 4 (AttemptStarted"), "{text}");
    assert!(text.contains("resumed: the world should look like"), "{text}");
}
