//! `prepare-rollback/vacate-port/<c>`: on the way back, removes the DaemonSet, and with it its process from
//! the port. The process only has to stop listening: it finishes the requests in hand beside the static one.

use crate::cluster::OPT_IN_LABEL;
use crate::component::Component;
use crate::handover::beside::prefer_daemonsets;
use crate::handover::endpoints::while_held;
use crate::handover::lease;
use crate::handover::pair::is_cut;
use crate::handover::removal::{Removal, still_listens};
use crate::look::once;
use crate::site::Site;
use async_trait::async_trait;
use fulcrum_engine::{Context, Look, Pending, ProbeResult, Step, StepError};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::{Instant, timeout};

pub(super) struct VacatePort {
    pub(super) site: Arc<Site>,
    pub(super) component: Component,
}

impl VacatePort {
    /// Whether no process listens. None may listen when the static pod is restored: a process that was told
    /// to go, static or not, would be taken for the one that is to come. Once all are told, the API is needed
    /// no more: it may have been the last of them. `false` if the API could not be reached in time to tell
    /// them.
    async fn nobody_listens(&self, removal: &Removal<'_>, told: &AtomicBool, began: Instant) -> Look<bool> {
        let answer = once(removal.tell().await)?;
        let listeners = self.site.node.host.listeners(self.site.port(self.component)).await?;
        match answer {
            Ok(true) => told.store(true, Ordering::Relaxed),
            Ok(false) => {
                return Err(StepError::fatal(format!(
                    "DaemonSet {} is not this run's any more: take its pod from this node (kubectl label node {} \
                     {OPT_IN_LABEL}-), and roll back again",
                    self.component.daemonset_name(),
                    self.site.settings.node
                ))
                .into());
            }
            Err(_) if told.load(Ordering::Relaxed) => {}
            Err(seen) if removal.must_wait() => return Err(Pending::NotYet(seen)),
            Err(_) if began.elapsed() >= self.site.timeouts.api => return Ok(false),
            Err(seen) => return Err(Pending::NotYet(seen)),
        }
        listeners.first().map_or(Ok(true), |listener| still_listens(&listener.process))
    }

    /// With the API down, a DaemonSet cannot be deleted. If its process holds the port and does not serve,
    /// this ends the process, and the static one gets the port.
    async fn without_the_api(&self, cx: &Context, removal: &Removal<'_>) -> Result<(), StepError> {
        cx.note("the API does not answer: the static pods are put back first");
        removal.end_if_it_does_not_serve().await
    }
}

#[async_trait]
impl Step for VacatePort {
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }

    /// The way back does the work.
    async fn run(&self, _cx: &Context) -> Result<Value, StepError> {
        Ok(json!({ "port": self.site.port(self.component) }))
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        if !is_cut(&self.site, cx.run(), self.component)? {
            return Ok(());
        }
        if self.site.keeps_port_sharing() {
            return match self.component {
                Component::ApiServer => prefer_daemonsets(&self.site, cx).await,
                _ => Ok(()),
            };
        }
        // A fallback goes too: the exact manifest is restored when no process listens.
        self.site.node.manifests.remove(self.component.manifest_file())?;
        let api_goes = is_cut(&self.site, cx.run(), Component::ApiServer)?;
        let removal = Removal::new(&self.site, self.component, cx, None).after_the_api(api_goes);
        let (began, told) = (Instant::now(), AtomicBool::new(false));
        let leader = lease::leader(&self.site, cx, self.component);
        // Without it, only time is lost.
        let leader = timeout(self.site.timeouts.api, leader).await.ok().transpose()?.flatten();
        let port = self.site.port(self.component);
        let free = while_held(&self.site, self.component, async {
            let look = async || self.nobody_listens(&removal, &told, began).await;
            let free = cx.wait(&format!("port {port} to be free"), self.site.timeouts.poll, look).await;
            removal.seen_off().await;
            free
        })
        .await?;
        if !free {
            return self.without_the_api(cx, &removal).await;
        }
        if leader.is_some() {
            lease::give_back(&self.site, cx, self.component, leader.as_deref()).await;
        }
        Ok(())
    }
}
