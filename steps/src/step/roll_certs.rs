//! `roll-certs/<c>`: has the DaemonSet's pods started anew for certificates that they read at their start only.
//! An annotation of the pod template says for which. Its undo is a step of its own,
//! `prepare-rollback/roll-certs/<c>`, which comes before the renewal: on the way back the pods are started once
//! more when the former files are there again.

use super::lock;
use super::roll_out::RolledOut;
use crate::certificates::{Renewable, fingerprint};
use crate::change;
use crate::cluster::CERTIFICATES_ANNOTATION;
use crate::component::Component;
use crate::look::{answered, before_a_fallback};
use crate::site::Site;
use async_trait::async_trait;
use fulcrum_engine::{Context, Pending, ProbeResult, Step, StepError};
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(super) struct RollCerts {
    pub(super) site: Arc<Site>,
    pub(super) component: Component,
    pub(super) names: Vec<Renewable>,
}

/// Changes nothing; its undo is the way back.
pub(super) struct PrepareRollCerts {
    pub(super) site: Arc<Site>,
    pub(super) component: Component,
}

async fn live(site: &Site, component: Component, cx: &Context) -> Result<Value, StepError> {
    let name = component.daemonset_name();
    let get = async || answered(site.cluster.daemonset(name).await);
    let live = cx.wait(&format!("the API, to read DaemonSet {name}"), site.timeouts.poll, get).await?;
    live.ok_or_else(|| StepError::fatal(format!("DaemonSet {name} is gone")))
}

fn annotation(live: &Value) -> &Value {
    &live["spec"]["template"]["metadata"]["annotations"][CERTIFICATES_ANNOTATION]
}

/// Makes the annotation have this value, or be gone. A conflict looks again.
async fn annotate(
    site: &Site,
    component: Component,
    cx: &Context,
    value: &Value,
) -> Result<Value, StepError> {
    let name = component.daemonset_name();
    let change = async || {
        let live = answered(site.cluster.daemonset(name).await)?;
        let live = live.ok_or_else(|| StepError::fatal(format!("DaemonSet {name} is gone")))?;
        if annotation(&live) == value {
            return Ok(live);
        }
        let mut wanted = live.clone();
        let metadata = &mut wanted["spec"]["template"]["metadata"];
        if !metadata["annotations"].is_object() {
            metadata["annotations"] = json!({});
        }
        if let Some(all) = metadata["annotations"].as_object_mut() {
            match value {
                Value::Null => drop(all.remove(CERTIFICATES_ANNOTATION)),
                value => drop(all.insert(CERTIFICATES_ANNOTATION.to_owned(), value.clone())),
            }
        }
        // Exactly as it was before the first annotation.
        if metadata["annotations"].as_object().is_some_and(Map::is_empty)
            && let Some(metadata) = metadata.as_object_mut()
        {
            metadata.remove("annotations");
        }
        match site.cluster.replace_daemonset(&wanted, false).await {
            Err(error) if error.is_conflict() => Err(Pending::NotYet(error.to_string())),
            other => {
                let made = answered(other)?;
                change::record(change::object("DaemonSet", Some(&live), Some(&made)));
                Ok(made)
            }
        }
    };
    cx.wait(&format!("the API, to change DaemonSet {name}"), site.timeouts.poll, change).await
}

impl RollCerts {
    fn wanted(&self) -> Result<Value, StepError> {
        let print = fingerprint(&self.names, &self.site.kubernetes_dir());
        print.map(Value::from).map_err(StepError::retry)
    }

    fn told(&self, live: &Value) -> Value {
        let metadata = &live["metadata"];
        json!({
            "name": self.component.daemonset_name(),
            "generation": metadata["generation"],
            "certificates": annotation(live),
        })
    }
}

#[async_trait]
impl Step for RollCerts {
    async fn probe(&self, cx: &Context) -> Result<ProbeResult, StepError> {
        let live = live(&self.site, self.component, cx).await?;
        Ok(match *annotation(&live) == self.wanted()? {
            true => ProbeResult::Done,
            false => ProbeResult::Absent,
        })
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        lock::still_ours(&self.site, cx).await?;
        let made = annotate(&self.site, self.component, cx, &self.wanted()?).await?;
        Ok(self.told(&made))
    }

    async fn output(&self, cx: &Context) -> Result<Value, StepError> {
        let live = live(&self.site, self.component, cx).await?;
        change::record(change::object("DaemonSet", None, Some(&live)));
        Ok(self.told(&live))
    }

    /// The pods are started once more when the files are back: `prepare-rollback/roll-certs`.
    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Ok(())
    }
}

#[async_trait]
impl Step for PrepareRollCerts {
    fn saves(&self) -> bool {
        true
    }

    async fn save(&self, cx: &Context) -> Result<Vec<u8>, StepError> {
        let live = live(&self.site, self.component, cx).await?;
        Ok(serde_json::to_vec(annotation(&live)).map_err(StepError::fatal)?)
    }

    /// There is nothing to look for.
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }

    async fn run(&self, _cx: &Context) -> Result<Value, StepError> {
        Ok(Value::Null)
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        let Some(former) = cx.pre_image() else { return Ok(()) };
        let former: Value = serde_json::from_slice(former).map_err(StepError::fatal)?;
        let name = self.component.daemonset_name();
        let purpose = format!("to put DaemonSet {name} back");
        let back = annotate(&self.site, self.component, cx, &former);
        before_a_fallback(self.site.timeouts.api, &purpose, back).await?;
        RolledOut { site: &self.site, component: self.component }.wait(cx, false).await.map(drop)
    }
}
