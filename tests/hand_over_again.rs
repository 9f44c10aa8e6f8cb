//! The guard's hand-over after a boot, while the DaemonSet replaces its pod.

use crate::support::{SOON, TestSite, outcome, reason, setup};
use async_trait::async_trait;
use fulcrum_engine::load::load;
use fulcrum_engine::{Context, Ending, Outcome, ProbeResult, Step, StepError, StepRegistry, StepSpec};
use fulcrum_simulator::rehearsal::{POLL, Steps, intervals};
use fulcrum_steps::cluster::Cluster;
use fulcrum_steps::component::Component;
use fulcrum_steps::guard::{Carried, boot, carry_on};
use fulcrum_steps::manifest::{FlagChange, Words};
use fulcrum_steps::settings::{HandoverMode, Wanted};
use fulcrum_steps::site::Site;
use fulcrum_steps::step::library;
use fulcrum_steps::unit::HOLD_OFF;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const API: Component = Component::ApiServer;
/// So that two API servers of a roll-out listen for 0.2 s.
const SECOND: Duration = Duration::from_millis(10);

/// What a person does, and until what is seen of it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Act {
    /// Edits the DaemonSet. The new pod is there.
    Edit,
    /// Edits the DaemonSet. The old pod is told to end.
    EditToTheEnd,
    /// Deletes the pod. It is told to end.
    Delete,
    /// Nobody acts. The step fails.
    Fail,
}

/// A step before or after which a person acts, once.
struct Acted {
    step: Arc<dyn Step>,
    cluster: Cluster,
    armed: Arc<AtomicBool>,
    act: Act,
    after: bool,
}

impl Acted {
    async fn pods(&self) -> Vec<Pod> {
        self.cluster.pods_labelled(&Site::pod_labels(API)).await.unwrap()
    }

    async fn act(&self) -> Result<(), StepError> {
        if !self.armed.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        if self.act == Act::Fail {
            return Err(StepError::fatal("it has to fail"));
        }
        let before = self.pods().await;
        if self.act == Act::Delete {
            let metadata = &before[0].metadata;
            let (name, uid) = (metadata.name.as_ref().unwrap(), metadata.uid.as_ref().unwrap());
            self.cluster.delete_pod(name, uid).await.unwrap();
        } else {
            let mut live = self.cluster.daemonset(API.daemonset_name()).await.unwrap().unwrap();
            let template = &mut live["spec"]["template"];
            let was = Words::of(API, template).unwrap();
            let words = was.changed(API, &[FlagChange::Set("v".to_owned(), "7".to_owned())]).unwrap();
            assert!(words.put(API, template));
            self.cluster.replace_daemonset(&live, false).await.unwrap();
        }
        let is_old = |pod: &Pod| before.iter().any(|old| old.metadata.uid == pod.metadata.uid);
        let seen = |pods: &[Pod]| match self.act {
            Act::Edit => !pods.iter().all(is_old),
            Act::EditToTheEnd | Act::Delete | Act::Fail => {
                pods.iter().filter(|pod| is_old(pod)).all(|pod| pod.metadata.deletion_timestamp.is_some())
            }
        };
        let waits = async {
            while !seen(&self.pods().await) {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(SOON, waits).await.unwrap();
        Ok(())
    }
}

#[async_trait]
impl Step for Acted {
    fn saves(&self) -> bool {
        self.step.saves()
    }

    async fn save(&self, cx: &Context) -> Result<Vec<u8>, StepError> {
        self.step.save(cx).await
    }

    async fn probe(&self, cx: &Context) -> Result<ProbeResult, StepError> {
        self.step.probe(cx).await
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        if !self.after {
            self.act().await?;
        }
        let value = self.step.run(cx).await?;
        if self.after {
            self.act().await?;
        }
        Ok(value)
    }

    async fn output(&self, cx: &Context) -> Result<Value, StepError> {
        self.step.output(cx).await
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        self.step.undo(cx).await
    }
}

/// A pivoted node on which a person acts at this step of the guard's hand-over after a boot, and how that ended.
async fn hand_over_with(at: &'static str, after: bool, act: Act) -> (TestSite, Ending) {
    let armed = Arc::new(AtomicBool::new(false));
    let arm = Arc::clone(&armed);
    let steps: Steps = Arc::new(move |site| {
        let (all, armed) = (library(Arc::clone(&site)), Arc::clone(&arm));
        Arc::new(move |spec: &StepSpec| -> Result<Arc<dyn Step>, String> {
            let step = all.step(spec)?;
            let (cluster, armed) = (site.cluster.clone(), Arc::clone(&armed));
            let acted = || Arc::new(Acted { step: Arc::clone(&step), cluster, armed, act, after });
            Ok(if spec.id.as_str() == at { acted() } else { step })
        })
    });
    let setup = setup().with_handover(Wanted::Way(HandoverMode::Steer)).with_second(SECOND);
    let world = TestSite::boot_with(&setup).await.with(|site| site.with_steps(steps));
    let pivoted = world.pivot(&world.journal()).await;
    assert_eq!(outcome(&pivoted), Outcome::Completed, "{}", reason(&pivoted));

    world.simulator.power_off();
    let start = boot(&*world, HOLD_OFF).await.unwrap();
    world.simulator.power_on();
    armed.store(true, Ordering::Relaxed);
    let (pace, stop) = (intervals(SOON / 4), CancellationToken::new());
    let carried = carry_on(&*world, &start, &pace, &stop);
    let carried = tokio::time::timeout(SOON, carried).await.expect("a hand-over that ends").unwrap();
    assert!(!armed.load(Ordering::Relaxed), "{act:?} at {at}");
    let Carried::Ended(ending) = carried else { panic!("{act:?} at {at}: {carried:?}") };
    (world, ending)
}

/// It hands over to the pod that comes of it, and not to the one that goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_replaced_in_a_hand_over_is_waited_for() {
    for (at, after, act) in [
        ("await-ready/kube-apiserver", false, Act::Edit),
        ("await-ready/kube-apiserver", true, Act::Delete),
        ("switch", true, Act::Delete),
        ("retire-static/kube-apiserver", false, Act::EditToTheEnd),
    ] {
        let context = format!("{act:?} {} {at}", if after { "after" } else { "before" });
        let (world, ending) = hand_over_with(at, after, act).await;
        assert_eq!(outcome(&ending), Outcome::Completed, "{context}: {}", reason(&ending));
        world.assert_pivoted(&context).await;

        let labels = Site::pod_labels(API);
        let pods = world.cluster.pods_labelled(&labels).await.unwrap();
        let [pod] = pods.as_slice() else { panic!("{context}: {} pods", pods.len()) };
        if !after && act == Act::Edit {
            let run = load(&world.journal().reader(), ending.run).unwrap();
            let waited_for = &run.output(&at.into()).unwrap()["uid"];
            assert_eq!(*waited_for, pod.metadata.uid.clone().unwrap(), "{context}");
        }
    }
}

/// The static API server still serves then, and gets no connection until the undo of `switch`.
#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_that_fails_before_its_last_cut_is_taken_back() {
    let (world, ending) = hand_over_with("retire-static/kube-apiserver", false, Act::Fail).await;
    assert_eq!(outcome(&ending), Outcome::RolledBack, "{}", reason(&ending));
    assert!(world.manifests().file(API.manifest_file()).exists());
}
