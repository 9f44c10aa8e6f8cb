//! The guard of today, after a pivot by an earlier version.

use crate::{fall_back, guarded, pivoted_with, until_the_story_is};
use async_trait::async_trait;
use fulcrum_engine::{Context, ProbeResult, Step, StepError, StepRegistry, StepSpec};
use fulcrum_steps::component::Component;
use fulcrum_steps::manifest::StaticPod;
use fulcrum_steps::plan::{FALL_BACK, HAND_OVER, PIVOT};
use fulcrum_steps::settings::HandoverMode;
use fulcrum_steps::site::Site;
use fulcrum_steps::step::{Job, library};
use serde_json::{Value, json};
use std::sync::Arc;

/// Makes the DaemonSet as version 0.1 did: without `dnsPolicy` and priority class.
struct MadeBefore(Arc<Site>, Component, Arc<dyn Step>);

#[async_trait]
impl Step for MadeBefore {
    async fn probe(&self, cx: &Context) -> Result<ProbeResult, StepError> {
        self.2.probe(cx).await
    }
    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let manifest = std::fs::read(self.0.archived(cx.run(), self.1))?;
        let mut made =
            StaticPod::parse(self.1, &manifest)?.daemonset(&self.0.settings.target(Some(cx.run())));
        for field in ["dnsPolicy", "priorityClassName"] {
            made["spec"]["template"]["spec"].as_object_mut().unwrap().remove(field);
        }
        let live = self.0.cluster.create_daemonset(&made, false).await?;
        Ok(json!({ "uid": live["metadata"]["uid"] }))
    }
    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        self.2.undo(cx).await
    }
    fn saves(&self) -> bool {
        self.2.saves()
    }
    async fn save(&self, cx: &Context) -> Result<Vec<u8>, StepError> {
        self.2.save(cx).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_version_made_and_proved_is_handed_over_to() {
    let steps = Arc::new(|site: Arc<Site>| -> Arc<dyn StepRegistry> {
        let today = library(Arc::clone(&site));
        Arc::new(move |spec: &StepSpec| -> Result<Arc<dyn Step>, String> {
            let step = today.step(spec)?;
            Ok(match serde_json::from_value(spec.args.clone()) {
                Ok(Job::CreateDaemonset { component }) => {
                    Arc::new(MadeBefore(Arc::clone(&site), component, step))
                }
                _ => step,
            })
        })
    });
    let (world, run, _dir) = pivoted_with(HandoverMode::Steer, Some(steps)).await;
    fall_back(&world, run, Component::Scheduler).await;
    guarded(&world, until_the_story_is(&world, &[PIVOT, FALL_BACK, HAND_OVER])).await;
}
