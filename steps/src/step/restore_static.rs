//! `prepare-rollback/restore-static/<c>`: prepares on the way there. On the way back it restores the exact
//! manifest and waits until the static pod serves. It does not need the API: this step may be what brings the
//! API back.

use super::archive;
use crate::component::Component;
use crate::handover::beside::steer_to_static;
use crate::handover::endpoints::while_held;
use crate::handover::removal::Removal;
use crate::handover::standby::Standby;
use crate::host::{FileImage, Process};
use crate::look::once;
use crate::manifest::StaticPod;
use crate::site::{Site, in_api_pod, in_static_pod, shares_its_port};
use async_trait::async_trait;
use fulcrum_engine::{Context, Look, Pending, ProbeResult, Step, StepError};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) struct RestoreStatic {
    pub(super) site: Arc<Site>,
    pub(super) component: Component,
}

impl RestoreStatic {
    fn name(&self) -> &'static str {
        self.component.manifest_file()
    }

    fn saved(cx: &Context) -> Result<Option<FileImage>, StepError> {
        cx.pre_image().map(serde_json::from_slice).transpose().map_err(StepError::fatal)
    }

    fn edited(&self) -> String {
        format!(
            "{} is there and is not what was archived: somebody else has put it there; put the archived one in \
             its place, or take it away",
            self.site.node.manifests.file(self.name()).display()
        )
    }

    /// Nothing was cut if both processes listen: without the flag the static one cannot have begun to listen
    /// beside the other. With the flag, the static process may be the restored one.
    async fn is_untouched(&self, shared: bool) -> Result<bool, StepError> {
        let listeners = self.site.node.host.listeners(self.site.port(self.component)).await?;
        let mut processes = listeners.iter().map(|listener| &listener.process);
        Ok(!shared && processes.clone().any(in_api_pod) && processes.any(in_static_pod))
    }

    /// Whether the static pod serves. With the API down, a DaemonSet could not be deleted before. It is
    /// deleted as soon as there is an API, and until then its process is kept from the port unless it serves.
    async fn look(&self, removal: &Removal<'_>, the_one: impl Fn(&Process) -> bool) -> Look<()> {
        let mark = self.site.unredirected(self.component);
        let Err(seen) = once(self.site.serves(self.component, mark, the_one).await)? else { return Ok(()) };
        if removal.listener().await?.is_some() && once(removal.tell().await)?.is_err() {
            removal.end_if_it_does_not_serve().await?;
        }
        Err(Pending::NotYet(seen))
    }
}

#[async_trait]
impl Step for RestoreStatic {
    fn saves(&self) -> bool {
        true
    }

    async fn save(&self, cx: &Context) -> Result<Vec<u8>, StepError> {
        Ok(serde_json::to_vec(&archive::image(&self.site, cx, self.component)?).map_err(StepError::fatal)?)
    }

    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }

    /// The way back restores it. On the way there the step only keeps the manifest's bytes in the journal.
    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        Ok(json!({ "manifest": Self::saved(cx)?.map(|image| image.digest()) }))
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        let Some(saved) = Self::saved(cx)? else { return Ok(()) };
        let pod = StaticPod::parse(self.component, saved.content.as_bytes())?;
        let shared = pod.permits_port_sharing() || self.site.keeps_port_sharing();
        let target = match shared == pod.permits_port_sharing() {
            true => saved.clone(),
            false => {
                saved.with_content(String::from_utf8(pod.with_port_sharing()).map_err(StepError::fatal)?)
            }
        };
        self.site.node.manifests.sweep(self.name())?;
        match self.site.node.manifests.read(self.name())? {
            None => self.site.node.manifests.write(self.name(), &target)?,
            Some(current) if current == saved && self.is_untouched(pod.permits_port_sharing()).await? => {
                return Ok(());
            }
            // The guard put it there. `vacate-port` takes it away, unless it was cut short.
            Some(current)
                if current != target
                    && Standby::of(&self.site.state_dir, cx.run()).is(self.component, &current)? =>
            {
                self.site.node.manifests.write(self.name(), &target)?;
            }
            Some(current) if current != target => return Err(StepError::fatal(self.edited())),
            Some(_) => self.site.node.manifests.record_found(self.name(), &target),
        }
        if self.site.keeps_port_sharing() {
            return steer_to_static(&self.site, cx, self.component).await.map(drop);
        }
        let what = format!("the static {} to serve again", self.component);
        let the_one = |process: &Process| in_static_pod(process) && shares_its_port(process) == shared;
        let removal = Removal::new(&self.site, self.component, cx, None);
        let served = cx.wait(&what, self.site.timeouts.poll, async || self.look(&removal, the_one).await);
        // A server that starts may also take the node's address out of the endpoints until it is ready.
        while_held(&self.site, self.component, served).await
    }
}
