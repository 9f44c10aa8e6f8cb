//! Removes a DaemonSet, if it is this run's. The undo of `create-daemonset` does this, and before it the step
//! that frees the port for the static pod.

use super::drain::Drain;
use crate::change;
use crate::cluster::{OPT_IN_LABEL, RUN_ANNOTATION};
use crate::component::Component;
use crate::host::{Process, Question};
use crate::look::answered;
use crate::site::{Site, in_api_pod};
use fulcrum_engine::state::RunId;
use fulcrum_engine::{Context, Look, Pending, StepError};
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

/// The DaemonSet that a run has made for a component.
pub(crate) struct Removal<'a> {
    site: &'a Site,
    component: Component,
    run: RunId,
}

impl<'a> Removal<'a> {
    pub(crate) fn new(site: &'a Site, component: Component, run: RunId) -> Self {
        Self { site, component, run }
    }

    /// Tells the DaemonSet and its pods to go. Returns `false` if the DaemonSet belongs to another owner by
    /// now: it stays. To be repeated until they have gone, as the DaemonSet's controller may be making
    /// another pod just now. The pods are told by name as well: the garbage collector is part of a controller
    /// manager that may be starting just now.
    pub(crate) async fn tell(&self) -> Look<bool> {
        let name = self.component.daemonset_name();
        let live = answered(self.site.cluster.daemonset(name).await)?;
        if let Some(live) = live {
            if made_by(&live).as_deref() != Some(&self.run.to_string()) {
                return Ok(false);
            }
            self.refuse_if_shared().await?;
            let uid = live["metadata"]["uid"].as_str().unwrap_or_default();
            answered(self.site.cluster.delete_daemonset(name, uid).await)?;
            change::record(change::object("DaemonSet", Some(&live), None));
        }
        let pods = self.pods().await?;
        for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
            let (Some(name), Some(uid)) = (&pod.metadata.name, &pod.metadata.uid) else { continue };
            answered(self.site.cluster.delete_pod(name, uid).await)?;
            change::record(change::object("Pod", serde_json::to_value(pod).ok().as_ref(), None));
        }
        Ok(true)
    }

    /// A node that a person has opted in runs on this DaemonSet too.
    async fn refuse_if_shared(&self) -> Look<()> {
        let nodes = answered(self.site.cluster.nodes_labelled(OPT_IN_LABEL).await)?;
        let others: Vec<&String> = nodes.iter().filter(|node| **node != self.site.settings.node).collect();
        if others.is_empty() {
            return Ok(());
        }
        Err(Pending::Failed(StepError::fatal(format!(
            "DaemonSet {} also runs on {others:?}, which bear the label {OPT_IN_LABEL}: take it away from them \
             when their control planes run without it",
            self.component.daemonset_name()
        ))))
    }

    async fn pods(&self) -> Look<Vec<Pod>> {
        answered(self.site.cluster.pods_labelled(&Site::pod_labels(self.component)).await)
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

pub(crate) fn still_listens<T>(process: &Process) -> Look<T> {
    Err(Pending::NotYet(format!("pid {} still listens", process.pid)))
}

/// The run that made a DaemonSet. `None` if fulcrum did not.
pub(crate) fn made_by(daemonset: &Value) -> Option<String> {
    daemonset["metadata"]["annotations"][RUN_ANNOTATION].as_str().map(str::to_owned)
}

/// Whether the process is the component's, and not its pod's sandbox.
fn runs(component: Component, process: &Process) -> bool {
    process.command.iter().any(|word| word.rsplit('/').next() == Some(component.name()))
}
