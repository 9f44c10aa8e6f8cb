//! `remove-daemonset/<c>`: takes this node's pod of a DaemonSet away that this run has found, and with the last node the
//! DaemonSet. The static pod serves by then. Undo: makes the DaemonSet again, with another uid, and waits until it
//! serves beside the static pod.

use super::last_look::LastLook;
use crate::change;
use crate::cluster::OPT_IN_LABEL;
use crate::component::Component;
use crate::handover::beside::prefer_static;
use crate::handover::endpoints::while_held;
use crate::handover::lease;
use crate::handover::removal::Removal;
use crate::host::MARK_NEWCOMER;
use crate::look::answered;
use crate::manifest::{StaticPod, same_spec};
use crate::site::{Site, in_api_pod, in_static_pod};
use async_trait::async_trait;
use fulcrum_engine::{Context, ProbeResult, Step, StepError};
use serde_json::{Value, json};
use std::sync::Arc;

/// What the API server writes into an object's metadata. A new object gets its own.
const OF_THE_SERVER: [&str; 6] =
    ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"];

pub(super) struct RemoveDaemonset {
    pub(super) site: Arc<Site>,
    pub(super) component: Component,
    /// The DaemonSet that was found.
    pub(super) uid: String,
    /// Whether its process shares its port by itself.
    pub(super) shares: bool,
    /// Whether the node was opted in.
    pub(super) labelled: bool,
}

impl RemoveDaemonset {
    fn name(&self) -> &'static str {
        self.component.daemonset_name()
    }

    async fn live(&self, cx: &Context) -> Result<Option<Value>, StepError> {
        let get = async || answered(self.site.cluster.daemonset(self.name()).await);
        let what = format!("the API, to read DaemonSet {}", self.name());
        cx.wait(&what, self.site.timeouts.poll, get).await
    }

    /// The last look before the cut: the static process serves, and the other nodes can spare this one.
    async fn may_go(&self, cx: &Context) -> Result<(), StepError> {
        let (site, component) = (&self.site, self.component);
        let image = site.node.manifests.read(Component::ApiServer.manifest_file())?;
        let image = image.ok_or_else(|| StepError::fatal("the API server's static manifest is gone"))?;
        let server = StaticPod::parse(Component::ApiServer, image.content.as_bytes())
            .map_err(|error| StepError::fatal(error.to_string()))?;
        let what = format!("the static {component} to answer, before the DaemonSet's goes");
        let mut last_look = LastLook::new(site, cx, Some(server));
        loop {
            last_look.others().await?;
            site.wait_served(cx, component, &what, None, in_static_pod).await?;
            if last_look.holds().await? {
                return Ok(());
            }
        }
    }

    /// Another one of the same name, or this one after somebody has changed it.
    fn another(&self) -> StepError {
        StepError::fatal(format!(
            "DaemonSet {} is not the one that this run has found (uid {}): see who makes it",
            self.name(),
            self.uid
        ))
    }

    /// The node's label, which another node's DaemonSets need no more once these are gone.
    async fn label(&self, cx: &Context, value: Option<&str>) -> Result<(), StepError> {
        let node = &self.site.settings.node;
        let set = async || answered(self.site.cluster.label_node(node, OPT_IN_LABEL, value).await);
        cx.wait("the API, to label the node", self.site.timeouts.poll, set).await?;
        let (set, none) = (Some(""), None);
        let before = if value.is_some() { none } else { set };
        change::record_label(node, OPT_IN_LABEL, before, value);
        Ok(())
    }

    /// Whether no DaemonSet is left that needs the label.
    async fn is_the_last(&self, cx: &Context) -> Result<bool, StepError> {
        for component in Component::ALL {
            let name = component.daemonset_name();
            let get = async || answered(self.site.cluster.daemonset(name).await);
            let what = format!("the API, to read DaemonSet {name}");
            if cx.wait(&what, self.site.timeouts.poll, get).await?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes the DaemonSet as it was found, unless it is there.
    async fn make_again(&self, cx: &Context, found: &Value) -> Result<(), StepError> {
        let wanted = as_new(found);
        let what = format!("the API, to create DaemonSet {}", self.name());
        let create = async || match self.site.cluster.create_daemonset(&wanted, false).await {
            // Perhaps this very call, sent twice.
            Err(error) if error.is_conflict() => Ok(()),
            other => answered(other).map(drop),
        };
        match self.live(cx).await? {
            Some(live) if live["metadata"]["uid"] == self.uid.as_str() => Ok(()),
            Some(live) if same_spec(&wanted, &live).is_ok() => Ok(()),
            Some(_) => Err(self.another()),
            None => cx.wait(&what, self.site.timeouts.poll, create).await,
        }
    }
}

/// The object, to be created once more.
fn as_new(found: &Value) -> Value {
    let mut metadata = found["metadata"].as_object().cloned().unwrap_or_default();
    metadata.retain(|field, _| !OF_THE_SERVER.contains(&field.as_str()));
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": found["spec"].clone()
    })
}

#[async_trait]
impl Step for RemoveDaemonset {
    fn saves(&self) -> bool {
        true
    }

    async fn save(&self, cx: &Context) -> Result<Vec<u8>, StepError> {
        let live = self.live(cx).await?.filter(|live| live["metadata"]["uid"] == self.uid.as_str());
        let live = live.ok_or_else(|| self.another())?;
        Ok(serde_json::to_vec(&live).map_err(StepError::fatal)?)
    }

    /// Taking it away again is harmless.
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let (site, component) = (&self.site, self.component);
        self.may_go(cx).await?;
        let removal = Removal::of_object(site, component, cx, &self.uid).after_the_api(true);
        let what = format!("the API, to delete DaemonSet {}", self.name());
        let old = cx.wait(&what, site.timeouts.poll, async || removal.drain().await).await?;
        while_held(site, component, async {
            if !cx.wait(&what, site.timeouts.poll, async || removal.tell().await).await? {
                return Err(self.another());
            }
            removal.wait_gone(cx, &old).await
        })
        .await?;
        lease::give_back(site, cx, component, None).await;
        if self.labelled && self.is_the_last(cx).await? {
            self.label(cx, None).await?;
        }
        Ok(json!({ "uid": self.uid }))
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        let Some(saved) = cx.pre_image() else { return Ok(()) };
        let found: Value = serde_json::from_slice(saved).map_err(StepError::fatal)?;
        let (site, component) = (&self.site, self.component);
        let is_api = component == Component::ApiServer;
        // The label may be that of all three, so this comes before any of them is made.
        prefer_static(site, cx).await?;
        self.make_again(cx, &found).await?;
        if self.labelled {
            self.label(cx, Some("")).await?;
        }
        if !self.shares {
            // It can listen only when the static process has gone: `start-static` sees to that next.
            return Ok(());
        }
        let what = format!("the pod of DaemonSet {} to serve beside the static one", self.name());
        let mark = is_api.then_some(MARK_NEWCOMER);
        site.wait_served(cx, component, &what, mark, in_api_pod).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_is_made_again_keeps_what_people_gave_it() {
        let found = json!({
            "metadata": {
                "name": "d", "namespace": "kube-system", "labels": { "k8s-app": "d" }, "uid": "u",
                "resourceVersion": "7", "generation": 2, "creationTimestamp": "t", "managedFields": []
            },
            "spec": { "selector": {} }, "status": { "numberReady": 1 }
        });
        let metadata = json!({ "name": "d", "namespace": "kube-system", "labels": { "k8s-app": "d" } });
        assert_eq!(
            as_new(&found),
            json!({
                "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": { "selector": {} }
            })
        );
    }
}
