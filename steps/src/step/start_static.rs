//! `start-static/<c>`: starts a static pod beside the DaemonSet's pod that serves, and has clients served by it. Undo:
//! has them served by the DaemonSet's pod again, and takes the manifest away.
//!
//! The static pod shares its port. If the DaemonSet's process does not, its live listener is made shareable, as a
//! pivot does with that of a static pod.

use crate::component::Component;
use crate::handover::beside::{prefer_daemonsets, prefer_static, steer_to_static};
use crate::handover::drain::{Drain, arrivals};
use crate::handover::endpoints::while_held;
use crate::handover::lease;
use crate::handover::pair::{Pair, gone, settled};
use crate::host::{FileImage, HostError, Listener, MARK_NEWCOMER};
use crate::look::once;
use crate::site::{Site, in_api_pod, in_static_pod, shares_its_port};
use async_trait::async_trait;
use fulcrum_engine::{Context, Look, Pending, ProbeResult, Step, StepError};
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use tokio::time::timeout;

/// The mode of kubeadm's manifests: they may have secrets in their words.
const MODE: u32 = 0o600;

pub(super) struct StartStatic {
    pub(super) site: Arc<Site>,
    pub(super) component: Component,
    pub(super) manifest: String,
    /// Whether the DaemonSet's process shares its port by itself.
    pub(super) shares: bool,
}

impl StartStatic {
    fn name(&self) -> &'static str {
        self.component.manifest_file()
    }

    fn is_api(&self) -> bool {
        self.component == Component::ApiServer
    }

    /// The manifest's file, of the owner of its directory.
    fn image(&self) -> Result<FileImage, StepError> {
        let dir = std::fs::metadata(self.site.node.manifests.path())?;
        Ok(FileImage { content: self.manifest.clone(), mode: MODE, uid: dir.uid(), gid: dir.gid() })
    }

    /// Whether the manifest is there. Another one is somebody else's.
    fn is_there(&self) -> Result<bool, StepError> {
        match self.site.node.manifests.read(self.name())? {
            None => Ok(false),
            Some(image) if image.content == self.manifest => Ok(true),
            Some(_) => Err(StepError::fatal(format!(
                "{} is there, and is not what this run has shown: somebody else has put it there; take it away, or put \
                 back what this run wrote",
                self.site.node.manifests.file(self.name()).display()
            ))),
        }
    }

    async fn listening(&self, of_static: bool) -> Result<Option<Listener>, HostError> {
        let all = self.site.node.host.listeners(self.site.port(self.component)).await?;
        let is_it = |one: &Listener| match of_static {
            true => in_static_pod(&one.process),
            false => in_api_pod(&one.process),
        };
        Ok(all.into_iter().rfind(is_it))
    }

    /// Lets the static process listen beside the DaemonSet's, which keeps all traffic.
    async fn make_room(&self, cx: &Context) -> Result<(), StepError> {
        let what = format!("the listener of the DaemonSet's {} to be shared", self.component);
        cx.wait(&what, self.site.timeouts.poll, async || match self.listening(false).await? {
            Some(found) => settled(self.site.node.host.share(&found).await),
            None => Err(Pending::NotYet("it does not listen".to_owned())),
        })
        .await?;
        if self.is_api() { prefer_daemonsets(&self.site, cx).await } else { Ok(()) }
    }

    /// The DaemonSet's process serves clients again, before the static one goes.
    async fn give_back(&self, cx: &Context) -> Result<(), StepError> {
        let (site, component) = (&self.site, self.component);
        if once(site.serves(component, None, in_api_pod).await)?.is_err() {
            let mark = self.is_api().then_some(MARK_NEWCOMER);
            if self.is_api() {
                prefer_static(site, cx).await?;
            }
            let what = format!("the DaemonSet's {component} to serve beside the static one");
            site.wait_served(cx, component, &what, mark, in_api_pod).await?;
        }
        if !self.is_api() {
            return Ok(());
        }
        prefer_daemonsets(site, cx).await?;
        let what = "the DaemonSet's kube-apiserver to take new connections";
        site.wait_served(cx, component, what, None, in_api_pod).await?;
        arrivals(site, cx).await;
        Ok(())
    }

    /// Takes the manifest away, and waits until its process has ended.
    async fn retire(&self, cx: &Context) -> Result<(), StepError> {
        let (site, component) = (&self.site, self.component);
        let leader = lease::leader(site, cx, component);
        // Without it, only time is lost.
        let leader = timeout(site.timeouts.api, leader).await.ok().transpose()?.flatten();
        let old = Drain::of(site, component, in_static_pod, site.timeouts.drain).await?;
        let what = format!("the static {component} to end");
        while_held(site, component, async {
            if self.shares {
                old.hold_back(site, component).await;
            }
            site.node.manifests.remove(self.name())?;
            cx.wait(&what, site.timeouts.poll, async || self.has_ended(&old).await).await
        })
        .await?;
        if leader.is_some() {
            lease::give_back(site, cx, component, leader.as_deref()).await;
        }
        Ok(())
    }

    async fn has_ended(&self, old: &Drain) -> Look<()> {
        old.look(&self.site).await?;
        match self.listening(true).await? {
            None => Ok(()),
            Some(one) => Err(Pending::NotYet(format!("pid {} still listens", one.process.pid))),
        }
    }

    /// Makes the listener that was found as it was.
    async fn unshare(&self) -> Result<(), StepError> {
        let Some(found) = self.listening(false).await? else { return Ok(()) };
        if shares_its_port(&found.process) || !self.site.node.host.is_shared(&found).await? {
            return Ok(());
        }
        if self.is_api() {
            gone(Pair::look(&self.site).await?.unsteer(&self.site).await)?;
        }
        Ok(gone(self.site.node.host.unshare(&found).await)?)
    }
}

#[async_trait]
impl Step for StartStatic {
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let there = self.is_there()?;
        // After a crash the DaemonSet's pod may be going already, or have gone.
        let serves = there && once(self.site.serves(self.component, None, in_static_pod).await)?.is_ok();
        if !there || !serves && self.listening(false).await?.is_some() {
            self.make_room(cx).await?;
        }
        let (manifests, image) = (&self.site.node.manifests, self.image()?);
        manifests.sweep(self.name())?;
        match there {
            true => manifests.record_found(self.name(), &image),
            false => manifests.write(self.name(), &image)?,
        }
        let process = steer_to_static(&self.site, cx, self.component).await?;
        Ok(json!({ "pid": process.pid, "manifest": image.digest() }))
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        self.site.node.manifests.sweep(self.name())?;
        // Without a shared port the DaemonSet's process listens only once the static one is gone, unless it
        // has been there all the while.
        let beside = self.shares || self.listening(false).await?.is_some();
        if self.is_there()? && beside {
            self.give_back(cx).await?;
        }
        self.retire(cx).await?;
        if !beside {
            let what = format!("the DaemonSet's {} to serve", self.component);
            self.site.wait_served(cx, self.component, &what, None, in_api_pod).await?;
        }
        self.unshare().await
    }
}
