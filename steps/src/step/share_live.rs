//! `share-port/<c>` with `--handover steer`: makes the static process's live listener shareable. Touches
//! nothing else of it. Undo: makes the listener as it was.

use super::archive;
use crate::component::Component;
use crate::handover::pair::{gone, is_cut, settled};
use crate::host::{HostError, Listener};
use crate::site::{Site, in_static_pod, shares_its_port};
use async_trait::async_trait;
use fulcrum_engine::{Context, Look, Pending, ProbeResult, Step, StepError};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) struct ShareLive {
    pub(super) site: Arc<Site>,
    pub(super) component: Component,
}

impl ShareLive {
    async fn listener(&self) -> Result<Option<Listener>, HostError> {
        let listeners = self.site.node.host.listeners(self.site.port(self.component)).await?;
        Ok(listeners.into_iter().find(|listener| in_static_pod(&listener.process)))
    }

    /// The listener that is shared now. `None` after the cut, when there is none to share.
    async fn share(&self, cx: &Context) -> Look<Option<Listener>> {
        if is_cut(&self.site, cx.run(), self.component)? {
            return Ok(None);
        }
        let Some(listener) = self.listener().await? else {
            self.refuse_an_edit(cx)?;
            return Err(Pending::NotYet(format!("the static {} does not listen", self.component)));
        };
        settled(self.site.node.host.share(&listener).await)?;
        Ok(Some(listener))
    }

    /// A static pod that was edited in mid-run starts anew, and cannot listen beside the DaemonSet's.
    fn refuse_an_edit(&self, cx: &Context) -> Result<(), StepError> {
        let (manifests, name) = (&self.site.node.manifests, self.component.manifest_file());
        let (Some(archived), Some(now)) = (archive::digest(cx, self.component), manifests.read(name)?) else {
            return Ok(());
        };
        if *archived == json!(now.digest()) {
            return Ok(());
        }
        Err(StepError::fatal(format!(
            "{} has been changed by somebody else since this run archived it; put back what was there, or pivot again with \
             the change",
            manifests.file(name).display()
        )))
    }
}

#[async_trait]
impl Step for ShareLive {
    async fn probe(&self, cx: &Context) -> Result<ProbeResult, StepError> {
        if is_cut(&self.site, cx.run(), self.component)? {
            return Ok(ProbeResult::Done);
        }
        Ok(match self.listener().await? {
            Some(listener) if self.site.node.host.is_shared(&listener).await? => ProbeResult::Done,
            _ => ProbeResult::Absent,
        })
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let what = format!("the listener of the static {} to be shared", self.component);
        let shared = cx.wait(&what, self.site.timeouts.poll, async || self.share(cx).await).await?;
        Ok(shared.map_or(Value::Null, |listener| told(&listener)))
    }

    async fn output(&self, cx: &Context) -> Result<Value, StepError> {
        let cut = is_cut(&self.site, cx.run(), self.component)?;
        Ok(self.listener().await?.filter(|_| !cut).map_or(Value::Null, |listener| told(&listener)))
    }

    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        match self.listener().await? {
            // Its manifest says that it shares its port. So it did before.
            Some(listener) if shares_its_port(&listener.process) => Ok(()),
            Some(listener) => Ok(gone(self.site.node.host.unshare(&listener).await)?),
            None => Ok(()),
        }
    }
}

fn told(listener: &Listener) -> Value {
    json!({ "pid": listener.process.pid, "inode": listener.inode })
}
