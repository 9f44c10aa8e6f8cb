//! `edit-daemonset/<c>`: changes the component's pod template in the DaemonSet: its command line, or single fields.
//! Undo: puts back what was there, and waits until the pods that have it serve. What else somebody has changed of
//! the pod template meanwhile stays.
//!
//! What a third person has written in the place of the change is left alone. On the way there the run fails, on
//! the way back it needs a person.

use super::lock;
use super::roll_out::RolledOut;
use crate::change;
use crate::component::Component;
use crate::look::{answered, before_a_fallback};
use crate::manifest::{Stands, TemplateChange};
use crate::site::Site;
use async_trait::async_trait;
use fulcrum_engine::{Context, Pending, ProbeResult, Step, StepError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) struct EditDaemonset {
    pub(super) site: Arc<Site>,
    pub(super) component: Component,
    pub(super) change: TemplateChange,
}

/// The DaemonSet as it was.
#[derive(Debug, Serialize, Deserialize)]
struct Former {
    uid: Value,
    spec: Value,
}

impl EditDaemonset {
    fn name(&self) -> &'static str {
        self.component.daemonset_name()
    }

    async fn live(&self, cx: &Context) -> Result<Option<Value>, StepError> {
        let get = async || answered(self.site.cluster.daemonset(self.name()).await);
        cx.wait(&format!("the API, to read DaemonSet {}", self.name()), self.site.timeouts.poll, get).await
    }

    fn stands(&self, live: &Value) -> Stands {
        self.change.stands(self.component, &live["spec"]["template"])
    }

    /// There or back.
    fn put(&self, put: impl Fn(&mut Value) -> bool, mut live: Value) -> Result<Option<Value>, StepError> {
        if put(&mut live["spec"]["template"]) {
            return Ok(Some(live));
        }
        let (name, subject) = (self.name(), self.change.subject());
        Err(StepError::fatal(format!(
            "DaemonSet {name} has no place for the new {subject}: somebody has changed it"
        )))
    }

    fn changed_by_another(&self) -> String {
        let (name, subject) = (self.name(), self.change.subject());
        format!(
            "the {subject} in DaemonSet {name} is neither the one from before nor the new one: somebody has changed it \
             meanwhile; look at it with `kubectl -n kube-system get ds {name} -o yaml`, and begin again"
        )
    }

    fn cannot_go_back(&self, cx: &Context, seen: &str) -> String {
        let (name, run, subject) = (self.name(), cx.run(), self.change.subject());
        format!(
            "DaemonSet {name} {seen}: somebody has changed it meanwhile, and it stays as it is; give it the {subject} \
             from before (`fulcrum history {run} --diff` shows it; `kubectl -n kube-system edit ds {name}`), then \
             `fulcrum resume`"
        )
    }

    /// Replaces the DaemonSet by what `make` makes of it, unless it needs no change. A conflict looks again.
    async fn replace(
        &self,
        cx: &Context,
        make: impl Fn(Value) -> Result<Option<Value>, StepError>,
    ) -> Result<Value, StepError> {
        let what = format!("the API, to change DaemonSet {}", self.name());
        cx.wait(&what, self.site.timeouts.poll, async || {
            let live = answered(self.site.cluster.daemonset(self.name()).await)?;
            let live = live.ok_or_else(|| StepError::fatal(format!("DaemonSet {} is gone", self.name())))?;
            let Some(wanted) = make(live.clone())? else { return Ok(live) };
            match self.site.cluster.replace_daemonset(&wanted, false).await {
                Err(error) if error.is_conflict() => Err(Pending::NotYet(error.to_string())),
                other => {
                    let made = answered(other)?;
                    change::record(change::object("DaemonSet", Some(&live), Some(&made)));
                    Ok(made)
                }
            }
        })
        .await
    }

    fn told(&self, live: &Value) -> Value {
        let metadata = &live["metadata"];
        json!({
            "name": self.name(),
            "uid": metadata["uid"],
            "generation": metadata["generation"],
        })
    }

    fn former(cx: &Context) -> Result<Option<Former>, StepError> {
        cx.pre_image().map(serde_json::from_slice).transpose().map_err(StepError::fatal)
    }
}

#[async_trait]
impl Step for EditDaemonset {
    fn saves(&self) -> bool {
        true
    }

    async fn save(&self, cx: &Context) -> Result<Vec<u8>, StepError> {
        let live = self.live(cx).await?;
        let live = live.ok_or_else(|| StepError::fatal(format!("DaemonSet {} is gone", self.name())))?;
        let former = Former { uid: live["metadata"]["uid"].clone(), spec: live["spec"].clone() };
        Ok(serde_json::to_vec(&former).map_err(StepError::fatal)?)
    }

    async fn probe(&self, cx: &Context) -> Result<ProbeResult, StepError> {
        let Some(live) = self.live(cx).await? else {
            return Ok(ProbeResult::Foreign(format!("DaemonSet {} is gone", self.name())));
        };
        Ok(match self.stands(&live) {
            Stands::Changed => ProbeResult::Done,
            Stands::Former => ProbeResult::Absent,
            Stands::Other => ProbeResult::Foreign(self.changed_by_another()),
        })
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        lock::still_ours(&self.site, cx).await?;
        let live = self
            .replace(cx, |live| match self.stands(&live) {
                Stands::Changed => Ok(None),
                Stands::Other => Err(StepError::fatal(self.changed_by_another())),
                Stands::Former => self.put(|template| self.change.make(self.component, template), live),
            })
            .await?;
        Ok(self.told(&live))
    }

    async fn output(&self, cx: &Context) -> Result<Value, StepError> {
        let live = self.live(cx).await?.unwrap_or_default();
        if let Some(Former { uid, spec }) = Self::former(cx)? {
            let before = json!({ "metadata": { "uid": uid }, "spec": spec });
            change::record(change::object("DaemonSet", Some(&before), Some(&live)));
        }
        Ok(self.told(&live))
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        let Some(former) = Self::former(cx)? else { return Ok(()) };
        // Over what a third person has written `run` writes nothing.
        let met_another = matches!(self.stands(&json!({ "spec": former.spec })), Stands::Other);
        let purpose = format!("to put DaemonSet {} back", self.name());
        if before_a_fallback(self.site.timeouts.api, &purpose, self.live(cx)).await?.is_none() {
            return Ok(());
        }
        let back = self
            .replace(cx, |live| match self.stands(&live) {
                Stands::Former => Ok(None),
                Stands::Other if met_another => Ok(None),
                // Not ours to write over, and half of it may be of this edit.
                Stands::Changed | Stands::Other if live["metadata"]["uid"] != former.uid => {
                    let seen = "is another object than the one that was edited";
                    Err(StepError::fatal(self.cannot_go_back(cx, seen)))
                }
                Stands::Other => {
                    let subject = self.change.subject();
                    let seen = format!("has a {subject} that is neither the one from before nor the new one");
                    Err(StepError::fatal(self.cannot_go_back(cx, &seen)))
                }
                // The change alone: what else somebody has changed meanwhile stays.
                Stands::Changed => self.put(|template| self.change.unmake(self.component, template), live),
            })
            .await?;
        if matches!(self.stands(&back), Stands::Former) {
            RolledOut { site: &self.site, component: self.component }.wait(cx, false).await?;
        }
        Ok(())
    }
}
