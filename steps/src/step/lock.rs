//! `lock`: lets one run at a time touch the cluster's control plane. Waits for a run of another node.
//!
//! The undo of `lock` lets go. A run that completes lets go in `record-head`, whose undo takes the lock back.

use crate::check::Check;
use crate::cluster::{Lock, LockError, is_of_a_node_that_has_gone, node_of};
use crate::look::answered;
use crate::preflight::{CheckResult, Level, PreflightInput, preflight};
use crate::site::Site;
use async_trait::async_trait;
use fulcrum_engine::{Context, Pending, ProbeResult, Step, StepError};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) struct TakeLock {
    pub(super) site: Arc<Site>,
    /// Whether the checks of a pivot are made once more after a wait.
    pub(super) checks: bool,
}

#[async_trait]
impl Step for TakeLock {
    async fn probe(&self, cx: &Context) -> Result<ProbeResult, StepError> {
        let lock = Lock::of(&self.site.settings.node, cx.run());
        let holder = async || answered(self.site.cluster.lock_holder().await);
        Ok(match cx.wait("the API, to see who holds the lock", self.site.timeouts.poll, holder).await? {
            None => ProbeResult::Absent,
            Some(holder) if lock.is(&holder) => ProbeResult::Done,
            // The attempt waits for it, and says for whom.
            Some(_) => ProbeResult::Absent,
        })
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let lock = Lock::of(&self.site.settings.node, cx.run());
        let waited = take(&self.site, cx, &lock).await?;
        // An earlier attempt may have waited, and its process ended.
        if self.checks && (waited || cx.attempt() > 1) && self.site.settings.of_pivot.is_none() {
            self.check_again().await?;
        }
        Ok(json!({ "lease": crate::cluster::LOCK_LEASE }))
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        let lock = Lock::of(&self.site.settings.node, cx.run());
        let release = async || answered(lock.release(&self.site.cluster).await);
        cx.wait("the API, to let go of the lock", self.site.timeouts.poll, release).await
    }
}

impl TakeLock {
    /// Another run has worked on the cluster since the checks.
    async fn check_again(&self) -> Result<(), StepError> {
        let Err(refused) = preflight(&PreflightInput::again(&self.site)).await else { return Ok(()) };
        // The lock is this run's by now.
        let others = |result: &&CheckResult| result.level == Level::Refuse && result.check != Check::Lock;
        let refusals: Vec<String> = refused.results.iter().filter(others).map(ToString::to_string).collect();
        match refusals.is_empty() {
            true => Ok(()),
            false => Err(StepError::fatal(format!(
                "the cluster has changed while this run waited for the lock: {}",
                refusals.join("; ")
            ))),
        }
    }
}

/// Whose lock is taken over, beside that of a node that has gone from the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TakeOver {
    /// Nobody's.
    No,
    /// That of another run on this node: the way back of a pivot ends what an edit has left.
    OfThisNode,
    /// Anybody's: a person says so.
    OfAny,
}

/// What came of an attempt to take the lock.
pub(super) enum Attempt {
    /// This run has it.
    Taken,
    /// Another run has it.
    Held(String),
    /// The API did not answer.
    Unanswered(String),
}

/// Takes the lock if it is free, if a person says so (`take_over`), or if its holder's node has gone from the cluster.
pub(super) async fn attempt(
    site: &Site,
    cx: &Context,
    lock: &Lock,
    take_over: TakeOver,
) -> Result<Attempt, StepError> {
    let mut result = lock.take(&site.cluster).await;
    if let Err(LockError::Held { holder }) = &result {
        let holder = holder.clone();
        let node = node_of(&holder);
        // On this very node nobody else is at work: this run has the journal to itself.
        let here = node == site.settings.node;
        let told = take_over == TakeOver::OfAny || here && take_over == TakeOver::OfThisNode;
        let gone = !here && !told && is_of_a_node_that_has_gone(&site.cluster, &holder).await;
        if told || gone {
            let why = if gone { "whose node has gone from the cluster" } else { "as asked for" };
            cx.note(format!("taking the lock from {holder}, {why}"));
            result = lock.take_from(&site.cluster, &holder).await;
        } else if here {
            return Err(StepError::fatal(LockError::Held { holder }.to_string()));
        }
    }
    match result {
        Ok(()) => Ok(Attempt::Taken),
        Err(error @ LockError::Held { .. }) => Ok(Attempt::Held(error.to_string())),
        Err(LockError::Cluster(error)) if error.is_passing() || error.is_conflict() => {
            Ok(Attempt::Unanswered(error.to_string()))
        }
        Err(error) => Err(StepError::fatal(error.to_string())),
    }
}

/// Takes the lock. Waits for an API that is away for a moment, and for another run to end, at most for the attempt's
/// time. Returns whether another run had it.
async fn take(site: &Site, cx: &Context, lock: &Lock) -> Result<bool, StepError> {
    let waited = AtomicBool::new(false);
    let take_over = if site.take_lock { TakeOver::OfAny } else { TakeOver::No };
    cx.wait("the lock", site.timeouts.poll, async || match attempt(site, cx, lock, take_over).await? {
        Attempt::Taken => Ok(()),
        Attempt::Held(seen) => {
            waited.store(true, Ordering::Relaxed);
            Err(Pending::NotYet(seen))
        }
        Attempt::Unanswered(seen) => Err(Pending::NotYet(seen)),
    })
    .await?;
    Ok(waited.into_inner())
}

/// Refuses to go on if another run has taken the lock from this one. Asked before anything is cut or rolled out.
pub(super) async fn still_ours(site: &Site, cx: &Context) -> Result<(), StepError> {
    let lock = Lock::of(&site.settings.node, cx.run());
    let look = async || match lock.take(&site.cluster).await {
        // Where nobody has it, a person has deleted it. Nobody else is at work.
        Ok(()) => Ok(()),
        Err(LockError::Cluster(error)) if error.is_conflict() => Err(Pending::NotYet(error.to_string())),
        Err(LockError::Cluster(error)) => answered(Err(error)),
        Err(LockError::Held { holder }) => Err(Pending::Failed(StepError::fatal(format!(
            "{holder} has taken the lock from this run: nothing more is cut; see what it does before anything is done here"
        )))),
    };
    cx.wait("the API, to see whether the lock is still this run's", site.timeouts.poll, look).await
}
