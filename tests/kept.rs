//! Journals that an earlier build has left in the middle of a pivot and in the middle of a rollback.
//!
//! The steps here only record that they were called: what is tested is that today's code reads what was stored, and
//! goes on exactly where the earlier build was.

use crate::harness::copy_dir;
use crate::support::setup;
use async_trait::async_trait;
use fulcrum_engine::load::{decode, load};
use fulcrum_engine::run::Phase;
use fulcrum_engine::state::{Commit, Journal, RunId};
use fulcrum_engine::{
    Context, Engine, Event, Outcome, ProbeResult, Session, Step, StepError, StepRegistry, StepSpec,
};
use fulcrum_simulator::rehearsal::{SimulatedSite, Steps};
use fulcrum_steps::component::Component;
use fulcrum_steps::guard::JournalView;
use fulcrum_steps::guard::decide::{BootFacts, Next, Standing, Workflow, at_boot};
use fulcrum_steps::manifest::StaticPod;
use fulcrum_steps::plan::PIVOT;
use fulcrum_steps::run_info::{LockPurpose, RollbackMode, RunInfo};
use fulcrum_steps::step::{Job, library};
use fulcrum_steps::step_name::{StepKind, StepName};
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// A copy of a kept state directory.
fn kept(name: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("tests/fixtures/kept");
    copy_dir(&fixtures.join(name), dir.path());
    dir
}

fn open(dir: &TempDir) -> Journal {
    Journal::open(dir.path(), LockPurpose::Resume.text()).unwrap()
}

fn pivot(journal: &Journal) -> RunId {
    journal.reader().runs().unwrap().into_iter().find(|header| header.kind == PIVOT).unwrap().run
}

/// Which steps were run, and which were undone.
#[derive(Default, Clone)]
struct Calls(Arc<Mutex<(BTreeSet<String>, BTreeSet<String>)>>);

struct Recorded(Calls);

#[async_trait]
impl Step for Recorded {
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Done)
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        self.0.0.lock().unwrap().0.insert(cx.step().to_string());
        Ok(Value::Null)
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        self.0.0.lock().unwrap().1.insert(cx.step().to_string());
        Ok(())
    }
}

/// Every stored step must still be one that this version knows, by its name and by its job.
fn registry(calls: &Calls) -> impl StepRegistry + 'static {
    let calls = calls.clone();
    move |spec: &StepSpec| -> Result<Arc<dyn Step>, String> {
        serde_json::from_value::<Job>(spec.args.clone()).map_err(|error| error.to_string())?;
        StepName::parse(spec.id.as_str()).ok_or_else(|| format!("{} has no name", spec.id))?;
        Ok(Arc::new(Recorded(calls.clone())))
    }
}

fn engine(journal: &Journal, calls: &Calls) -> Engine {
    Engine::new(journal.clone(), registry(calls), Session::current("fulcrum test").unwrap())
}

