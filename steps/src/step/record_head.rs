//! `record-head`: writes the journal's head onto the DaemonSets, and lets go of the lock. A person can then
//! check the disk against the cluster. Undo, the first thing that a rollback does: takes the lock back, if
//! the API answers. If it does not, the manifests have to be restored first.

use super::lock::{self, Attempt, TakeOver};
use crate::cluster::{AUDIT_HEAD_ANNOTATION, Lock};
use crate::component::Component;
use crate::look::answered;
use crate::site::Site;
use async_trait::async_trait;
use fulcrum_engine::{Context, Pending, ProbeResult, Step, StepError};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::time::{Instant, timeout};

pub(super) struct RecordHead {
    pub(super) site: Arc<Site>,
    /// Whether there are DaemonSets to write the head onto. Where a run leaves none, it only lets go.
    pub(super) annotates: bool,
}

#[async_trait]
impl Step for RecordHead {
    /// Recording the head again is harmless.
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let head = cx.head();
        let annotation = json!({ AUDIT_HEAD_ANNOTATION: format!("{}:{}", head.seq, head.hash) });
        for component in Component::ALL.into_iter().filter(|_| self.annotates) {
            let name = component.daemonset_name();
            let annotate = async || answered(self.site.cluster.annotate_daemonset(name, &annotation).await);
            cx.wait(
                &format!("the API, to record the head on DaemonSet {name}"),
                self.site.timeouts.poll,
                annotate,
            )
            .await?;
        }
        let lock = Lock::of(&self.site.settings.node, cx.run());
        let release = async || answered(lock.release(&self.site.cluster).await);
        cx.wait("the API, to let go of the lock", self.site.timeouts.poll, release).await?;
        Ok(json!({ "head": head }))
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        let lock = Lock::of(&self.site.settings.node, cx.run());
        let began = Instant::now();
        let look = async || match lock::attempt(&self.site, cx, &lock, TakeOver::OfThisNode).await? {
            Attempt::Taken => Ok(()),
            Attempt::Held(seen) => Err(Pending::NotYet(seen)),
            Attempt::Unanswered(_) if began.elapsed() >= self.site.timeouts.api => Ok(()),
            Attempt::Unanswered(seen) => Err(Pending::NotYet(seen)),
        };
        // A call has a deadline of its own, which is longer than this.
        let answers = async {
            let ready = async || answered(self.site.cluster.readyz().await);
            let ready = cx.wait("the API, to take the lock back", self.site.timeouts.poll, ready);
            timeout(self.site.timeouts.api, ready).await
        };
        match answers.await {
            Err(_silent) => Ok(()),
            Ok(ready) => {
                ready?;
                cx.wait("the lock", self.site.timeouts.poll, look).await
            }
        }
    }
}
