//! `raise-bridge`, `lower-bridge`: a third API server on a second port, which serves while the real port
//! changes hands. The way back raises it if it can: a way back with a gap is better than none.

use super::archive;
use super::job::BridgeAct;
use crate::cluster::config_hash;
use crate::component::Component;
use crate::handover::bridge::BRIDGE_FILE;
use crate::handover::drain::Drain;
use crate::handover::pair::is_cut;
use crate::host::{FileImage, RedirectState};
use crate::look::{answered, once};
use crate::manifest::{BRIDGE, StaticPod};
use crate::settings::HandoverMode;
use crate::site::{Site, in_static_pod};
use async_trait::async_trait;
use fulcrum_engine::{Context, Pending, ProbeResult, Step, StepError};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

const API: Component = Component::ApiServer;

pub(super) struct Bridge {
    pub(super) site: Arc<Site>,
    pub(super) forward: Option<BridgeAct>,
    pub(super) back: Option<BridgeAct>,
}

impl Bridge {
    /// The manifest that the bridge is made from.
    fn original(cx: &Context) -> Result<Option<FileImage>, StepError> {
        cx.pre_image().map(serde_json::from_slice).transpose().map_err(StepError::fatal)
    }

    /// Prepares what the undo will need. Returns that it is there, or that there will be a gap.
    async fn prepare(&self, cx: &Context) -> Result<Value, StepError> {
        let missing = || StepError::fatal("the manifest was not saved");
        let original = Self::original(cx)?.ok_or_else(missing)?;
        let pod = StaticPod::parse(API, original.content.as_bytes())?;
        let port = self.site.free_port().await?;
        StaticPod::parse(API, &pod.bridge(port))?;
        Ok(match self.site.node.host.redirect_support().await {
            Ok(()) => json!({ "bridge": BRIDGE_FILE, "port": port }),
            Err(error) => {
                cx.note(format!("the exact way back will have a gap: {error}"));
                json!({ "gap": error.to_string() })
            }
        })
    }

    async fn raise(&self, cx: &Context, original: &FileImage) -> Result<u16, StepError> {
        let manifests = &self.site.node.manifests;
        manifests.sweep(BRIDGE_FILE)?;
        let port = match self.site.bridge_port()? {
            Some(port) => port,
            None => {
                let port = self.site.free_port().await?;
                let pod = StaticPod::parse(API, original.content.as_bytes())?;
                let bridge = String::from_utf8(pod.bridge(port)).map_err(StepError::fatal)?;
                manifests.write(BRIDGE_FILE, &original.with_content(bridge))?;
                port
            }
        };
        let what = format!("{BRIDGE} to serve on port {port}");
        cx.wait(&what, self.site.timeouts.poll, async || self.site.bridge_serves(port).await).await?;
        Ok(port)
    }

    /// Why the way back raises no bridge, if there is a reason.
    async fn needless(&self, cx: &Context) -> Result<Option<String>, StepError> {
        if !is_cut(&self.site, cx.run(), API)? {
            return Ok(Some("the static API server has not been cut".to_owned()));
        }
        if self.site.keeps_port_sharing() && self.site.settings.handover == HandoverMode::Steer {
            return Ok(Some(
                "the static API server will share the port: there is nothing to bridge".to_owned(),
            ));
        }
        if let Err(error) = self.site.node.host.redirect_support().await {
            return Ok(Some(format!("the way back has a gap: {error}")));
        }
        let began = Instant::now();
        cx.wait("an API server to answer", self.site.timeouts.poll, async || {
            match self.site.api_serves().await {
                Ok(()) => Ok(None),
                Err(seen) if began.elapsed() < self.site.timeouts.api => Err(Pending::NotYet(seen)),
                Err(seen) => Ok(Some(format!("there is nothing to bridge: {seen}"))),
            }
        })
        .await
    }

    async fn raise_for_the_way_back(&self, cx: &Context) -> Result<(), StepError> {
        let Some(original) = Self::original(cx)? else { return Ok(()) };
        if let Some(why) = self.needless(cx).await? {
            cx.note(why);
            return Ok(());
        }
        let raised = timeout(self.site.timeouts.bridge, self.raise(cx, &original)).await;
        let why = match raised {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it did not serve within {:?}", self.site.timeouts.bridge),
        };
        if timeout(Duration::ZERO, cx.stopped()).await.is_ok() {
            return Err(StepError::stopped());
        }
        tracing::warn!("{BRIDGE} was not raised, and the way back has a gap: {why}");
        cx.note(format!("going on without {BRIDGE}: {why}"));
        Ok(self.site.node.manifests.remove(BRIDGE_FILE)?)
    }

