//! Takes this node's pods of a DaemonSet away, and with the last node the DaemonSet. The undo of `create-daemonset` does
//! this, and before it the step that frees the port for the static pod.

use super::drain::Drain;
use super::endpoints::while_held;
use super::hold_back::HoldBack;
use super::pair::Pair;
use crate::change;
use crate::cluster::{
    Cluster, Lock, LockError, OPT_IN_LABEL, RUN_ANNOTATION, is_of_a_node_that_has_gone, is_of_node, node_of,
};
use crate::component::Component;
use crate::host::{Process, Question};
use crate::look::answered;
use crate::settings::HandoverMode;
use crate::site::{Site, in_api_pod};
use crate::step_name::StepKind;
use fulcrum_engine::{Context, Look, Pending, StepError};
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::time::{Instant, sleep, timeout};

/// Which DaemonSet is meant. Another one of the same name is not touched.
enum Owner {
    /// The one that this run has made: the run at work, or another node's that made what this one has found.
    Run(String),
    /// The object with this uid, of whatever making.
    Object(String),
}

impl Owner {
    fn has(&self, daemonset: &Value) -> bool {
        match self {
            Self::Run(run) => made_by(daemonset).as_ref() == Some(run),
            Self::Object(uid) => daemonset["metadata"]["uid"] == uid.as_str(),
        }
    }
}

/// The DaemonSet that runs a component on this node for a run.
pub(crate) struct Removal<'a> {
    site: &'a Site,
    component: Component,
    /// The lock, as this run holds it.
    lock: Lock,
    owner: Owner,
    /// Whether this run was seen to have the lock. It then keeps it: a run lets go at its end.
    locked: AtomicBool,
    /// Whether the API answered at the last look, and yet nobody could be told to go.
    waits: AtomicBool,
    /// Whether this node's API server is seen off by a removal of its own, side by side with this one.
    api_first: bool,
    began: Instant,
    /// When clients were held back, and whether they are still.
    held: Mutex<Option<(Instant, Option<HoldBack>)>>,
}

impl<'a> Removal<'a> {
    /// For the run that `cx` works on. `maker` is the run that made the DaemonSet, if the caller knows it; otherwise
    /// `create-daemonset` has noted it.
    pub(crate) fn new(site: &'a Site, component: Component, cx: &Context, maker: Option<String>) -> Self {
        let noted = || {
            let output = cx.output_value(StepKind::CreateDaemonset.of(component).id().as_str())?;
            output[MADE_BY].as_str().map(str::to_owned)
        };
        let maker = maker.or_else(noted).unwrap_or_else(|| cx.run().to_string());
        Self::owned(site, component, cx, Owner::Run(maker))
    }

    /// For the DaemonSet with this uid, whoever has made it.
    pub(crate) fn of_object(site: &'a Site, component: Component, cx: &Context, uid: &str) -> Self {
        Self::owned(site, component, cx, Owner::Object(uid.to_owned()))
    }

    fn owned(site: &'a Site, component: Component, cx: &Context, owner: Owner) -> Self {
        Self {
            site,
            component,
            lock: Lock::of(&site.settings.node, cx.run()),
            owner,
            locked: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            api_first: false,
            began: Instant::now(),
            held: Mutex::default(),
        }
    }

    /// The API server's pod goes by a removal of its own. Where the label is taken away, all three go at once: this one
    /// then waits until the API server's clients are seen off.
    #[must_use]
    pub(crate) fn after_the_api(self, api_first: bool) -> Self {
        Self { api_first, ..self }
    }

    /// Tells this node's pods to go. Returns `false` if the DaemonSet belongs to another owner by now: it stays.
    /// To be repeated until they have gone, as the DaemonSet's controller may be making another pod just now. The
    /// pods are told by name as well: the controller manager may be starting just now.
    ///
    /// The last node deletes the DaemonSet. Where other nodes run on it, this node's label is taken away. Which of
    /// the two it is can only be told under the lock.
    ///
    /// Everything is found out first. Then clients are held back, and then come the calls that end.
    pub(crate) async fn tell(&self) -> Look<bool> {
        self.waits.store(false, Ordering::Relaxed);
        let name = self.component.daemonset_name();
        let live = answered(self.site.cluster.daemonset(name).await)?;
        let mut others = false;
        let mut labelled = false;
        if let Some(live) = &live {
            if !self.owner.has(live) {
                // It may be the one of other nodes by now, and none of this node's matter.
                return Ok(self.pods().await?.is_empty() && self.listener().await?.is_none());
            }
            self.hold_the_lock().await?;
            let users = users(self.site).await?;
            others = users.iter().any(|node| *node != self.site.settings.node);
            labelled = users.contains(&self.site.settings.node);
            if others {
                self.let_the_api_go_first().await?;
            }
        }
        let mut pods = self.pods().await?;
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        let cluster = match live {
            Some(_) if others && labelled => self.leave().await?,
            Some(live) if !others => {
                let cluster = self.hold_back_own().await?;
                let uid = live["metadata"]["uid"].as_str().unwrap_or_default();
                answered(cluster.delete_daemonset(name, uid).await)?;
                change::record(change::object("DaemonSet", Some(&live), None));
                cluster
            }
            _ if pods.is_empty() => return Ok(true),
            _ => self.hold_back_own().await?,
        };
        for pod in &pods {
            let (Some(name), Some(uid)) = (&pod.metadata.name, &pod.metadata.uid) else { continue };
            answered(cluster.delete_pod(name, uid).await)?;
            change::record(change::object("Pod", serde_json::to_value(pod).ok().as_ref(), None));
        }
        Ok(true)
    }

