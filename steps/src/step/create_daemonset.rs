//! `create-daemonset/<c>`: makes the DaemonSet from the archived manifest. Undo: deletes it, unless it was
//! there before or is not this run's, and waits until its pods are gone.
//!
//! Who leads before its pod exists is noted: the static process, whose lease can be given back at once when it
//! has gone.

use super::archive;
use super::drain::Drain;
use super::endpoints::while_held;
use super::lease;
use super::library::seen;
use crate::cluster::{OPT_IN_LABEL, RUN_ANNOTATION};
use crate::component::Component;
use crate::manifest::{StaticPod, same_spec};
use crate::site::{Site, in_api_pod, in_static_pod};
use async_trait::async_trait;
use fulcrum_engine::{Context, Finding, Seen, Step, StepError};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) struct CreateDaemonset {
    pub(super) site: Arc<Site>,
    pub(super) component: Component,
}

impl CreateDaemonset {
    fn ours(&self, cx: &Context) -> Result<Value, StepError> {
        let manifest = archive::read(&self.site, cx, self.component)?;
        let pod = StaticPod::parse(self.component, &manifest)
            .map_err(|error| StepError::fatal(error.to_string()))?;
        Ok(pod.daemonset(&self.site.settings.target(Some(cx.run()))))
    }

    async fn live(&self, cx: &Context) -> Result<Option<Value>, StepError> {
        let name = self.component.daemonset_name();
        let get = async || seen(self.site.cluster.daemonset(name).await);
        cx.wait(&format!("the API, to read DaemonSet {name}"), self.site.patience.poll, get).await
    }

    /// Whether `live` is what this run makes, or why not.
    fn compare(&self, cx: &Context, live: &Value) -> Result<Finding, StepError> {
        let name = self.component.daemonset_name();
        if made_by(live).as_deref() != Some(&cx.run().to_string()) {
            let by = made_by(live).map_or("not by fulcrum".to_owned(), |run| format!("by run {run}"));
            return Ok(Finding::Foreign(format!(
                "DaemonSet {name} is there, made {by}; delete it, or keep it and do not pivot"
            )));
        }
        Ok(match same_spec(&self.ours(cx)?, live) {
            Ok(()) => Finding::Done,
            Err(differences) => {
                let list: Vec<String> = differences.iter().map(ToString::to_string).collect();
                Finding::Foreign(format!("DaemonSet {name} was changed: {}", list.join("; ")))
            }
        })
    }

    /// A node that was opted in by hand runs on this DaemonSet too.
    async fn refuse_if_shared(&self, cx: &Context) -> Result<(), StepError> {
        let nodes = async || seen(self.site.cluster.nodes_labelled(OPT_IN_LABEL).await);
        let nodes = cx.wait("the API, to list the nodes", self.site.patience.poll, nodes).await?;
        let others: Vec<&String> = nodes.iter().filter(|node| **node != self.site.settings.node).collect();
        if others.is_empty() {
            return Ok(());
        }
        Err(StepError::fatal(format!(
            "DaemonSet {} also runs on {others:?}, which bear the label {OPT_IN_LABEL}: take it away from them \
             when their control planes run without it",
            self.component.daemonset_name()
        )))
    }

    async fn delete(&self, cx: &Context, live: &Value) -> Result<(), StepError> {
        let name = self.component.daemonset_name();
        let uid = live["metadata"]["uid"].as_str().unwrap_or_default();
        let delete = async || seen(self.site.cluster.delete_daemonset(name, uid).await);
        cx.wait(&format!("the API, to delete DaemonSet {name}"), self.site.patience.poll, delete).await
    }

