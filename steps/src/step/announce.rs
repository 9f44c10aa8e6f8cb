//! `announce`: tells the cluster why the static pods were restored, as an Event on the node, once the API
//! answers. It is for people: if it cannot be said, that is no failure.

use crate::look::answered;
use crate::site::Site;
use async_trait::async_trait;
use fulcrum_engine::{Context, ProbeResult, Step, StepError};
use futures::FutureExt;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long the API may take to come back before the step gives up.
const SAID_WITHIN: Duration = Duration::from_secs(150);

pub(super) struct Announce {
    pub(super) site: Arc<Site>,
    pub(super) why: String,
}

#[async_trait]
impl Step for Announce {
    /// A second Event is harmless.
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let site = &self.site;
        let say = async || {
            answered(site.cluster.node_event(&site.settings.node, "FellBackToStaticPods", &self.why).await)
        };
        let said = cx.wait("the API, to say why", site.timeouts.poll, say);
        match tokio::time::timeout(SAID_WITHIN, said).await {
            Ok(Err(error)) if cx.stopped().now_or_never().is_some() => Err(error),
            Ok(Err(error)) => Ok(json!({ "said": false, "error": error.to_string() })),
            Ok(Ok(())) => Ok(json!({ "said": true })),
            Err(_) => Ok(
                json!({ "said": false, "error": format!("the API did not answer within {SAID_WITHIN:?}") }),
            ),
        }
    }

    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Ok(())
    }
}