    /// Takes this node's label away: other nodes run on the DaemonSet. The label is that of all three components. If
    /// this node's API server was not cut yet, it goes with the label of another component: its clients are seen off
    /// here then.
    async fn leave(&self) -> Look<Cluster> {
        if self.component == Component::ApiServer || self.api_server().await?.is_none() {
            let cluster = self.hold_back().await?;
            return self.take_the_label(cluster).await;
        }
        self.prefer_the_static_one().await?;
        while_held(self.site, Component::ApiServer, async {
            let cluster = self.hold_back().await?;
            let taken = self.take_the_label(cluster).await;
            let gone = async {
                while taken.is_ok() && self.api_server().await?.is_some() {
                    sleep(self.site.timeouts.poll).await;
                }
                Ok::<(), StepError>(())
            };
            // The rest of the way back sees whether it has gone. Here it is the endpoints that are held for it.
            timeout(self.site.timeouts.hold_most, gone).await.unwrap_or(Ok(()))?;
            self.seen_off().await;
            Ok(taken)
        })
        .await?
    }

    async fn take_the_label(&self, cluster: Cluster) -> Look<Cluster> {
        let node = &self.site.settings.node;
        answered(cluster.label_node(node, OPT_IN_LABEL, None).await)?;
        change::record_label(node, OPT_IN_LABEL, Some(""), None);
        Ok(cluster)
    }

    /// The static API server, which listens beside the other one still, gets the new connections.
    async fn prefer_the_static_one(&self) -> Result<(), StepError> {
        if self.site.settings.handover != HandoverMode::Steer {
            return Ok(());
        }
        let pair = Pair::look(self.site).await?;
        if let (Some(old), Some(_)) = (&pair.old, &pair.new) {
            pair.steer(self.site, pair.prefer(old)).await?;
            // Connections that are being set up arrive where they were sent.
            sleep(self.site.timeouts.handshake).await;
        }
        Ok(())
    }

    /// Holds back what clients send to this node's API server, if that is about to be told to go. Not again while it
    /// is held back, nor right after that: a request then gets its answer in between. Returns the way for the calls that
    /// end, which is not held back.
    async fn hold_back(&self) -> Result<Cluster, StepError> {
        let cluster = self.site.cluster.newly_connected().await;
        let process = self.api_server().await?;
        let since = |held: &(Instant, Option<HoldBack>)| held.0.elapsed();
        let again = self.site.timeouts.hold_most + self.site.timeouts.hold;
        if process.is_none() || locked(&self.held).as_ref().is_some_and(|held| since(held) < again) {
            return Ok(cluster);
        }
        let port = self.site.port(Component::ApiServer);
        let held = HoldBack::begin(self.site, Component::ApiServer, process.as_ref(), port).await;
        *locked(&self.held) = Some((Instant::now(), held));
        Ok(cluster)
    }

    /// As [`Removal::hold_back`], if this removal is the API server's.
    async fn hold_back_own(&self) -> Result<Cluster, StepError> {
        if self.component == Component::ApiServer {
            self.hold_back().await
        } else {
            Ok(self.site.cluster.clone())
        }
    }

    /// This node's API server no longer listens: it tells its clients in this moment.
    pub(crate) async fn seen_off(&self) {
        let held = locked(&self.held).as_mut().and_then(|(_, held)| held.take());
        if let Some(held) = held {
            held.end().await;
        }
    }

    /// The API server of the DaemonSet on this node, if it listens.
    async fn api_server(&self) -> Result<Option<Process>, StepError> {
        let listeners = self.site.node.host.listeners(self.site.port(Component::ApiServer)).await?;
        Ok(listeners.into_iter().map(|listener| listener.process).find(in_api_pod))
    }

