//! Runs broken at named points: SIGKILL of a real process, a reboot, an API server that goes away; then taken
//! up, forward or back, and as if nothing had happened. The machinery is `rehearse --crash`'s own; CI runs all
//! of it in a release build, and here some, of every step and of every kind.

use crate::support::{TestSite, setup};
use async_trait::async_trait;
use fulcrum_engine::{Context, Outcome, ProbeResult, Step, StepError, StepRegistry, StepSpec};
use fulcrum_simulator::rehearsal::{
    Broken, Case, ChildExit, Fault, FaultRehearsal, Point, SIGNING, Steps, Story, Then, Verb, Verdict, When,
    cases,
};
use fulcrum_steps::plan;
use fulcrum_steps::settings::{HandoverMode, Wanted};
use fulcrum_steps::step::library;
use futures::StreamExt;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// Cases side by side in a debug build: each is mostly waiting, but none may starve.
const SIDE_BY_SIDE: usize = 5;
/// The ways, how many steps each has, and one in how many of its cases is tried here. That is prime to the 30 of
/// each step, so that each step is met and, over many steps, each kind of case: the test sees to that.
const WAYS: [(HandoverMode, usize, usize); 3] =
    [(HandoverMode::Steer, 32, 23), (HandoverMode::Bridge, 23, 29), (HandoverMode::Restart, 19, 29)];

/// The cases of the signing: six instants, three faults.
const SIGNING_CASES: usize = 6 * 3;

fn fulcrum() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_fulcrum"))
}

async fn all_cases(way: HandoverMode, said: &str) -> Vec<Case> {
    let world = TestSite::boot_with(&setup().with_handover(Wanted::Way(way))).await;
    let settings = world.preflight().await.unwrap().settings;
    cases(&plan::pivot(&settings, crate::support::SOON).unwrap(), said, 1).unwrap()
}

async fn try_all(way: HandoverMode, cases: Vec<Case>, steps: Option<Steps>) -> Vec<Broken> {
    let dir = tempfile::tempdir().unwrap();
    let setup = setup().with_handover(Wanted::Way(way));
    let story = Story::Pivot;
    let rehearsal =
        FaultRehearsal { setup, story, program: fulcrum().to_owned(), root: dir.path().to_owned(), steps };
    rehearsal.try_all(cases, SIDE_BY_SIDE).collect().await
}

/// What is tried here of everything: one in so many, all kinds of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_broken_anywhere_is_brought_to_its_end() {
    for (way, steps, one_in) in WAYS {
        let mut all = all_cases(way, "everywhere").await;
        let signing = all.split_off(steps * 3 * (3 * 2 + 4));
        assert!(signing.len() == SIGNING_CASES && signing[0].point.step.as_str() == SIGNING, "{way}");
        let some: Vec<Case> = all.into_iter().step_by(one_in).collect();
        let met: BTreeSet<String> = some.iter().map(|case| case.point.step.to_string()).collect();
        assert_eq!(met.len(), steps, "{way}: a step is left out");
        let kind = |case: &Case| format!("{} {} {}", case.point.when, case.fault, case.then);
        let kinds: BTreeSet<String> = some.iter().map(kind).collect();
        assert_eq!(kinds.len(), some.len().min(30), "{way}: a kind is left out");
        for broken in try_all(way, some, None).await {
            assert!(broken.verdict.is_pass(), "{way}, {}: {:?}", broken.case, broken.verdict);
        }
    }
}

/// The run is over, and the process that signs its end is broken: the node is as the run has left it, nothing
/// unsigned is called verified, and the next run's end signs all. Here by SIGKILL.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_signing_broken_anywhere_is_done_by_the_next() {
    let all = all_cases(HandoverMode::Steer, &format!("{SIGNING}:kill")).await;
    assert_eq!(all.len(), SIGNING_CASES / 3);
    for Broken { case, verdict, .. } in try_all(HandoverMode::Steer, all, None).await {
        assert!(verdict.is_pass(), "{case}: {verdict:?}");
    }
}