    /// Removes the redirect's rules first, then the bridge. Removes the redirect's table once no client is
    /// connected to the bridge any more: without the table those connections would be reset.
    async fn lower(&self, cx: &Context) -> Result<(), StepError> {
        let (host, manifests) = (&self.site.node.host, &self.site.node.manifests);
        manifests.sweep(BRIDGE_FILE)?;
        let state = self.site.redirect_state().await?;
        if state == RedirectState::Active {
            self.site.end_redirect().await?;
        }
        let port = self.site.bridge_port()?;
        if port.is_none() && state == RedirectState::Absent && manifests.read(BRIDGE_FILE)?.is_none() {
            return Ok(());
        }
        let old = match port {
            Some(port) => Drain::at(&self.site, port, in_static_pod, self.site.timeouts.drain).await?,
            None => Drain::none(),
        };
        old.hold_back(&self.site, API).await;
        manifests.remove(BRIDGE_FILE)?;
        cx.wait(&format!("{BRIDGE} to end"), self.site.timeouts.poll, async || old.look(&self.site).await)
            .await?;
        self.wait_forgotten(cx).await?;
        if state != RedirectState::Absent {
            host.forget_redirect().await?;
        }
        Ok(())
    }

    /// Waits until the mirror pod has gone, which goes after the pod's last process. This also holds when an
    /// earlier attempt had told the pod to go. With the API down there is no mirror pod to see, and no client
    /// is connected.
    async fn wait_forgotten(&self, cx: &Context) -> Result<(), StepError> {
        let mirror = format!("{BRIDGE}-{}", self.site.settings.node);
        let began = Instant::now();
        cx.wait(&format!("static pod {mirror} to be gone"), self.site.timeouts.poll, async || {
            match once(answered(self.site.cluster.pod(&mirror).await))? {
                Ok(Some(pod)) if config_hash(&pod).is_some() => {
                    Err(Pending::NotYet("its mirror pod is still there".to_owned()))
                }
                Err(seen) if began.elapsed() < self.site.timeouts.api => Err(Pending::NotYet(seen)),
                _ => Ok(()),
            }
        })
        .await
    }
}

#[async_trait]
impl Step for Bridge {
    fn saves(&self) -> bool {
        true
    }

    async fn save(&self, cx: &Context) -> Result<Vec<u8>, StepError> {
        Ok(serde_json::to_vec(&archive::image(&self.site, cx, API)?).map_err(StepError::fatal)?)
    }

    async fn probe(&self, cx: &Context) -> Result<ProbeResult, StepError> {
        let port = self.site.bridge_port()?;
        Ok(match (self.forward, port) {
            // A look prepares.
            (None, _) => ProbeResult::Absent,
            // Its purpose is over: the DaemonSet's process serves alone.
            (Some(BridgeAct::Raise), _) if is_cut(&self.site, cx.run(), API)? => ProbeResult::Done,
            (Some(BridgeAct::Raise), None) => ProbeResult::Absent,
            (Some(BridgeAct::Raise), Some(port)) => match once(self.site.bridge_serves(port).await)? {
                Ok(_) => ProbeResult::Done,
                Err(seen) => ProbeResult::Partial(seen),
            },
            (Some(BridgeAct::Lower), _) => ProbeResult::Absent,
        })
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        match self.forward {
            None => self.prepare(cx).await,
            Some(BridgeAct::Raise) => {
                let missing = || StepError::fatal("the manifest was not saved");
                let original = Self::original(cx)?.ok_or_else(missing)?;
                Ok(json!({ "bridge": BRIDGE_FILE, "port": self.raise(cx, &original).await? }))
            }
            Some(BridgeAct::Lower) => self.lower(cx).await.map(|()| Value::Null),
        }
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        match self.back {
            None => Ok(()),
            Some(BridgeAct::Raise) => self.raise_for_the_way_back(cx).await,
            Some(BridgeAct::Lower) => self.lower(cx).await,
        }
    }
}