    /// A rollback that began without an API may not have the lock yet.
    async fn hold_the_lock(&self) -> Look<()> {
        if self.locked.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut taken = self.lock.take(&self.site.cluster).await;
        if let Err(LockError::Held { holder }) = &taken {
            let (holder, cluster) = (holder.clone(), &self.site.cluster);
            // A run on this very node, which nobody goes on with: this run has the journal to itself.
            let is_own = node_of(&holder) == self.site.settings.node;
            if is_own || is_of_a_node_that_has_gone(cluster, &holder).await {
                taken = self.lock.take_from(cluster, &holder).await;
            }
        }
        self.waits.store(matches!(taken, Err(LockError::Held { .. })), Ordering::Relaxed);
        match taken {
            Ok(()) => {
                self.locked.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(LockError::Cluster(error)) if !error.is_conflict() => answered(Err(error)),
            Err(error) => Err(Pending::NotYet(error.to_string())),
        }
    }

    /// Waits, but not for ever, for the removal of the API server's pod.
    async fn let_the_api_go_first(&self) -> Look<()> {
        let site = self.site;
        let waits = self.api_first && self.component != Component::ApiServer;
        if !waits || self.began.elapsed() >= site.timeouts.bridge {
            return Ok(());
        }
        let listeners = site.node.host.listeners(site.port(Component::ApiServer)).await?;
        if !listeners.iter().any(|listener| in_api_pod(&listener.process)) {
            return Ok(());
        }
        self.waits.store(true, Ordering::Relaxed);
        Err(Pending::NotYet(
            "the API server's pod goes first: the label that is taken away is that of all".to_owned(),
        ))
    }

    /// Whether the API answers, and yet nobody could be told to go: another run has the lock, or the API server's pod
    /// goes first.
    pub(crate) fn must_wait(&self) -> bool {
        self.waits.load(Ordering::Relaxed)
    }

    /// The DaemonSet's pods that are on this node, or meant for it.
    async fn pods(&self) -> Look<Vec<Pod>> {
        let mut pods = answered(self.site.cluster.pods_labelled(&Site::pod_labels(self.component)).await)?;
        pods.retain(|pod| is_of_node(pod, &self.site.settings.node));
        Ok(pods)
    }

    /// The DaemonSet's process, to be drained, even if it no longer listens.
    pub(crate) async fn drain(&self) -> Look<Drain> {
        let drain = Drain::of(self.site, self.component, in_api_pod, self.site.timeouts.drain).await?;
        if drain.is_some() {
            return Ok(drain);
        }
        let pods = self.pods().await?;
        for uid in pods.iter().filter_map(|pod| pod.metadata.uid.as_deref()) {
            let processes = self.site.node.host.pod_processes(uid).await?;
            if let Some(process) = processes.into_iter().find(|process| runs(self.component, process)) {
                return Ok(drain.or(Some(process)));
            }
        }
        Ok(drain)
    }

    /// Waits until the pods are gone, and with them the last process.
    pub(crate) async fn wait_gone(&self, cx: &Context, old: &Drain) -> Result<(), StepError> {
        let what = format!("the pods of DaemonSet {} to be gone", self.component.daemonset_name());
        cx.wait(&what, self.site.timeouts.poll, async || {
            self.tell().await?;
            old.look(self.site).await?;
            let pods = self.pods().await?;
            if !pods.is_empty() {
                let names: Vec<&str> = pods.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
                return Err(Pending::NotYet(format!("{} still there", names.join(", "))));
            }
            self.listener().await?.map_or(Ok(()), |process| still_listens(&process))
        })
        .await
    }

    /// Ends the DaemonSet's process if it holds the port and does not answer as it should.
    pub(crate) async fn end_if_it_does_not_serve(&self) -> Result<(), StepError> {
        let (site, component) = (self.site, self.component);
        let Some(process) = self.listener().await? else { return Ok(()) };
        let question = Question { mark: site.unredirected(component), ..site.question(component) };
        match site.node.host.ask(&question).await {
            Ok(answer) if answer.status == 200 => Ok(()),
            _ => Ok(site.node.host.end(&process).await?),
        }
    }

    /// The DaemonSet's process that listens, if one does.
    pub(crate) async fn listener(&self) -> Result<Option<Process>, StepError> {
        let listeners = self.site.node.host.listeners(self.site.port(self.component)).await?;
        Ok(listeners.into_iter().map(|listener| listener.process).find(in_api_pod))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn still_listens<T>(process: &Process) -> Look<T> {
    Err(Pending::NotYet(format!("pid {} still listens", process.pid)))
}

/// In the output of `create-daemonset`: the run that made the DaemonSet.
pub(crate) const MADE_BY: &str = "made_by";

/// The control-plane nodes on which the DaemonSets run.
pub(crate) async fn users(site: &Site) -> Look<Vec<String>> {
    let both = format!("{OPT_IN_LABEL},{}", site.settings.role_label);
    answered(site.cluster.nodes_labelled(&both).await)
}

/// The run that made a DaemonSet. `None` if fulcrum did not.
pub(crate) fn made_by(daemonset: &Value) -> Option<String> {
    daemonset["metadata"]["annotations"][RUN_ANNOTATION].as_str().map(str::to_owned)
}

/// Whether the process is the component's, and not its pod's sandbox.
fn runs(component: Component, process: &Process) -> bool {
    process.command.iter().any(|word| word.rsplit('/').next() == Some(component.name()))
}
