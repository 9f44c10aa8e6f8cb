//! `prefer-serving`: in a roll-out, the next API server that joins gets no traffic until the old one leaves.

use crate::handover::pair::{Pair, settled};
use crate::host::Steering;
use crate::site::Site;
use async_trait::async_trait;
use fulcrum_engine::{Context, Look, Pending, ProbeResult, Step, StepError};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) struct PreferServing {
    pub(super) site: Arc<Site>,
}

impl PreferServing {
    async fn prefer(&self) -> Look<Value> {
        let pair = Pair::look(&self.site).await?;
        let Some(new) = &pair.new else {
            return Err(Pending::NotYet("no kube-apiserver of the DaemonSet listens".to_owned()));
        };
        let serving = match pair.steering(&self.site).await? {
            Some(Steering::Prefer { serving, .. }) => return Ok(json!({ "serving": serving })),
            Some(Steering::To { serving }) => serving,
            None => new.inode,
        };
        // A roll-out that has begun already has its newcomer in line.
        let newcomer = Some(new.inode).filter(|inode| *inode != serving);
        let steering = Steering::Prefer { serving, newcomer };
        settled(pair.steer(&self.site, steering).await)?;
        Ok(json!({ "serving": serving }))
    }
}

#[async_trait]
impl Step for PreferServing {
    /// Whether it holds cannot be told while only one server listens. Doing it again is harmless.
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let what = "the new kube-apiserver to be first in line";
        cx.wait(what, self.site.timeouts.poll, async || self.prefer().await).await
    }

    /// It is right while the DaemonSet's API server listens, and goes with its listener. A server that gets
    /// the connections back needs it as well.
    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Ok(())
    }
}
