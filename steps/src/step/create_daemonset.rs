//! `create-daemonset/<c>`: makes the DaemonSet from the archived manifest. Undo: deletes it, unless it was
//! there before or belongs to another run, and waits until its pods are gone.
//!
//! A DaemonSet that this run has made and that nothing has changed since is done, whatever it says: an earlier
//! version of this program, which has begun the run, made it otherwise.
//!
//! The step notes the leader from before the DaemonSet's pod exists: the static process. Once that process
//! has gone, its lease can be given back at once.

use super::archive;
use crate::change;
use crate::component::Component;
use crate::handover::endpoints::while_held;
use crate::handover::lease;
use crate::handover::removal::{Removal, made_by};
use crate::look::answered;
use crate::manifest::{StaticPod, as_created, same_spec};
use crate::site::Site;
use crate::step_name::StepKind;
use async_trait::async_trait;
use fulcrum_engine::{Context, ProbeResult, Step, StepError};
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
        let get = async || answered(self.site.cluster.daemonset(name).await);
        cx.wait(&format!("the API, to read DaemonSet {name}"), self.site.timeouts.poll, get).await
    }

    /// Whether `live` is what this run makes. If not, says why.
    fn compare(&self, cx: &Context, live: &Value) -> Result<ProbeResult, StepError> {
        let name = self.component.daemonset_name();
        if !is_of(cx, live) {
            let by = made_by(live).map_or("not by fulcrum".to_owned(), |run| format!("by run {run}"));
            return Ok(ProbeResult::Foreign(format!(
                "DaemonSet {name} is there, made {by}; delete it, or keep it and do not pivot"
            )));
        }
        Ok(match same_spec(&self.ours(cx)?, live) {
            Ok(()) => ProbeResult::Done,
            Err(differences) => {
                let list: Vec<String> = differences.iter().map(ToString::to_string).collect();
                ProbeResult::Foreign(format!("DaemonSet {name} was changed: {}", list.join("; ")))
            }
        })
    }
}

#[async_trait]
impl Step for CreateDaemonset {
    fn saves(&self) -> bool {
        true
    }

    /// Whether the DaemonSet was there before.
    async fn save(&self, cx: &Context) -> Result<Vec<u8>, StepError> {
        Ok(serde_json::to_vec(&self.live(cx).await?.is_some()).map_err(StepError::fatal)?)
    }

    async fn probe(&self, cx: &Context) -> Result<ProbeResult, StepError> {
        match self.live(cx).await? {
            None => Ok(ProbeResult::Absent),
            Some(live) if as_created(&live) && is_of(cx, &live) => Ok(ProbeResult::Done),
            Some(live) => self.compare(cx, &live),
        }
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let ours = self.ours(cx)?;
        let leader = match self.live(cx).await? {
            None => lease::leader(&self.site, cx, self.component).await?,
            // An earlier attempt made it: its pod may lead by now.
            Some(_) => None,
        };
        let what = format!("the API, to create DaemonSet {}", self.component.daemonset_name());
        let made = cx
            .wait(&what, self.site.timeouts.poll, async || {
                match self.site.cluster.create_daemonset(&ours, false).await {
                    // Perhaps this very call, sent twice. The existing object decides.
                    Err(error) if error.is_conflict() => Ok(None),
                    other => Ok(Some(answered(other)?)),
                }
            })
            .await?;
        let live = match made {
            Some(made) => made,
            None => {
                let gone = || StepError::retry("it was there and is gone again");
                let live = self.live(cx).await?.ok_or_else(gone)?;
                if is_of(cx, &live) {
                    change::record(change::object("DaemonSet", None, Some(&live)));
                }
                live
            }
        };
        match self.compare(cx, &live)? {
            ProbeResult::Foreign(why) => Err(StepError::fatal(why)),
            _ => {
                let mut output = object(&live);
                output["leader"] = json!(leader);
                output["resource_version"] = live["metadata"]["resourceVersion"].clone();
                Ok(output)
            }
        }
    }

    /// The leader from before its pod existed, and the version of the object as it was made, cannot be told any
    /// more.
    async fn output(&self, cx: &Context) -> Result<Value, StepError> {
        let Some(live) = self.live(cx).await? else { return Ok(Value::Null) };
        change::record(change::object("DaemonSet", None, Some(&live)));
        Ok(object(&live))
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        let was_there =
            cx.pre_image().map(serde_json::from_slice::<bool>).transpose().map_err(StepError::fatal)?;
        if was_there != Some(false) {
            return Ok(()); // Never begun, or not ours to delete.
        }
        let removal = Removal::new(&self.site, self.component, cx.run());
        let what = format!("the API, to delete DaemonSet {}", self.component.daemonset_name());
        let drain = async || removal.drain().await;
        let old = cx.wait(&what, self.site.timeouts.poll, drain).await?;
        let gone = while_held(&self.site, self.component, async {
            if removal.listener().await?.is_some() {
                old.hold_back(&self.site, self.component).await;
            }
            if !cx.wait(&what, self.site.timeouts.poll, async || removal.tell().await).await? {
                return Ok(false);
            }
            removal.wait_gone(cx, &old).await.map(|()| true)
        })
        .await?;
        if gone {
            lease::give_back(&self.site, cx, self.component, None).await;
        } // Otherwise it belongs to another owner by now.
        Ok(())
    }
}

/// Whether this run has made it.
fn is_of(cx: &Context, live: &Value) -> bool {
    made_by(live).as_deref() == Some(&cx.run().to_string())
}

/// Which object was made.
fn object(live: &Value) -> Value {
    let metadata = &live["metadata"];
    let fields = ["namespace", "name", "uid", "generation"];
    fields.into_iter().map(|field| (field.to_owned(), metadata[field].clone())).collect()
}

/// The leader before the DaemonSet's pod existed, if it was noted.
pub(super) fn led_before(cx: &Context, component: Component) -> Option<&str> {
    cx.output_value(StepKind::CreateDaemonset.of(component).id().as_str())?["leader"].as_str()
}
