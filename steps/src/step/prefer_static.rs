//! `prefer-static`: the static API server keeps all traffic while the new one starts beside it. The new
//! server reaches itself over loopback. Undo: the kernel decides as before.

use crate::component::Component;
use crate::handover::pair::{Pair, gone, is_cut, settled};
use crate::host::Steering;
use crate::look::once;
use crate::site::{Site, in_api_pod};
use async_trait::async_trait;
use fulcrum_engine::{Context, Look, Pending, ProbeResult, Step, StepError};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) struct PreferStatic {
    pub(super) site: Arc<Site>,
}

impl PreferStatic {
    async fn prefer(&self, cx: &Context) -> Look<Value> {
        if is_cut(&self.site, cx.run(), Component::ApiServer)? {
            return Ok(Value::Null);
        }
        let pair = Pair::look(&self.site).await?;
        let Some(old) = &pair.old else {
            return Err(Pending::NotYet("the static kube-apiserver does not listen".to_owned()));
        };
        // A server that was restarted since `share-port` no longer shares its listener.
        Ok(json!(settled(pair.share_and_prefer(&self.site, old).await)?))
    }
}

#[async_trait]
impl Step for PreferStatic {
    async fn probe(&self, cx: &Context) -> Result<ProbeResult, StepError> {
        if is_cut(&self.site, cx.run(), Component::ApiServer)? {
            return Ok(ProbeResult::Done);
        }
        let pair = Pair::look(&self.site).await?;
        let serving = |listener: &Option<crate::host::Listener>| listener.as_ref().map(|one| one.inode);
        Ok(match pair.steering(&self.site).await? {
            Some(Steering::Prefer { serving: who, .. }) if Some(who) == serving(&pair.old) => {
                ProbeResult::Done
            }
            // `switch` has come after it.
            Some(Steering::To { serving: who }) if Some(who) == serving(&pair.new) => {
                match once(self.site.serves(Component::ApiServer, None, in_api_pod).await)? {
                    Ok(_) => ProbeResult::Done,
                    Err(seen) => ProbeResult::Partial(format!("it was switched, but {seen}")),
                }
            }
            _ => ProbeResult::Absent,
        })
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let what = "the static kube-apiserver to be first in line";
        cx.wait(what, self.site.timeouts.poll, async || self.prefer(cx).await).await
    }

    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        let pair = Pair::look(&self.site).await?;
        match &pair.old {
            // A listener that is not shared is in no group: on the exact way back it is another process.
            Some(old) if self.site.node.host.is_shared(old).await? => {
                Ok(gone(pair.unsteer(&self.site).await)?)
            }
            _ => Ok(()),
        }
    }
}
