//! `await-standbys/<c>`: waits until the guard of every other node has made its standby what the DaemonSet runs. A power
//! cut there brings up the new release from then on.
//!
//! A node that has booted meanwhile serves from static pods of the release from before until its guard hands over, for
//! which it waits for the lock of this run. With an older API server there no newer controller manager may follow, so
//! the run fails, and goes back. With an older controller manager or scheduler it goes on: its guard renews them later.

use crate::component::Component;
use crate::handover::standbys::{Behind, Lag, behind};
use crate::look::{answered, once};
use crate::site::Site;
use async_trait::async_trait;
use fulcrum_engine::{Context, Look, Pending, ProbeResult, Step, StepError};
use serde_json::{Value, json};
use std::sync::Arc;

/// The guards take a minute. Looking is a few calls a node, so it is done this many times less often than elsewhere.
const POLLS: u32 = 10;

pub(super) struct AwaitStandbys {
    pub(super) site: Arc<Site>,
    pub(super) component: Component,
}

impl AwaitStandbys {
    /// The nodes that have booted meanwhile and follow later.
    async fn look(&self) -> Look<Vec<String>> {
        let Site { cluster, settings, .. } = &*self.site;
        let name = self.component.daemonset_name();
        let live = answered(cluster.daemonset(name).await)?;
        let live = live.ok_or_else(|| StepError::fatal(format!("DaemonSet {name} is gone")))?;
        let found = answered(behind(cluster, settings, &[(self.component, live)]).await)?;
        let (booted, waits): (Vec<Behind>, Vec<Behind>) =
            found.into_iter().partition(|node| matches!(node.why, Lag::Static(_)));
        let list = |nodes: &[Behind]| nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        if self.component == Component::ApiServer && !booted.is_empty() {
            return Err(StepError::fatal(format!(
                "a node has booted in the middle of the roll-out, with an API server from before it: {}",
                list(&booted)
            ))
            .into());
        }
        match waits.is_empty() {
            true => Ok(booted.into_iter().map(|node| node.node).collect()),
            false => Err(Pending::NotYet(list(&waits))),
        }
    }
}

#[async_trait]
impl Step for AwaitStandbys {
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(match once(self.look().await)? {
            Ok(_) => ProbeResult::Done,
            Err(seen) => ProbeResult::Partial(seen),
        })
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let what = format!("the other nodes' standbys of {}", self.component);
        let later = cx.wait(&what, self.site.timeouts.poll * POLLS, async || self.look().await).await?;
        Ok(json!({ "later": later }))
    }

    /// The step changed nothing.
    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Ok(())
    }
}
