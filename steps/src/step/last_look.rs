//! The last look before a cut.

use super::lock;
use crate::handover::elsewhere::can_be_spared;
use crate::manifest::StaticPod;
use crate::site::Site;
use fulcrum_engine::{Context, StepError};
use tokio::time::Instant;

/// What must hold at a cut. Each of it may be waited for, for minutes, and what was seen before is no longer true then: a
/// person may have taken the lock, and another node may be lost.
pub(super) struct LastLook<'a> {
    site: &'a Site,
    cx: &'a Context,
    /// This node's API server, where the other nodes must be able to spare it.
    server: Option<StaticPod>,
    /// When they were asked last.
    asked: Option<Instant>,
}

impl<'a> LastLook<'a> {
    pub(super) fn new(site: &'a Site, cx: &'a Context, server: Option<StaticPod>) -> Self {
        Self { site, cx, server, asked: None }
    }

    /// Waits until the other nodes can spare this one, if that was not seen a moment ago.
    pub(super) async fn others(&mut self) -> Result<(), StepError> {
        if self.is_fresh() {
            return Ok(());
        }
        if let Some(server) = &self.server {
            let what = "the other nodes to be able to spare this one";
            let look = async || can_be_spared(self.site, server).await;
            self.cx.wait(what, self.site.timeouts.poll, look).await?;
        }
        self.asked = Some(Instant::now());
        Ok(())
    }

    /// Whether the lock is this run's, and the others were asked a moment ago: what was waited for since then has taken no
    /// time. If not, all of it is to be looked at again.
    pub(super) async fn holds(&self) -> Result<bool, StepError> {
        lock::still_ours(self.site, self.cx).await?;
        Ok(self.is_fresh())
    }

    /// Longer than the moment of a leader's cut is waited for (some 6 s).
    fn is_fresh(&self) -> bool {
        self.asked.is_some_and(|asked| asked.elapsed() < self.site.timeouts.settle * 10)
    }
}
