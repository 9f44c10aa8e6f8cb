//! `retire-static/<c>`: the cut. Takes the static manifest away and waits until its process and its mirror
//! pod are gone. Undo: restores the manifest and waits until the pod serves, without asking the API: it may
//! be down, and this undo may bring it back. With `--handover steer` the steps `prepare-rollback/…` do that;
//! their undos come next.

use super::archive;
use super::create_daemonset::led_before;
use super::last_look::LastLook;
use super::lock;
use super::switch::Switch;
use crate::cluster::config_hash;
use crate::component::Component;
use crate::handover::drain::Drain;
use crate::handover::endpoints::while_held;
use crate::handover::lease;
use crate::handover::pair::{Pair, share_again};
use crate::handover::standby::Standby;
use crate::host::{FileImage, Steering};
use crate::look::answered;
use crate::manifest::StaticPod;
use crate::settings::HandoverMode;
use crate::site::{Site, in_api_pod, in_static_pod, shares_its_port};
use crate::step_name::StepKind;
use async_trait::async_trait;
use fulcrum_engine::state::Digest;
use fulcrum_engine::{Context, Pending, ProbeResult, Step, StepError};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::time::Instant;

pub(super) struct RetireStatic {
    pub(super) site: Arc<Site>,
    pub(super) component: Component,
    /// Whether the manifest is the standby, in a hand-over, and not the one that a pivot began with.
    pub(super) standby: bool,
}

impl RetireStatic {
    fn name(&self) -> &'static str {
        self.component.manifest_file()
    }

    fn saved(cx: &Context) -> Result<Option<FileImage>, StepError> {
        cx.pre_image().map(serde_json::from_slice).transpose().map_err(StepError::fatal)
    }

    fn steers(&self) -> bool {
        self.site.settings.handover == HandoverMode::Steer
    }

    /// Digest of the manifest that `share-port` left; with `--handover steer`, the archived one. If
    /// `share-port` was found done after a crash it has returned nothing. Then this is the digest of what it
    /// makes of the archived manifest.
    fn left_by_share_port(&self, cx: &Context) -> Result<Value, StepError> {
        if let Some(pivot) = self.site.settings.of_pivot.filter(|_| self.standby) {
            let standby = Standby::of(&self.site.state_dir, pivot).get(self.component)?;
            return Ok(json!(standby.map(|image| image.digest())));
        }
        let told = cx
            .output_value(StepKind::SharePort.of(self.component).id().as_str())
            .map(|output| output["manifest"].clone());
        if let Some(digest) = told.filter(|digest| !digest.is_null()) {
            return Ok(digest);
        }
        let archived = archive::read(&self.site, cx, self.component)?;
        if self.steers() {
            return Ok(json!(Digest::of(&archived)));
        }
        let pod = StaticPod::parse(self.component, &archived)?;
        let shared = if pod.permits_port_sharing() { archived } else { pod.with_port_sharing() };
        Ok(json!(Digest::of(&shared)))
    }

    fn edited(&self) -> String {
        format!(
            "{} has other content than this run left there: somebody else has changed it; put back what was \
             there, or roll back and pivot again with the change",
            self.site.node.manifests.file(self.name()).display()
        )
    }

    /// What is left of the static pod on the host, if anything.
    async fn left(&self) -> Result<Option<String>, StepError> {
        let listeners = self.site.node.host.listeners(self.site.port(self.component)).await?;
        let left = listeners.iter().find(|listener| in_static_pod(&listener.process));
        Ok(left.map(|listener| format!("its process {} still listens", listener.process.pid)))
    }

    /// The cluster must be able to spare this node's API server, should anything go wrong. A hand-over of the guard's does
    /// not ask: its static pods serve, and stay if it fails.
    fn last_look<'a>(&'a self, cx: &'a Context) -> Result<LastLook<'a>, StepError> {
        if self.standby {
            return Ok(LastLook::new(&self.site, cx, None));
        }
        let manifest = archive::read(&self.site, cx, Component::ApiServer)?;
        let server = StaticPod::parse(Component::ApiServer, &manifest)?;
        Ok(LastLook::new(&self.site, cx, Some(server)))
    }

    /// The DaemonSet's process answers now, and gets new connections.
    async fn successor_serves(&self, cx: &Context) -> Result<(), StepError> {
        let what = format!("the DaemonSet's {} to answer, before the static one goes", self.component);
        let began = Instant::now();
        cx.wait(&what, self.site.timeouts.poll, async || {
            match self.not_steered().await? {
                // An API server was restarted since: the kernel will not return to what it was told.
                Some(seen) if began.elapsed() > self.site.timeouts.settle => {
                    return Err(StepError::fatal(format!("{seen}; nothing was cut: pivot again")).into());
                }
                Some(seen) => return Err(Pending::NotYet(seen)),
                None => {}
            }
            let mark = self.site.unredirected(self.component);
            let served = self.site.serves(self.component, mark, in_api_pod).await;
            if let Err(Pending::NotYet(_)) = served {
                share_again(&self.site, cx, self.component).await?;
            }
            served.map(drop)
        })
        .await
    }

    /// What is wrong with how the kernel steers new connections, if anything.
    async fn not_steered(&self) -> Result<Option<String>, StepError> {
        if !self.steers() || self.component != Component::ApiServer {
            return Ok(None);
        }
        let pair = Pair::look(&self.site).await?;
        let steering = pair.steering(&self.site).await?;
        Ok(match (&pair.old, &pair.new, steering) {
            // It has gone by itself: no other server is left to get them.
            (None, Some(_), _) => None,
            (_, Some(new), Some(Steering::To { serving })) if serving == new.inode => None,
            (_, _, Some(steering)) => Some(format!("new connections are steered otherwise: {steering:?}")),
            (_, _, None) => Some("new connections are not steered".to_owned()),
        })
    }

    /// Waits for its process first. Its lease is given back then, and not only when the API has forgotten its
    /// mirror pod.
    async fn wait_gone(&self, cx: &Context, old: &Drain) -> Result<(), StepError> {
        let what = format!("the static {} to end", self.component);
        cx.wait(&what, self.site.timeouts.poll, async || {
            old.look(&self.site).await?;
            self.left().await?.map_or(Ok(()), |left| Err(Pending::NotYet(left)))
        })
        .await?;
        lease::give_back(&self.site, cx, self.component, led_before(cx, self.component)).await;
        let mirror = self.site.mirror_pod(self.component);
        let what = format!("static pod {mirror} to be gone");
        cx.wait(&what, self.site.timeouts.poll, async || {
            match answered(self.site.cluster.pod(&mirror).await)? {
                Some(pod) if config_hash(&pod).is_some() => {
                    Err(Pending::NotYet("its mirror pod is still there".to_owned()))
                }
                _ => Ok(()),
            }
        })
        .await
    }
}

