//! `create-daemonset/<c>`: makes the DaemonSet from the archived manifest, or finds the one that other nodes run on. Undo:
//! takes this node's pods away, with the last node the DaemonSet, and waits until they are gone. A DaemonSet that was
//! there before and that no other node runs on, or that belongs to another run by now, stays.
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
use crate::handover::removal::{MADE_BY, Removal, made_by, users};
use crate::look::answered;
use crate::manifest::{Difference, StaticPod, as_created, same_spec};
use crate::site::Site;
use crate::step_name::StepKind;
use async_trait::async_trait;
use fulcrum_engine::{Context, Look, ProbeResult, Step, StepError, StepId};
use serde::{Deserialize, Serialize};
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

    /// Whether `live` is what this run makes, or what another node's run has made of the same manifest. If not, says
    /// why.
    async fn compare(&self, cx: &Context, live: &Value) -> Result<ProbeResult, StepError> {
        let name = self.component.daemonset_name();
        if is_of(cx, live) {
            return Ok(match same_spec(&self.ours(cx)?, live) {
                Ok(()) => ProbeResult::Done,
                Err(differences) => {
                    ProbeResult::Foreign(format!("DaemonSet {name} was changed: {}", list(&differences)))
                }
            });
        }
        let what = format!("the API, to compare DaemonSet {name}");
        let compared = cx.wait(&what, self.site.timeouts.poll, async || self.found(cx, live).await).await?;
        Ok(match compared {
            Found::NotOurs => {
                let by = made_by(live).map_or("not by fulcrum".to_owned(), |run| format!("by run {run}"));
                ProbeResult::Foreign(format!(
                    "DaemonSet {name} is there, made {by}; delete it, or keep it and do not pivot"
                ))
            }
            Found::Another(differences) => ProbeResult::Foreign(format!(
                "DaemonSet {name}, which other nodes run on, is not what this node's manifest makes: {}",
                list(&differences)
            )),
            Found::Same => ProbeResult::Done,
        })
    }

    /// What a DaemonSet is that this run has not made.
    async fn found(&self, cx: &Context, live: &Value) -> Look<Found> {
        let others = users(&self.site).await?.iter().any(|node| *node != self.site.settings.node);
        if made_by(live).is_none() || !others {
            return Ok(Found::NotOurs);
        }
        let ours = self.ours(cx)?;
        Ok(match answered(self.site.cluster.compare_daemonset(&ours, live).await)? {
            Ok(()) => Found::Same,
            Err(differences) => Found::Another(differences),
        })
    }

    /// What was there before this run.
    async fn before(&self, cx: &Context) -> Result<Before, StepError> {
        let Some(live) = self.live(cx).await? else { return Ok(Before::WasThere(false)) };
        Ok(match (made_by(&live), self.compare(cx, &live).await?) {
            (Some(found), ProbeResult::Done) if !is_of(cx, &live) => Before::Found { found },
            _ => Before::WasThere(true),
        })
    }
}

/// What a DaemonSet is that this run has not made.
enum Found {
    /// What other nodes run on, and what this node's manifest makes.
    Same,
    /// What other nodes run on. This node's manifest makes another one.
    Another(Vec<Difference>),
    /// Another owner's.
    NotOurs,
}

/// What was there before the step, as its pre-image stores it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Before {
    /// Nothing, or something that is not this run's to delete.
    WasThere(bool),
    /// The DaemonSet that other nodes run on, and the run that made it.
    Found { found: String },
}

fn list(differences: &[Difference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[async_trait]
impl Step for CreateDaemonset {
    fn saves(&self) -> bool {
        true
    }

    /// What was there before.
    async fn save(&self, cx: &Context) -> Result<Vec<u8>, StepError> {
        Ok(serde_json::to_vec(&self.before(cx).await?).map_err(StepError::fatal)?)
    }

    async fn probe(&self, cx: &Context) -> Result<ProbeResult, StepError> {
        match self.live(cx).await? {
            None => Ok(ProbeResult::Absent),
            Some(live) if as_created(&live) && is_of(cx, &live) => Ok(ProbeResult::Done),
            Some(live) => self.compare(cx, &live).await,
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
        match self.compare(cx, &live).await? {
            ProbeResult::Foreign(why) => Err(StepError::fatal(why)),
            _ => {
                let mut output = object(cx, &live);
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
        if is_of(cx, &live) {
            change::record(change::object("DaemonSet", None, Some(&live)));
        }
        Ok(object(cx, &live))
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        let before: Option<Before> =
            cx.pre_image().map(serde_json::from_slice).transpose().map_err(StepError::fatal)?;
        let maker = match before {
            Some(Before::WasThere(false)) => None,
            Some(Before::Found { found }) => Some(found),
            // Never begun, or not ours to delete.
            Some(Before::WasThere(true)) | None => return Ok(()),
        };
        let removal = Removal::new(&self.site, self.component, cx, maker).after_the_api(true);
        let what = format!("the API, to delete DaemonSet {}", self.component.daemonset_name());
        let drain = async || removal.drain().await;
        let old = cx.wait(&what, self.site.timeouts.poll, drain).await?;
        let gone = while_held(&self.site, self.component, async {
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

/// Which object was made, or found.
fn object(cx: &Context, live: &Value) -> Value {
    let metadata = &live["metadata"];
    let fields = ["namespace", "name", "uid", "generation"];
    let mut output: Value =
        fields.into_iter().map(|field| (field.to_owned(), metadata[field].clone())).collect();
    if let Some(run) = made_by(live).filter(|_| !is_of(cx, live)) {
        output[MADE_BY] = run.into();
    }
    output
}

/// The leader before the DaemonSet's pod existed on this node, if it was noted: by this step, or by `label-node` where the
/// DaemonSet was there already.
pub(super) fn led_before(cx: &Context, component: Component) -> Option<&str> {
    let made = cx.output_value(StepKind::CreateDaemonset.of(component).id().as_str());
    let found =
        || cx.output_value(StepId::from(StepKind::LabelNode).as_str())?["leaders"][component.name()].as_str();
    made.and_then(|output| output["leader"].as_str()).or_else(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_is_stored_as_earlier_versions_stored_it() {
        for (before, text) in [
            (Before::WasThere(false), "false"),
            (Before::WasThere(true), "true"),
            (Before::Found { found: "r".to_owned() }, r#"{"found":"r"}"#),
        ] {
            assert_eq!(serde_json::to_string(&before).unwrap(), text);
            assert_eq!(serde_json::from_str::<Before>(text).unwrap(), before);
        }
    }
}
