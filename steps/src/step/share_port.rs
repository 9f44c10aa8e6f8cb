//! `share-port/<c>` with `--handover restart`: the static manifest is rewritten once with
//! `--permit-port-sharing=true`, and the kubelet restarts the pod. Undo: the exact bytes, and the restart
//! that they cause.
//!
//! Looks only at the manifest and at the host: for the API server's own turn there is no API to ask.

use super::lease;
use crate::component::Component;
use crate::manifest::StaticPod;
use crate::node::{FileImage, Process};
use crate::site::{Site, in_static_pod, shares_its_port};
use async_trait::async_trait;
use fulcrum_engine::{Context, Finding, Seen, Step, StepError};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::time::Instant;

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

    /// The manifest as it was, and as it shall be.
    fn both(&self, cx: &Context) -> Result<Option<(FileImage, FileImage)>, StepError> {
        let Some(saved) = cx.saved() else { return Ok(None) };
        let before: FileImage = serde_json::from_slice(saved)?;
        let pod = StaticPod::parse(self.component, before.content.as_bytes())?;
        let after = match pod.permits_port_sharing() {
            true => before.clone(),
            false => before.with_content(String::from_utf8(pod.with_port_sharing())?),
        };
        Ok(Some((before, after)))
    }

    fn path(&self) -> String {
        self.site.node.manifests.file(self.component.manifest_file()).display().to_string()
    }

    /// A person has changed the manifest since the run began: neither direction may overwrite that.
    fn edited(&self) -> String {
        let (path, component) = (self.path(), self.component);
        format!(
            "{path} has been changed by somebody else since this run saved it; put back the copy of {component}'s \
             manifest from the archive, or finish by hand"
        )
    }

    /// The static server that is about to be restarted, if it listens.
    async fn old(&self, shared: bool) -> Result<Option<Process>, StepError> {
        let listeners = self.site.node.host.listeners(self.site.port(self.component)).await?;
        let old = listeners.into_iter().map(|listener| listener.process);
        Ok(old.filter(in_static_pod).find(|process| shares_its_port(process) != shared))
    }

    /// Waits until the kubelet has restarted the pod, and sees to it that this is short.
    async fn restarted(&self, cx: &Context, old: Option<Process>, shared: bool) -> Result<u32, StepError> {
        if let Some(old) = &old {
            self.drained(cx, old).await?;
            lease::give_back(&self.site, cx, self.component).await;
        }
        let with = if shared { "with" } else { "without" };
        let what = format!("the static {} to serve {with} port sharing", self.component);
        let the_one = |process: &_| in_static_pod(process) && shares_its_port(process) == shared;
        Ok(self.site.wait_served(cx, self.component, &what, the_one).await?.pid)
    }

    /// Waits until the old process is gone. An API server that was told to end stops listening at once and
    /// then waits for its watches, all of its pod's 30 s; nobody can connect meanwhile, and its successor
    /// starts only afterwards. So when it has finished its requests it is ended.
    async fn drained(&self, cx: &Context, old: &Process) -> Result<(), StepError> {
        let uid = old.pod_uid.as_deref().unwrap_or_default();
        let mut stopped_listening: Option<Instant> = None;
        let look = async || {
            let alive = self.site.node.host.pod_processes(uid).await?;
            if !alive.iter().any(|process| process.pid == old.pid) {
                return Ok(Seen::Ready(true));
            }
            let listeners = self.site.node.host.listeners(self.site.port(self.component)).await?;
            let listens = listeners.iter().any(|listener| listener.process.pid == old.pid);
            Ok(if listens {
                Seen::NotYet(format!("pid {} still listens", old.pid))
            } else {
                Seen::Ready(false)
            })
        };
        let what = format!("the kubelet to end the static {}", self.component);
        loop {
            if cx.wait(&what, self.site.patience.poll, look).await? {
                return Ok(());
            }
            let since = *stopped_listening.get_or_insert_with(Instant::now);
            if since.elapsed() >= self.site.patience.drain {
                self.site.node.host.end(old).await?;
            }
            tokio::time::sleep(self.site.patience.poll).await;
        }
    }
}

#[async_trait]
impl Step for SharePort {
    fn saves(&self) -> bool {
        true
    }

    async fn save(&self, _cx: &Context) -> Result<Vec<u8>, StepError> {
        let image = self.current()?.ok_or_else(|| StepError::fatal(format!("{} is gone", self.path())))?;
        Ok(serde_json::to_vec(&image)?)
    }

    async fn probe(&self, cx: &Context) -> Result<Finding, StepError> {
        let Some((before, after)) = self.both(cx)? else { return Ok(Finding::Absent) };
        let current = self.current()?;
        if current.as_ref() == Some(&after) {
            let the_one = |process: &_| in_static_pod(process) && shares_its_port(process);
            return Ok(match self.site.serves(self.component, the_one).await? {
                Seen::Ready(_) => Finding::Done,
                Seen::NotYet(seen) => Finding::Partial(format!("the manifest is there, but {seen}")),
            });
        }
        Ok(if current == Some(before) { Finding::Absent } else { Finding::Foreign(self.edited()) })
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let missing = || StepError::fatal("the manifest was not saved before it was to be changed");
        let (before, after) = self.both(cx)?.ok_or_else(missing)?;
        self.site.node.manifests.sweep(self.component.manifest_file())?;
        let old = self.old(true).await?;
        match self.current()? {
            Some(current) if current == after => {}
            Some(current) if current == before => self.write(&after)?,
            _ => return Err(StepError::fatal(self.edited())),
        }
        Ok(json!({ "pid": self.restarted(cx, old, true).await? }))
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        let Some((before, after)) = self.both(cx)? else { return Ok(()) };
        self.site.node.manifests.sweep(self.component.manifest_file())?;
        let shared = StaticPod::parse(self.component, before.content.as_bytes())?.permits_port_sharing();
        let old = self.old(shared).await?;
        match self.current()? {
            Some(current) if current == before => {}
            Some(current) if current == after => self.write(&before)?,
            None => self.write(&before)?,
            Some(_) => return Err(StepError::fatal(self.edited())),
        }
        self.restarted(cx, old, shared).await.map(|_| ())
    }
}