    /// The pods are told to go by name as well: the garbage collector is part of a controller manager
    /// that may be starting just now.
    async fn wait_gone(&self, cx: &Context, old: &Drain) -> Result<(), StepError> {
        let labels = Site::pod_labels(self.component);
        let what = format!("the pods of DaemonSet {} to be gone", self.component.daemonset_name());
        cx.wait(&what, self.site.patience.poll, async || {
            let pods = match seen(self.site.cluster.pods_labelled(&labels).await)? {
                Seen::Ready(pods) => pods,
                Seen::NotYet(seen) => return Ok(Seen::NotYet(seen)),
            };
            for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
                let (Some(name), Some(uid)) = (&pod.metadata.name, &pod.metadata.uid) else { continue };
                if let Seen::NotYet(seen) = seen(self.site.cluster.delete_pod(name, uid).await)? {
                    return Ok(Seen::NotYet(seen));
                }
            }
            if let Seen::NotYet(seen) = old.look(&self.site, self.component).await? {
                return Ok(Seen::NotYet(seen));
            }
            if !pods.is_empty() {
                let names: Vec<&str> = pods.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
                return Ok(Seen::NotYet(format!("{} still there", names.join(", "))));
            }
            let listeners = self.site.node.host.listeners(self.site.port(self.component)).await?;
            Ok(match listeners.iter().find(|listener| !in_static_pod(&listener.process)) {
                None => Seen::Ready(()),
                Some(listener) => Seen::NotYet(format!("pid {} still listens", listener.process.pid)),
            })
        })
        .await
    }
}

#[async_trait]
impl Step for CreateDaemonset {
    fn saves(&self) -> bool {
        true
    }

    /// Whether it was there before.
    async fn save(&self, cx: &Context) -> Result<Vec<u8>, StepError> {
        Ok(serde_json::to_vec(&self.live(cx).await?.is_some())?)
    }

    async fn probe(&self, cx: &Context) -> Result<Finding, StepError> {
        match self.live(cx).await? {
            None => Ok(Finding::Absent),
            Some(live) => self.compare(cx, &live),
        }
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let ours = self.ours(cx)?;
        let leader = match self.live(cx).await? {
            None => lease::leader(&self.site, cx, self.component).await?,
            // An earlier attempt's: its pod may lead by now.
            Some(_) => None,
        };
        let what = format!("the API, to create DaemonSet {}", self.component.daemonset_name());
        let made = cx
            .wait(&what, self.site.patience.poll, async || {
                match self.site.cluster.create_daemonset(&ours, false).await {
                    // Perhaps this very call, sent twice: what is there decides.
                    Err(error) if error.is_conflict() => Ok(Seen::Ready(None)),
                    other => Ok(match seen(other)? {
                        Seen::Ready(made) => Seen::Ready(Some(made)),
                        Seen::NotYet(seen) => Seen::NotYet(seen),
                    }),
                }
            })
            .await?;
        let live = match made {
            Some(made) => made,
            None => self.live(cx).await?.ok_or_else(|| StepError::retry("it was there and is gone again"))?,
        };
        match self.compare(cx, &live)? {
            Finding::Foreign(why) => Err(StepError::fatal(why)),
            _ => Ok(json!({ "uid": live["metadata"]["uid"], "leader": leader })),
        }
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        let was_there = cx.saved().map(serde_json::from_slice::<bool>).transpose()?;
        if was_there != Some(false) {
            return Ok(()); // Never begun, or not ours to delete.
        }
        let old = Drain::of(&self.site, self.component, in_api_pod, self.site.patience.drain).await?;
        if let Some(live) = self.live(cx).await? {
            if made_by(&live).as_deref() != Some(&cx.run().to_string()) {
                return Ok(()); // Somebody else's since.
            }
            self.refuse_if_shared(cx).await?;
            self.delete(cx, &live).await?;
        }
        while_held(&self.site, self.component, self.wait_gone(cx, &old)).await?;
        lease::give_back(&self.site, cx, self.component, None).await;
        Ok(())
    }
}

/// The run that made a DaemonSet, if it was fulcrum.
fn made_by(daemonset: &Value) -> Option<String> {
    daemonset["metadata"]["annotations"][RUN_ANNOTATION].as_str().map(str::to_owned)
}

/// Who led before the DaemonSet's pod existed, if that was noted.
pub(super) fn led_before(cx: &Context, component: Component) -> Option<&str> {
    cx.output(&format!("create-daemonset/{component}"))?["leader"].as_str()
}
