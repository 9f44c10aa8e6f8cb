//! `label-node`: opts this node in to the self-hosted control plane. Undo: restores the label as it was.
//!
//! Where the DaemonSets exist already, because other nodes run on them, their pods start now. So the ports are shared
//! before, and the step notes which of this node's static processes lead.

use crate::change;
use crate::cluster::OPT_IN_LABEL;
use crate::component::Component;
use crate::handover::lease;
use crate::handover::removal::users;
use crate::look::answered;
use crate::site::Site;
use async_trait::async_trait;
use fulcrum_engine::{Context, Pending, ProbeResult, Step, StepError};
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(super) struct LabelNode {
    pub(super) site: Arc<Site>,
}

impl LabelNode {
    /// The label's value now. `None` if the node does not bear it.
    async fn label(&self, cx: &Context) -> Result<Option<String>, StepError> {
        let name = &self.site.settings.node;
        let get = async || answered(self.site.cluster.node(name).await);
        let node = cx.wait("the API, to read the node's labels", self.site.timeouts.poll, get).await?;
        let node =
            node.ok_or_else(|| StepError::fatal(format!("the cluster has no node {name} any more")))?;
        Ok(node.metadata.labels.and_then(|labels| labels.get(OPT_IN_LABEL).cloned()))
    }

    /// The leaders among this node's processes, of the components whose DaemonSet is there.
    async fn leaders(&self, cx: &Context) -> Result<Map<String, Value>, StepError> {
        let mut leaders = Map::new();
        for component in Component::ALL {
            let name = component.daemonset_name();
            let get = async || answered(self.site.cluster.daemonset(name).await);
            let what = format!("the API, to read DaemonSet {name}");
            if cx.wait(&what, self.site.timeouts.poll, get).await?.is_none() {
                continue;
            }
            if let Some(leader) = lease::leader(&self.site, cx, component).await? {
                leaders.insert(component.name().to_owned(), leader.into());
            }
        }
        Ok(leaders)
    }

    /// Waits until the DaemonSets have no pod here. Where a run stops before it has come to them, nothing else sees
    /// the pods off, and the static pods' preference goes next.
    async fn wait_gone(&self, cx: &Context) -> Result<(), StepError> {
        let none = async || {
            for component in Component::ALL {
                let labels = Site::pod_labels(component);
                let pods = answered(self.site.cluster.pods_on(&self.site.settings.node, &labels).await)?;
                if let Some(pod) = pods.first() {
                    let name = pod.metadata.name.as_deref().unwrap_or_default();
                    return Err(Pending::NotYet(format!("{name} is still there")));
                }
            }
            Ok(())
        };
        cx.wait("the DaemonSets' pods on this node to be gone", self.site.timeouts.poll, none).await
    }

    async fn set(&self, cx: &Context, value: Option<&str>) -> Result<(), StepError> {
        let (site, node) = (&self.site, &self.site.settings.node);
        let set = async || answered(site.cluster.label_node(node, OPT_IN_LABEL, value).await);
        let before = self.label(cx).await?;
        cx.wait("the API, to label the node", site.timeouts.poll, set).await?;
        change::record_label(node, OPT_IN_LABEL, before.as_deref(), value);
        Ok(())
    }
}

#[async_trait]
impl Step for LabelNode {
    fn saves(&self) -> bool {
        true
    }

    async fn save(&self, cx: &Context) -> Result<Vec<u8>, StepError> {
        Ok(serde_json::to_vec(&self.label(cx).await?).map_err(StepError::fatal)?)
    }

    async fn probe(&self, cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(if self.label(cx).await?.is_some() { ProbeResult::Done } else { ProbeResult::Absent })
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let leaders = match self.label(cx).await? {
            None => self.leaders(cx).await?,
            // An earlier attempt has set it: a new process may lead by now.
            Some(_) => Map::new(),
        };
        self.set(cx, Some("")).await?;
        Ok(if leaders.is_empty() { Value::Null } else { json!({ "leaders": leaders }) })
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        let Some(saved) = cx.pre_image() else { return Ok(()) };
        let before: Option<String> = serde_json::from_slice(saved).map_err(StepError::fatal)?;
        let others = async || users(&self.site).await;
        let others = cx
            .wait("the API, to see which nodes run on the DaemonSets", self.site.timeouts.poll, others)
            .await?;
        let shared = others.iter().any(|node| *node != self.site.settings.node);
        // With the label the DaemonSets of the others would run here, beside the static pods.
        let before = before.filter(|_| !shared);
        self.set(cx, before.as_deref()).await?;
        if before.is_none() {
            self.wait_gone(cx).await?;
        }
        Ok(())
    }
}