/// After the cut a reboot would lose the control plane for good, and the guard does as was said.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_reboot_takes_away_the_guard_brings_back() {
    for said in ["retire-static/kube-apiserver@started:reboot", "retire-static/kube-apiserver@effect:reboot"]
    {
        let tried = try_all(HandoverMode::Steer, all_cases(HandoverMode::Steer, said).await, None).await;
        for Broken { case, verdict, .. } in tried {
            let expected = match case.then {
                Then::Rollback => Verdict::RolledBack,
                Then::Resume => Verdict::Completed,
            };
            assert_eq!(verdict, expected, "{case}");
        }
    }
}

/// Killed on the way forward, on the way on, and on the way back: four processes, one run.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_again_and_again() {
    let point = |step: &str, when| Point { step: step.into(), when };
    let rounds = [
        (
            "share-port/kube-apiserver",
            When::Started,
            "create-daemonset/kube-scheduler",
            When::Effect,
            "share-port/kube-apiserver",
        ),
        (
            "archive",
            When::Effect,
            "retire-static/kube-apiserver",
            When::Effect,
            "way-back/restore-static/kube-apiserver",
        ),
        ("switch", When::Started, "verify", When::Started, "way-back/vacate-port/kube-apiserver"),
        ("await-ready/kube-apiserver", When::Done, "seal", When::Effect, "way-back/raise-bridge"),
    ];
    for (first, when, second, then, third) in rounds {
        let world = TestSite::boot().await;
        for (verb, point) in [
            (Verb::Pivot, point(first, when)),
            (Verb::Resume, point(second, then)),
            (Verb::Rollback, point(third, When::UndoStarted)),
            (Verb::Rollback, point(third, When::UndoEffect)),
        ] {
            let exit = world.inject_fault(fulcrum(), verb, Some((&point, Fault::Kill, Then::Resume))).await;
            assert_eq!(exit.unwrap(), ChildExit::Killed, "{point}");
        }
        assert_eq!(world.mend(Then::Rollback).await.unwrap(), Outcome::RolledBack, "{first}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_nobody_breaks_completes_in_a_child() {
    let world = TestSite::boot().await;
    assert_eq!(world.inject_fault(fulcrum(), Verb::Pivot, None).await.unwrap(), ChildExit::Ended);
    world.assert_pivoted("in a child").await;
    assert_eq!(world.mend(Then::Resume).await.unwrap(), Outcome::Completed, "a completed run is over");
}

/// A point that is never reached is no pass.
#[tokio::test(flavor = "multi_thread")]
async fn a_point_that_is_never_reached_is_a_failure() {
    let world = TestSite::boot().await;
    let nowhere = Point { step: "lock".into(), when: When::UndoDone };
    let exit = world.inject_fault(fulcrum(), Verb::Pivot, Some((&nowhere, Fault::Kill, Then::Resume))).await;
    let error = exit.unwrap_err().to_string();
    assert!(error.contains("it was never at lock@undo-done, and ended well"), "{error}");
}

/// What the rehearsal is for: steps that forget something are found out, and the case can be said again.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_forgets_its_undo_is_found_out() {
    let steps: Steps = Arc::new(|site| {
        let good = library(site);
        Arc::new(move |spec: &StepSpec| -> Result<Arc<dyn Step>, String> {
            let step = good.step(spec)?;
            Ok(if spec.id.as_str() == "label-node" { Arc::new(Forgetful(step)) } else { step })
        })
    });
    let said = "label-node@effect:kill:rollback";
    let tried = try_all(HandoverMode::Steer, all_cases(HandoverMode::Steer, said).await, Some(steps)).await;
    let [Broken { case, verdict: Verdict::Failed(why), .. }] = tried.as_slice() else { panic!("{tried:?}") };
    assert_eq!(case.to_string(), said);
    assert!(why.contains("node node-1, label") && why.ends_with("is left"), "{why}");
}

struct Forgetful(Arc<dyn Step>);

#[async_trait]
impl Step for Forgetful {
    async fn probe(&self, cx: &Context) -> Result<ProbeResult, StepError> {
        self.0.probe(cx).await
    }

    async fn output(&self, cx: &Context) -> Result<Value, StepError> {
        self.0.output(cx).await
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        self.0.run(cx).await
    }

    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Ok(())
    }

    fn saves(&self) -> bool {
        self.0.saves()
    }

    async fn save(&self, cx: &Context) -> Result<Vec<u8>, StepError> {
        self.0.save(cx).await
    }
}
