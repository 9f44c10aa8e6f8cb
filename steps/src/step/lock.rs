//! `lock`: lets one run at a time touch the cluster's control plane.
//!
//! The undo of `lock` lets go. A run that completes lets go in `record-head`, whose undo takes the lock back.

use crate::cluster::{Lock, LockError};
use crate::look::answered;
use crate::site::Site;
use async_trait::async_trait;
use fulcrum_engine::{Context, Pending, ProbeResult, Step, StepError};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) struct TakeLock {
    pub(super) site: Arc<Site>,
}

#[async_trait]
impl Step for TakeLock {
    async fn probe(&self, cx: &Context) -> Result<ProbeResult, StepError> {
        let lock = Lock::of(&self.site.settings.node, cx.run());
        let holder = async || answered(self.site.cluster.lock_holder().await);
        Ok(match cx.wait("the API, to see who holds the lock", self.site.timeouts.poll, holder).await? {
            None => ProbeResult::Absent,
            Some(holder) if lock.is(&holder) => ProbeResult::Done,
            Some(holder) => ProbeResult::Foreign(format!("the lock is held by {holder}")),
        })
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let lock = Lock::of(&self.site.settings.node, cx.run());
        take(&self.site, cx, &lock).await?;
        Ok(json!({ "lease": crate::cluster::LOCK_LEASE }))
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        let lock = Lock::of(&self.site.settings.node, cx.run());
        let release = async || answered(lock.release(&self.site.cluster).await);
        cx.wait("the API, to let go of the lock", self.site.timeouts.poll, release).await
    }
}

/// Takes the lock. Waits for an API that is away for a moment, but not for another holder.
pub(super) async fn take(site: &Site, cx: &Context, lock: &Lock) -> Result<(), StepError> {
    cx.wait("the lock", site.timeouts.poll, async || match lock.take(&site.cluster).await {
        Ok(()) => Ok(()),
        Err(LockError::Cluster(error)) if error.is_passing() || error.is_conflict() => {
            Err(Pending::NotYet(error.to_string()))
        }
        Err(error) => Err(StepError::fatal(error.to_string()).into()),
    })
    .await
}
