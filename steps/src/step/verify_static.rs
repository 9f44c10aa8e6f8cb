//! `verify-static`: checks that the cluster works from the static pods, and that it knows them. Changes nothing.

use super::verify::Verify;
use crate::cluster::{config_hash, is_ready, pod_story};
use crate::component::Component;
use crate::look::answered;
use crate::site::Site;
use async_trait::async_trait;
use fulcrum_engine::{Context, Look, Pending, ProbeResult, Step, StepError};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) struct VerifyStatic {
    pub(super) site: Arc<Site>,
}

impl VerifyStatic {
    async fn all(&self, since: Timestamp) -> Look<()> {
        let verify = Verify { site: Arc::clone(&self.site), only: None };
        verify.api().await?;
        for component in Component::ALL {
            let name = self.site.mirror_pod(component);
            match answered(self.site.cluster.pod(&name).await)? {
                Some(pod) if config_hash(&pod).is_some() && is_ready(&pod) => {}
                Some(pod) => return Err(Pending::NotYet(pod_story(&pod))),
                None => return Err(Pending::NotYet(format!("there is no pod {name} yet"))),
            }
            verify.led(component, since).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Step for VerifyStatic {
    /// A second look costs no more than a probe.
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let since = Timestamp::now();
        let look = async || self.all(since).await;
        cx.wait("the cluster to work from the static pods", self.site.timeouts.poll, look).await?;
        Ok(json!({ "verified": since.to_string() }))
    }

    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Ok(())
    }
}
