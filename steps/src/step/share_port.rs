//! `share-port/<c>` with `--handover restart`: rewrites the static manifest once with
//! `--permit-port-sharing=true`, and the kubelet restarts the pod. Undo: restores the exact bytes, which
//! causes another restart.
//!
//! Looks only at the manifest and at the host: during the API server's own restart there is no API to ask.

use super::archive;
use crate::component::Component;
use crate::handover::drain::Drain;
use crate::handover::endpoints::while_held;
use crate::handover::lease;
use crate::host::{FileImage, Process};
use crate::look::once;
use crate::manifest::StaticPod;
use crate::settings::HandoverMode;
use crate::site::{Site, in_static_pod, shares_its_port};
use async_trait::async_trait;
use fulcrum_engine::{Context, ProbeResult, Step, StepError};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) struct SharePort {
    pub(super) site: Arc<Site>,
    pub(super) component: Component,
}

impl SharePort {
    fn current(&self) -> Result<Option<FileImage>, StepError> {
        Ok(self.site.node.manifests.read(self.component.manifest_file())?)
    }

    fn write(&self, image: &FileImage) -> Result<(), StepError> {
        Ok(self.site.node.manifests.write(self.component.manifest_file(), image)?)
    }

    /// The manifest as it was, and as it shall be. The run saves both: another version of this program may
    /// write the second differently, and must still know it.
    fn both(&self, cx: &Context) -> Result<Option<(FileImage, FileImage)>, StepError> {
        cx.pre_image().map(serde_json::from_slice).transpose().map_err(StepError::fatal)
    }

    /// The digests of the manifest as it was and as it is, and the process that serves with it.
    fn changed(&self, before: &FileImage, after: &FileImage, pid: Option<u32>) -> Value {
        self.site.node.manifests.record(self.component.manifest_file(), Some(before), Some(after));
        json!({ "before": before.digest(), "manifest": after.digest(), "pid": pid })
    }

    fn path(&self) -> String {
        self.site.node.manifests.file(self.component.manifest_file()).display().to_string()
    }

    /// A person has changed the manifest since the run began. Neither direction may overwrite that.
    fn edited(&self) -> String {
        let (path, component) = (self.path(), self.component);
        format!(
            "{path} has been changed by somebody else since this run saved it; put back the copy of {component}'s \
             manifest from the archive, or finish by hand"
        )
    }

    /// The static server that will be restarted, if it listens.
    async fn old(&self, shared: bool) -> Result<Drain, StepError> {
        let the_one = |process: &Process| in_static_pod(process) && shares_its_port(process) != shared;
        Drain::of(&self.site, self.component, the_one, self.site.timeouts.drain_alone).await
    }

    /// Writes the manifest, if it is not there yet, and waits until the kubelet has restarted the pod. While
    /// a bridge serves, no client notices.
    async fn restarted(
        &self,
        cx: &Context,
        manifest: Option<&FileImage>,
        old: Drain,
        shared: bool,
    ) -> Result<u32, StepError> {
        let bridged = self.site.settings.handover == HandoverMode::Bridge;
        let restarted = async {
            if let Some(manifest) = manifest {
                if bridged {
                    old.hold_back(&self.site, self.component).await;
                }
                self.write(manifest)?;
            }
            self.wait_restarted(cx, old, shared).await
        };
        match bridged {
            true => while_held(&self.site, self.component, restarted).await,
            false => restarted.await,
        }
    }

