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
