//! `await-roll-out/<c>`: waits until the DaemonSet's pods of the new template serve, and no other is left. Fails
//! as soon as the new pod is seen not to come up: the old one serves until the new one is Ready. In an upgrade the
//! new API server gets no clients before its answers to a list of reads are those of the old one.

use super::roll_out::RolledOut;
use crate::component::Component;
use crate::handover::shadow::Shadow;
use crate::look::once;
use crate::site::Site;
use async_trait::async_trait;
use fulcrum_engine::{Context, ProbeResult, Step, StepError};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) struct AwaitRollOut {
    pub(super) site: Arc<Site>,
    pub(super) component: Component,
    /// Whether the new API server's answers are compared with the old one's.
    pub(super) shadow: bool,
}

#[async_trait]
impl Step for AwaitRollOut {
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        let rolled_out = RolledOut { site: &self.site, component: self.component };
        Ok(match once(rolled_out.look().await)? {
            Ok(_) => ProbeResult::Done,
            Err(seen) => ProbeResult::Partial(seen),
        })
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let rolled_out = RolledOut { site: &self.site, component: self.component };
        let shadow = Shadow::default();
        let mut seen = rolled_out.wait_in(self.shadow.then_some(&shadow), cx, true).await?;
        if let Some(compared) = shadow.compared() {
            seen["compared"] = json!(compared);
        }
        Ok(seen)
    }

    /// The step changed nothing.
    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Ok(())
    }
}
