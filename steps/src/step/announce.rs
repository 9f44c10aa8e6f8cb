//! `announce`: says in the cluster why the static pods came back, as an Event on the node, once the API answers. It is
//! for people: that it could not be said is no failure.

use super::library::seen;
use crate::site::Site;
use async_trait::async_trait;
use fulcrum_engine::{Context, Finding, Step, StepError};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) struct Announce {
    pub(super) site: Arc<Site>,
    pub(super) why: String,
}

#[async_trait]
impl Step for Announce {
    /// Saying it twice is harmless.
    async fn probe(&self, _cx: &Context) -> Result<Finding, StepError> {
        Ok(Finding::Absent)
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let site = &self.site;
        let say = async || seen(site.cluster.node_event(&site.settings.node, "StaticPodsStandIn", &self.why).await);
        match cx.wait("the API, to say why", site.patience.poll, say).await {
            Ok(()) => Ok(json!({ "said": self.why })),
            Err(error) if cx.is_stopped() => Err(error),
            Err(error) => Ok(json!({ "said": null, "error": error.to_string() })),
        }
    }

    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Ok(())
    }
}