#[async_trait]
impl Step for RetireStatic {
    fn saves(&self) -> bool {
        true
    }

    async fn save(&self, cx: &Context) -> Result<Vec<u8>, StepError> {
        let image = self.site.node.manifests.read(self.name())?;
        let image =
            image.ok_or_else(|| StepError::fatal(format!("{} is gone before the cut", self.name())))?;
        // An edit after `share-port` is not in the DaemonSet, and would go with the file.
        if json!(image.digest()) != self.left_by_share_port(cx)? {
            return Err(StepError::fatal(self.edited()));
        }
        Ok(serde_json::to_vec(&image).map_err(StepError::fatal)?)
    }

    async fn probe(&self, cx: &Context) -> Result<ProbeResult, StepError> {
        let saved = Self::saved(cx)?;
        match self.site.node.manifests.read(self.name())? {
            Some(current) if Some(&current) == saved.as_ref() => Ok(ProbeResult::Absent),
            Some(_) => Ok(ProbeResult::Foreign(self.edited())),
            None => Ok(match self.left().await? {
                None => ProbeResult::Done,
                Some(left) => ProbeResult::Partial(format!("the manifest is gone, but {left}")),
            }),
        }
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let manifests = &self.site.node.manifests;
        let there = manifests.read(self.name())?.is_some();
        let mut last_look = there.then(|| self.last_look(cx)).transpose()?;
        if let Some(last_look) = &mut last_look {
            // Before the moment of the cut is chosen: these may take a while.
            lock::still_ours(&self.site, cx).await?;
            last_look.others().await?;
            if self.steers() && self.component == Component::ApiServer {
                Switch { site: Arc::clone(&self.site) }.keep(cx).await?;
            }
        }
        let old = Drain::of(&self.site, self.component, in_static_pod, self.site.timeouts.drain).await?;
        if let Some(last_look) = &mut last_look {
            if led_before(cx, self.component).is_some() {
                lease::await_candidate(&self.site, cx, self.component).await;
            }
            self.successor_serves(cx).await?;
            while !last_look.holds().await? {
                last_look.others().await?;
                self.successor_serves(cx).await?;
            }
        }
        // An edit meanwhile is noticed here.
        let cut = match manifests.read(self.name())? {
            Some(current) if Some(&current) == Self::saved(cx)?.as_ref() => true,
            Some(_) => return Err(StepError::fatal(self.edited())),
            None => false,
        };
        while_held(&self.site, self.component, async {
            if cut {
                old.hold_back(&self.site, self.component).await;
                manifests.set_aside(self.name())?;
            }
            self.wait_gone(cx, &old).await
        })
        .await?;
        manifests.record(self.name(), Self::saved(cx)?.as_ref(), None);
        Ok(Value::Null)
    }

    async fn output(&self, cx: &Context) -> Result<Value, StepError> {
        self.site.node.manifests.record(self.name(), Self::saved(cx)?.as_ref(), None);
        Ok(Value::Null)
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        let left_to_others = self.steers() && !self.standby;
        let Some(saved) = Self::saved(cx)?.filter(|_| !left_to_others) else { return Ok(()) };
        self.site.node.manifests.sweep(self.name())?;
        match self.site.node.manifests.read(self.name())? {
            None => self.site.node.manifests.write(self.name(), &saved)?,
            Some(current) if current == saved => self.site.node.manifests.record_found(self.name(), &saved),
            // The guard has put it there, after this pivot had completed.
            Some(current) if Standby::of(&self.site.state_dir, cx.run()).is(self.component, &current)? => {
                self.site.node.manifests.write(self.name(), &saved)?;
            }
            Some(_) => return Err(StepError::fatal(self.edited())),
        }
        let pod = StaticPod::parse(self.component, saved.content.as_bytes())?;
        let shared = pod.permits_port_sharing();
        let what = format!("the static {} to serve again", self.component);
        let the_one = |process: &_| in_static_pod(process) && shares_its_port(process) == shared;
        // Beside the DaemonSet's server. Which of the two gets new connections, `switch` takes back next.
        let steered = self.steers() && self.component == Component::ApiServer;
        let look = async || {
            let mark = match steered {
                true => Some(Pair::look(&self.site).await?.mark_of_old(&self.site).await?),
                false => self.site.unredirected(self.component),
            };
            self.site.serves(self.component, mark, the_one).await.map(drop)
        };
        cx.wait(&what, self.site.timeouts.poll, look).await
    }
}
