//! `way-back/restore-static/<c>`: prepares on the way there, puts the exact manifest back on the way back, and waits
//! until the static pod serves. The API is not needed for it: it may be this that brings it back.

use super::archive;
use super::removal::Removal;
use super::vacate_port::end_if_it_does_not_serve;
use crate::component::Component;
use crate::guard::Standby;
use crate::manifest::StaticPod;
use crate::node::{FileImage, Process};
use crate::site::{Site, in_static_pod, shares_its_port};
use async_trait::async_trait;
use fulcrum_engine::{Context, Finding, Seen, Step, StepError};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::time::timeout;

pub(super) struct RestoreStatic {
    pub(super) site: Arc<Site>,
    pub(super) component: Component,
}

impl RestoreStatic {
    fn name(&self) -> &'static str {
        self.component.manifest_file()
    }

    fn saved(cx: &Context) -> Result<Option<FileImage>, StepError> {
        Ok(cx.saved().map(serde_json::from_slice).transpose()?)
    }

    fn edited(&self) -> String {
        format!(
            "{} is there and is not what was archived: somebody else has put it there; put the archived one in \
             its place, or take it away",
            self.site.node.manifests.file(self.name()).display()
        )
    }

    /// Nothing was cut if both processes listen: without the flag the static one cannot have begun to beside the
    /// other.
    async fn is_untouched(&self) -> Result<bool, StepError> {
        let listeners = self.site.node.host.listeners(self.site.port(self.component)).await?;
        let mut processes = listeners.iter().map(|listener| &listener.process);
        Ok(processes.clone().any(|process| !in_static_pod(process)) && processes.any(in_static_pod))
    }

    /// Whether the static pod serves. A DaemonSet that could not be deleted before, with the API down, is deleted as soon as
    /// there is an API, and until then its process is kept from the port unless it serves.
    async fn look(
        &self,
        removal: &Removal<'_>,
        the_one: impl Fn(&Process) -> bool,
    ) -> Result<Seen<()>, StepError> {
        let mark = self.site.unredirected(self.component);
        let seen = match self.site.serves(self.component, mark, the_one).await? {
            Seen::Ready(_) => return Ok(Seen::Ready(())),
            Seen::NotYet(seen) => seen,
        };
        if removal.listener().await?.is_some() {
            match timeout(self.site.patience.api, removal.tell()).await {
                Ok(told) => drop(told?),
                Err(_) => end_if_it_does_not_serve(&self.site, self.component, removal).await?,
            }
        }
        Ok(Seen::NotYet(seen))
    }
}

#[async_trait]
impl Step for RestoreStatic {
    fn saves(&self) -> bool {
        true
    }

    async fn save(&self, cx: &Context) -> Result<Vec<u8>, StepError> {
        Ok(serde_json::to_vec(&archive::image(&self.site, cx, self.component)?)?)
    }

    async fn probe(&self, _cx: &Context) -> Result<Finding, StepError> {
        Ok(Finding::Absent)
    }

    /// The way back does it: here only its bytes are kept in the journal.
    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        Ok(json!({ "manifest": Self::saved(cx)?.map(|image| image.digest()) }))
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        let Some(saved) = Self::saved(cx)? else { return Ok(()) };
        self.site.node.manifests.sweep(self.name())?;
        match self.site.node.manifests.read(self.name())? {
            None => self.site.node.manifests.write(self.name(), &saved)?,
            // Put there by the guard: `vacate-port` takes it away, unless it was cut short.
            Some(current) if Standby::of(self.site.state_dir(), cx.run()).is(self.component, &current)? => {
                self.site.node.manifests.write(self.name(), &saved)?;
            }
            Some(current) if current != saved => return Err(StepError::fatal(self.edited())),
            Some(_) if self.is_untouched().await? => return Ok(()),
            Some(_) => {}
        }
        let pod = StaticPod::parse(self.component, saved.content.as_bytes())?;
        let shared = pod.permits_port_sharing();
        let what = format!("the static {} to serve again", self.component);
        let the_one = |process: &Process| in_static_pod(process) && shares_its_port(process) == shared;
        let removal = Removal::new(&self.site, self.component, cx.run());
        cx.wait(&what, self.site.patience.poll, async || self.look(&removal, the_one).await).await
    }
}
