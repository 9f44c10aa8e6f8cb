//! `await-roll-out/<c>`: waits until the DaemonSet's pods of the new template serve, and no other is left. Fails
//! as soon as the new pod is seen not to come up: the old one serves until the new one is Ready.

use super::roll_out::RolledOut;
use crate::component::Component;
use crate::look::once;
use crate::site::Site;
use async_trait::async_trait;
use fulcrum_engine::{Context, ProbeResult, Step, StepError};
use serde_json::Value;
use std::sync::Arc;

pub(super) struct AwaitRollOut {
    pub(super) site: Arc<Site>,
    pub(super) component: Component,
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
        RolledOut { site: &self.site, component: self.component }.wait(cx, true).await
    }

    /// The step changed nothing.
    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Ok(())
    }
}
