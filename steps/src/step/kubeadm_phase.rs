//! `kubeadm-phase/<phase>`: has kubeadm bring objects of the cluster to its release: the configuration of kubelets, CoreDNS,
//! kube-proxy. What it changes is kept in the journal before. Where pods change, the step waits until the new ones are
//! available, if the old ones were. Undo: restores what was kept, and waits for no pod.
//!
//! kubeadm writes the same however often it is called. What somebody else has changed since stays, as does what is gone.

use super::job::PhaseCall;
use crate::change;
use crate::cluster::ObjectPart;
use crate::host::{Hindrance, KubeadmPhase};
use crate::look::{answered, before_a_fallback};
use crate::site::Site;
use crate::upgrade::is_through;
use async_trait::async_trait;
use fulcrum_engine::{Context, Pending, ProbeResult, Step, StepError};
use fulcrum_evidence::sha256_hex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(super) struct RunPhase {
    pub(super) site: Arc<Site>,
    pub(super) call: PhaseCall,
}

/// An object before the phase. `None` where there was none.
type Kept = Option<Former>;

#[derive(Debug, Serialize, Deserialize)]
struct Former {
    object: Value,
    /// Whether all of its pods were available. `None` if it has none.
    through: Option<bool>,
}

impl RunPhase {
    async fn live(&self, cx: &Context, what: ObjectPart) -> Result<Option<Value>, StepError> {
        let get = async || answered(self.site.cluster.object_with(what).await);
        cx.wait(&format!("the API, to read {what}"), self.site.timeouts.poll, get).await
    }

    fn kept(cx: &Context) -> Result<Vec<Kept>, StepError> {
        cx.pre_image().map_or(Ok(Vec::new()), |kept| serde_json::from_slice(kept).map_err(StepError::fatal))
    }

    /// What the objects are now, recorded as changes where they differ from what was kept.
    async fn look(&self, cx: &Context) -> Result<Value, StepError> {
        let mut told = Map::new();
        for (what, kept) in self.call.phase.parts().iter().zip(Self::kept(cx)?) {
            let live = self.live(cx, *what).await?;
            let before = kept.map(|former| former.object);
            if live.as_ref().map(|live| what.of(live)) != before.as_ref().map(|one| what.of(one)) {
                change::record(change::object(what.kind, before.as_ref(), live.as_ref()));
            }
            told.insert(what.to_string(), json!(live.map(|live| digest(*what, &live))));
        }
        Ok(told.into())
    }

    async fn wait_for_pods(&self, cx: &Context) -> Result<(), StepError> {
        for (what, kept) in self.call.phase.parts().iter().zip(Self::kept(cx)?) {
            if kept.and_then(|former| former.through) != Some(true) {
                continue;
            }
            let look = async || match answered(self.site.cluster.object_with(*what).await)? {
                Some(live) if is_through(&live) == Some(false) => {
                    Err(Pending::NotYet(format!("its status is {}", live["status"])))
                }
                Some(_) => Ok(()),
                None => Err(StepError::fatal(format!("{what} is gone")).into()),
            };
            cx.wait(&format!("the new pods of {what} to be available"), self.site.timeouts.poll, look)
                .await?;
        }
        Ok(())
    }

    /// Restores one object. A conflict looks again.
    async fn restore(&self, cx: &Context, what: ObjectPart, former: &Former) -> Result<(), StepError> {
        let made = cx.output_value(cx.step().as_str()).and_then(|told| told[what.to_string()].as_str());
        let before = what.of(&former.object);
        cx.wait(&format!("the API, to put {what} back"), self.site.timeouts.poll, async || {
            let Some(live) = answered(self.site.cluster.object_with(what).await)? else { return Ok(()) };
            if what.of(&live) == before {
                return Ok(());
            }
            if made.is_some_and(|made| made != digest(what, &live)) {
                cx.note(format!("{what} was changed since, and stays as it is"));
                return Ok(());
            }
            let mut wanted = live.clone();
            what.put(&mut wanted, before);
            match self.site.cluster.replace_object(what, &wanted).await {
                Err(error) if error.is_conflict() => Err(Pending::NotYet(error.to_string())),
                other => {
                    change::record(change::object(what.kind, Some(&live), Some(&answered(other)?)));
                    Ok(())
                }
            }
        })
        .await
    }
}

#[async_trait]
impl Step for RunPhase {
    fn saves(&self) -> bool {
        true
    }

    async fn save(&self, cx: &Context) -> Result<Vec<u8>, StepError> {
        let mut kept: Vec<Kept> = Vec::new();
        for what in self.call.phase.parts() {
            let object = self.live(cx, *what).await?;
            kept.push(object.map(|object| Former { through: is_through(&object), object: bare(object) }));
        }
        Ok(serde_json::to_vec(&kept).map_err(StepError::fatal)?)
    }

    /// A phase that was cut short is gone through again.
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let Site { node, settings, .. } = &*self.site;
        let call = KubeadmPhase {
            program: &self.call.kubeadm,
            phase: self.call.phase.name(),
            config: &self.call.config,
            kubeconfig: &settings.kubeconfig,
        };
        node.host.kubeadm_phase(&call).await.map_err(|error| match error.hindrance {
            Hindrance::Unsupported => StepError::fatal(error),
            _ => StepError::retry(error),
        })?;
        self.wait_for_pods(cx).await?;
        self.look(cx).await
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        for (what, kept) in self.call.phase.parts().iter().zip(Self::kept(cx)?) {
            let Some(former) = kept else { continue };
            let back = self.restore(cx, *what, &former);
            before_a_fallback(self.site.timeouts.api, &format!("to put {what} back"), back).await?;
        }
        Ok(())
    }
}

/// The object without what only its managers and its status say: the journal has it.
fn bare(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    object
}

fn digest(what: ObjectPart, object: &Value) -> String {
    sha256_hex(what.of(object).to_string().as_bytes())
}
