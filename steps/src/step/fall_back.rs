//! `fall-back/<c>`: restores the standby manifest, because the DaemonSet does not serve. Asks the host only:
//! the API is down, and this step brings it back. Undo: nothing. A hand-over takes the static pod away again.

use crate::component::Component;
use crate::handover::standby::Standby;
use crate::look::once;
use crate::site::{Site, in_static_pod};
use async_trait::async_trait;
use fulcrum_engine::{Context, ProbeResult, Step, StepError};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) struct FallBack {
    pub(super) site: Arc<Site>,
    pub(super) component: Component,
}

impl FallBack {
    /// A controller manager that starts while there is no API ends at once, and the kubelet waits ever longer
    /// before it starts it again. An API server that does not come holds it up for some time only.
    async fn await_api(&self, cx: &Context) {
        if self.component != Component::ControllerManager {
            return;
        }
        let what = "an API server, without which a controller manager ends";
        let serves = async || self.site.serves(Component::ApiServer, None, |_| true).await.map(drop);
        let served = cx.wait(what, self.site.timeouts.poll, serves);
        let _ = tokio::time::timeout(self.site.timeouts.bridge, served).await;
    }
}

#[async_trait]
impl Step for FallBack {
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        let Some(_) = self.site.node.manifests.read(self.component.manifest_file())? else {
            return Ok(ProbeResult::Absent);
        };
        Ok(match once(self.site.serves(self.component, None, in_static_pod).await)? {
            Ok(_) => ProbeResult::Done,
            Err(seen) => ProbeResult::Partial(seen),
        })
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let name = self.component.manifest_file();
        let manifests = &self.site.node.manifests;
        self.await_api(cx).await;
        manifests.sweep(name)?;
        if manifests.read(name)?.is_none() {
            let Some(pivot) = self.site.settings.of_pivot else {
                return Err(StepError::fatal("the run does not say which pivot's standby is meant"));
            };
            let standby = Standby::of(&self.site.state_dir, pivot).get(self.component)?;
            let standby = standby.ok_or_else(|| StepError::fatal(format!("no standby {name} was kept")))?;
            manifests.write(name, &standby)?;
        }
        let what = format!("the static {} to serve", self.component);
        let process = self.site.wait_served(cx, self.component, &what, None, in_static_pod).await?;
        Ok(json!({ "pid": process.pid }))
    }

    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Ok(())
    }
}
