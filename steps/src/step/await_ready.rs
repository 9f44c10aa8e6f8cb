//! `await-ready/<c>`: the process in the DaemonSet's pod answers that it is ready.
//!
//! The kubelet's probes prove nothing while two servers share the port: either may have answered. Where the
//! kernel steers connections, it is always the old one. After a reboot the API still says Ready for a while
//! although nothing runs. So the host decides, by the question that readiness asks (`/readyz` of the API
//! server). It does not wait for the kubelet, which with kubeadm's probes begins to ask after 10 s and asks
//! every 10 s. `verify` checks what the kubelet thinks of the pods.
//!
//! The pod must be one that stays: in a roll-out of the DaemonSet the step waits for the pod that comes of it.

use crate::cluster::{failing, has_restarted, is_going, is_of_node, pod_story, unschedulable};
use crate::component::Component;
use crate::handover::lasting::lasting_pod;
use crate::handover::pair::share_again;
use crate::handover::stand_still::StandStill;
use crate::host::{MARK_NEWCOMER, Process};
use crate::look::{answered, once};
use crate::settings::HandoverMode;
use crate::site::{Site, in_api_pod};
use async_trait::async_trait;
use fulcrum_engine::{Context, Look, Pending, ProbeResult, Step, StepError};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

pub(super) struct AwaitReady {
    pub(super) site: Arc<Site>,
    pub(super) component: Component,
}

/// The last words of pods that have failed, by uid and restarts: each is read once.
type LastWords = BTreeMap<(String, i32), String>;

impl AwaitReady {
    /// With `mend`, mends what keeps the pod from listening, if it can be mended.
    async fn look(&self, mend: Option<&Context>) -> Look<Value> {
        let labels = Site::pod_labels(self.component);
        let pods = answered(self.site.cluster.pods_on(&self.site.settings.node, &labels).await)?;
        // A pod that is being deleted serves until it is told to end.
        let the_one = |process: &Process| {
            let serving = |pod: &Pod| pod.metadata.uid == process.pod_uid && !is_going(pod);
            in_api_pod(process) && pods.iter().any(serving)
        };
        match once(self.site.serves(self.component, self.mark(), the_one).await)? {
            Ok(process) => self.lasts(&process).await,
            Err(seen) => {
                if let Some(cx) = mend.filter(|_| pods.iter().any(has_restarted)) {
                    share_again(&self.site, cx, self.component).await?;
                }
                Err(Pending::NotYet(format!("{}; {seen}", self.story(&pods).await?)))
            }
        }
    }

    /// Whether the pod of this process, which serves, stays.
    async fn lasts(&self, process: &Process) -> Look<Value> {
        match lasting_pod(&self.site, self.component).await? {
            Ok(pod) if pod.metadata.uid == process.pod_uid => {
                Ok(json!({ "pod": pod.metadata.name, "uid": process.pod_uid, "pid": process.pid }))
            }
            Ok(pod) => Err(Pending::NotYet(format!("{}, and another pod's process serves", pod_story(&pod)))),
            Err(seen) => Err(Pending::NotYet(seen)),
        }
    }

    /// Only the API server is lined up, or behind a bridge. The others answer as the kernel picks them.
    fn mark(&self) -> Option<u32> {
        let lined_up =
            self.site.settings.handover == HandoverMode::Steer && self.component == Component::ApiServer;
        if lined_up { Some(MARK_NEWCOMER) } else { self.site.unredirected(self.component) }
    }

    /// The DaemonSet's pods for this node that are on no node yet.
    async fn unbound(&self) -> Result<Vec<Pod>, StepError> {
        let labels = Site::pod_labels(self.component);
        let pods = once(answered(self.site.cluster.pods_labelled(&labels).await))?.unwrap_or_default();
        let bound = |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
        let node = &self.site.settings.node;
        let waits = |pod: &Pod| !bound(pod) && !is_going(pod) && is_of_node(pod, node);
        Ok(pods.into_iter().filter(waits).collect())
    }

    /// Refuses a pod that the scheduler has found no node for, for so long: nothing that a pivot does makes
    /// room.
    async fn refuse_unschedulable(&self, since: &Mutex<Option<Instant>>) -> Result<(), StepError> {
        let waiting = self.unbound().await?;
        let mut since = since.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((pod, why)) = waiting.iter().find_map(|pod| Some((pod, unschedulable(pod)?))) else {
            *since = None;
            return Ok(());
        };
        let limit = self.site.timeouts.unschedulable;
        if since.get_or_insert_with(Instant::now).elapsed() < limit {
            return Ok(());
        }
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        Err(StepError::fatal(format!(
            "the scheduler has found no node for pod {name} for {limit:?}: {why}; mend what it says, and pivot again"
        )))
    }

    /// What the logs of these pods end with, and what events say of them, where one has failed. For people: what cannot
    /// be read in time is left out.
    async fn last_words(&self, pods: &[Pod], known: &Mutex<LastWords>) -> String {
        let mut words = Vec::new();
        for pod in pods {
            let (Some(uid), Some(failed)) = (&pod.metadata.uid, failing(pod)) else { continue };
            let key = (uid.clone(), failed.restart_count);
            let told = known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
            let told = match told {
                Some(told) => told,
                None => {
                    let read = self.site.cluster.last_words(pod).await;
                    known.lock().unwrap_or_else(PoisonError::into_inner).insert(key, read.clone());
                    read
                }
            };
            words.extend((!told.is_empty()).then_some(told));
        }
        words.join("; ")
    }

    /// The state of the pods.
    async fn story(&self, pods: &[Pod]) -> Result<String, StepError> {
        if !pods.is_empty() {
            return Ok(pods.iter().map(pod_story).collect::<Vec<_>>().join("; "));
        }
        let waiting = self.unbound().await?;
        if !waiting.is_empty() {
            return Ok(waiting.iter().map(pod_story).collect::<Vec<_>>().join("; "));
        }
        let name = self.component.daemonset_name();
        let daemonset = match once(answered(self.site.cluster.daemonset(name).await))? {
            Ok(daemonset) => daemonset,
            Err(seen) => return Ok(seen),
        };
        Ok(match daemonset {
            None => format!("DaemonSet {name} is gone"),
            Some(daemonset) => format!(
                "DaemonSet {name} has no pod on this node yet; it wants {} pods in all",
                daemonset["status"]["desiredNumberScheduled"]
            ),
        })
    }
}

#[async_trait]
impl Step for AwaitReady {
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(match once(self.look(None).await)? {
            Ok(_) => ProbeResult::Done,
            Err(seen) => ProbeResult::Partial(seen),
        })
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let what = format!("the pod of DaemonSet {} to serve", self.component.daemonset_name());
        let (since, known) = (Mutex::new(None), Mutex::new(LastWords::new()));
        let still = StandStill::default();
        let look = async || {
            let seen = match self.look(Some(cx)).await {
                Err(Pending::NotYet(seen)) => seen,
                other => return other,
            };
            still.end(&self.site, self.component).await;
            self.refuse_unschedulable(&since).await?;
            let labels = Site::pod_labels(self.component);
            let pods = once(answered(self.site.cluster.pods_on(&self.site.settings.node, &labels).await))?;
            let words = self.last_words(&pods.unwrap_or_default(), &known).await;
            Err(Pending::NotYet(if words.is_empty() { seen } else { format!("{seen}; {words}") }))
        };
        cx.wait(&what, self.site.timeouts.poll, look).await
    }

    /// The step changed nothing.
    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Ok(())
    }
}