    /// Waits for the restart and ends a server that lingers.
    async fn wait_restarted(&self, cx: &Context, old: Drain, shared: bool) -> Result<u32, StepError> {
        if old.is_some() {
            let what = format!("the kubelet to end the static {}", self.component);
            let look = async || old.look(&self.site).await;
            cx.wait(&what, self.site.timeouts.poll, look).await?;
            lease::give_back(&self.site, cx, self.component, None).await;
        } else {
            // The kubelet may be about to restart the process that serves now: it has not yet acted on the
            // write of an attempt that was cut short.
            let settle = self.site.timeouts.settle;
            let _ = tokio::time::timeout(settle, cx.stopped()).await;
        }
        let with = if shared { "with" } else { "without" };
        let what = format!("the static {} to serve {with} port sharing", self.component);
        let the_one = |process: &_| in_static_pod(process) && shares_its_port(process) == shared;
        let mark = self.site.unredirected(self.component);
        Ok(self.site.wait_served(cx, self.component, &what, mark, the_one).await?.pid)
    }
}

#[async_trait]
impl Step for SharePort {
    fn saves(&self) -> bool {
        true
    }

    async fn save(&self, cx: &Context) -> Result<Vec<u8>, StepError> {
        let before = self.current()?.ok_or_else(|| StepError::fatal(format!("{} is gone", self.path())))?;
        // The DaemonSet is made from the archive: a change since then would be lost in it.
        if !archive::holds(cx, self.component, &before) {
            return Err(StepError::fatal(self.edited()));
        }
        let pod = StaticPod::parse(self.component, before.content.as_bytes())?;
        let after = match pod.permits_port_sharing() {
            true => before.clone(),
            false => {
                before.with_content(String::from_utf8(pod.with_port_sharing()).map_err(StepError::fatal)?)
            }
        };
        Ok(serde_json::to_vec(&(before, after)).map_err(StepError::fatal)?)
    }

    async fn probe(&self, cx: &Context) -> Result<ProbeResult, StepError> {
        let Some((before, after)) = self.both(cx)? else { return Ok(ProbeResult::Absent) };
        let current = self.current()?;
        if current.as_ref() == Some(&after) {
            let the_one = |process: &_| in_static_pod(process) && shares_its_port(process);
            let mark = self.site.unredirected(self.component);
            return Ok(match once(self.site.serves(self.component, mark, the_one).await)? {
                Ok(_) => ProbeResult::Done,
                Err(seen) => ProbeResult::Partial(format!("the manifest is there, but {seen}")),
            });
        }
        Ok(if current == Some(before) { ProbeResult::Absent } else { ProbeResult::Foreign(self.edited()) })
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let missing = || StepError::fatal("the manifest was not saved before it was to be changed");
        let (before, after) = self.both(cx)?.ok_or_else(missing)?;
        self.site.node.manifests.sweep(self.component.manifest_file())?;
        let old = self.old(true).await?;
        let manifest = match self.current()? {
            Some(current) if current == after => None,
            Some(current) if current == before => Some(&after),
            _ => return Err(StepError::fatal(self.edited())),
        };
        let pid = self.restarted(cx, manifest, old, true).await?;
        Ok(self.changed(&before, &after, Some(pid)))
    }

    async fn output(&self, cx: &Context) -> Result<Value, StepError> {
        let Some((before, after)) = self.both(cx)? else { return Ok(Value::Null) };
        let the_one = |process: &_| in_static_pod(process) && shares_its_port(process);
        let mark = self.site.unredirected(self.component);
        let served = once(self.site.serves(self.component, mark, the_one).await)?;
        Ok(self.changed(&before, &after, served.ok().map(|process| process.pid)))
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        let Some((before, after)) = self.both(cx)? else { return Ok(()) };
        if self.site.keeps_port_sharing() {
            return Ok(());
        }
        self.site.node.manifests.sweep(self.component.manifest_file())?;
        let shared = StaticPod::parse(self.component, before.content.as_bytes())?.permits_port_sharing();
        let old = self.old(shared).await?;
        let manifest = match self.current()? {
            Some(current) if current == before => {
                self.site.node.manifests.record_found(self.component.manifest_file(), &before);
                None
            }
            Some(current) if current == after => Some(&before),
            None => Some(&before),
            Some(_) => return Err(StepError::fatal(self.edited())),
        };
        self.restarted(cx, manifest, old, shared).await.map(|_| ())
    }
}