/// What the guard would do with it after a reboot.
fn next(view: &JournalView) -> Next {
    let facts = BootFacts { runs: view.runs.clone(), boot_id: "another".to_owned(), ..BootFacts::default() };
    at_boot(&facts).next
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_pivot_is_resumed_where_it_was() {
    let dir = kept("mid-pivot");
    let journal = open(&dir);
    let run = pivot(&journal);
    let view = JournalView::read(&journal).unwrap().unwrap();
    assert_eq!(view.pivot_facts().standing, Standing::Unfinished { rolling_back: false });
    assert_eq!(next(&view), Next::Resume(run));
    assert!(view.retired.contains_key(&Component::ApiServer));
    let calls = Calls::default();
    let ending = engine(&journal, &calls).resume(run).await.unwrap();
    assert!(matches!(ending.phase, Phase::Ended(Outcome::Completed, _)), "{}", ending.phase);
    let ran = calls.0.lock().unwrap().0.clone();
    assert!(ran.contains("verify") && ran.contains("seal"), "{ran:?}");
    for done in ["archive", "create-daemonset/kube-apiserver", "switch", "retire-static/kube-apiserver"] {
        assert!(!ran.contains(done), "{done} was done, or is found done: {ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_pivot_is_rolled_back() {
    let dir = kept("mid-pivot");
    let journal = open(&dir);
    let run = pivot(&journal);
    let calls = Calls::default();
    let rollback = RollbackMode::Exact.asked_for();
    let ending = engine(&journal, &calls).roll_back(run, rollback).await.unwrap();
    assert!(matches!(ending.phase, Phase::Ended(Outcome::RolledBack, _)), "{}", ending.phase);
    let undone = calls.0.lock().unwrap().1.clone();
    for step in ["archive", "line-up", "way-back/raise-bridge", "retire-static/kube-apiserver"] {
        assert!(undone.contains(step), "{step}: {undone:?}");
    }
    assert!(!undone.contains("seal"), "it was never begun");
    let view = JournalView::read(&journal).unwrap().unwrap();
    assert_eq!(
        (view.pivot_facts().standing, view.rollback_mode),
        (Standing::RolledBack, RollbackMode::Exact)
    );
}

/// The reason said that ports stay shared, a pause by SIGTERM was no person's, and a program that ended with "guard"
/// was the guard.
#[tokio::test(flavor = "multi_thread")]
async fn a_kept_rollback_goes_on_in_its_mode() {
    let dir = kept("mid-rollback");
    let journal = open(&dir);
    let run = pivot(&journal);
    let view = JournalView::read(&journal).unwrap().unwrap();
    let workflows: Vec<Workflow> = view.runs.iter().map(|facts| facts.workflow).collect();
    assert_eq!(workflows, [Workflow::Pivot, Workflow::HandOver, Workflow::FallBack, Workflow::HandOver]);
    let facts = view.pivot_facts();
    assert_eq!((facts.standing, facts.by_guard), (Standing::Unfinished { rolling_back: true }, true));
    assert_eq!(view.rollback_mode, RollbackMode::KeepPortSharing);
    assert_eq!(next(&view), Next::Resume(run));
    let fallback = load(&journal.reader(), view.runs[2].run).unwrap();
    let info = RunInfo::of(fallback.plan()).unwrap();
    assert_eq!(info.settings.of_pivot, Some(run));
    assert!(info.why.unwrap().starts_with("kube-scheduler: nobody listens"));
    let calls = Calls::default();
    let ending = engine(&journal, &calls).resume(run).await.unwrap();
    assert!(matches!(ending.phase, Phase::Ended(Outcome::RolledBack, _)), "{}", ending.phase);
    let (ran, undone) = calls.0.lock().unwrap().clone();
    assert!(ran.is_empty(), "{ran:?}");
    assert!(undone.contains("archive") && !undone.contains("seal"), "{undone:?}");
}

#[test]
fn a_kept_history_is_shown_with_todays_names() {
    let dir = kept("mid-rollback");
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fulcrum"));
        let output =
            command.env_clear().args(["--state-dir", dir.path().to_str().unwrap()]).args(args).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let mut history = run(&["history"]);
    let runs: Vec<String> = history
        .lines()
        .filter(|line| line.starts_with(char::is_alphabetic))
        .filter_map(|line| line.split_whitespace().nth(1).map(ToOwned::to_owned))
        .collect();
    assert_eq!(runs.len(), 4, "{history}");
    runs.iter().for_each(|id| history += &run(&["history", id.as_str(), "--long"]));
    for words in [
        "fall-back ",
        "  why    kube-scheduler: nobody listens on its port",
        " prefer-static\n",
        " prepare-rollback/vacate-port/kube-apiserver\n",
        " undone  prefer-serving\n",
        " fall-back/kube-scheduler\n",
        " record-head\n",
    ] {
        assert!(history.contains(words), "{words}: {history}");
    }
    for old in ["line-up", "way-back", " seal ", "stand-in"] {
        // What a step has returned is shown as it was stored.
        let mut told = history.lines().filter(|line| !line.starts_with("      "));
        assert!(!told.any(|line| line.contains(old)), "{old}: {history}");
    }
    let status = run(&["status", "--kubeconfig", "/nowhere", "--manifests-dir", "/nowhere"]);
    assert!(status.contains("(hand-over): completed"), "{status}");
    // Journals of earlier versions are verified as far as they can be, and the rest is told.
    let said = run(&["history", "--verify"]);
    assert_eq!(said.matches("their chain and their blobs").count(), 4, "{said}");
    assert!(said.contains("it was never signed") && !said.contains("WRONG"), "{said}");
}

/// A kept pivot, cut short while it made a DaemonSet, on a cluster of today. That build set neither `dnsPolicy` nor a
/// priority class.
async fn cut_while_it_made_the_scheduler(world: &SimulatedSite) -> (Journal, RunId) {
    let dir = kept("mid-pivot");
    let old = open(&dir);
    let reader = old.reader();
    let made = StepKind::CreateDaemonset.of(Component::Scheduler).id();
    let (mut bodies, mut blobs) = (Vec::new(), Vec::new());
    for entry in reader.entries(pivot(&old)).map(Result::unwrap) {
        let event = decode(&entry).unwrap();
        bodies.push(entry.body);
        match event {
            Event::Begun { plan, .. } => blobs.push(reader.blob(&plan).unwrap()),
            Event::AttemptStarted { step, pre_image, .. } => {
                blobs.extend(pre_image.map(|digest| reader.blob(&digest).unwrap()));
                if step == made {
                    break;
                }
            }
            _ => {}
        }
    }
    let journal = world.journal().unwrap();
    let commit = blobs.into_iter().fold(Commit::of(bodies), Commit::with_blob);
    let run = journal.begin(PIVOT, commit).await.unwrap().run();
    let archive = |dir: &Path, run: RunId| dir.join("archive").join(run.to_string());
    let archived = archive(&world.state_dir(), run);
    copy_dir(&archive(dir.path(), pivot(&old)), &archived);
    let manifest = std::fs::read(archived.join(Component::Scheduler.manifest_file())).unwrap();
    let settings = RunInfo::of(load(&journal.reader(), run).unwrap().plan()).unwrap().settings;
    let pod = StaticPod::parse(Component::Scheduler, &manifest).unwrap();
    let mut daemonset = pod.daemonset(&settings.target(Some(run)));
    for field in ["dnsPolicy", "priorityClassName"] {
        let spec = daemonset["spec"]["template"]["spec"].as_object_mut().unwrap();
        assert!(spec.remove(field).is_some(), "{field}");
    }
    world.cluster.create_daemonset(&daemonset, false).await.unwrap();
    (journal, run)
}

/// What an earlier build has made is its own, and an edit of that is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemonset_that_an_earlier_build_made_is_not_taken_for_changed() {
    for edited in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let calls = Calls::default();
        let recorded = calls.clone();
        let steps: Steps = Arc::new(move |site| {
            let (real, recorded) = (library(site), registry(&recorded));
            Arc::new(move |spec: &StepSpec| match spec.id.as_str() {
                "create-daemonset/kube-scheduler" => real.step(spec),
                _ => recorded.step(spec),
            })
        });
        let world = SimulatedSite::boot(&setup(), dir.path()).await.unwrap().with_steps(steps);
        let (journal, run) = cut_while_it_made_the_scheduler(&world).await;
        if edited {
            let daemonsets: Api<DaemonSet> = Api::namespaced(world.simulator.client(), "kube-system");
            let patch = Patch::Merge(json!({ "spec": { "minReadySeconds": 7 } }));
            let name = Component::Scheduler.daemonset_name();
            daemonsets.patch(name, &PatchParams::default(), &patch).await.unwrap();
        }
        let ending = world.resume(&journal, run).await.unwrap();
        let ran = calls.0.lock().unwrap().0.clone();
        assert!(!ran.contains("create-daemonset/kube-scheduler"), "it is probed: {ran:?}");
        match ending.phase {
            Phase::Ended(Outcome::Completed, _) if !edited => {}
            Phase::Ended(Outcome::NeedsOperator, why) if edited => {
                assert!(why.contains("was changed: spec.minReadySeconds: ours 20, live 7"), "{why}");
            }
            other => panic!("edited: {edited}, but {other}"),
        }
    }
}
