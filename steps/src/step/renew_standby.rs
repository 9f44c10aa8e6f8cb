//! `renew-standby/<c>`: makes the standby from what the DaemonSet runs, which has proven itself. Undo:
//! restores the standby from before.
//!
//! A standby that a boot in the middle of an upgrade has put into the manifests directory stays what it is: the hand-over
//! that follows must know it. The guard renews it once the DaemonSets have served for a minute.

use crate::component::Component;
use crate::handover::standby::Standby;
use crate::host::FileImage;
use crate::look::answered;
use crate::manifest::standby_of;
use crate::site::Site;
use async_trait::async_trait;
use fulcrum_engine::{Context, ProbeResult, Step, StepError};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) struct RenewStandby {
    pub(super) site: Arc<Site>,
    pub(super) component: Component,
}

impl RenewStandby {
    fn standby(&self) -> Result<Standby, StepError> {
        match self.site.settings.of_pivot {
            Some(pivot) => Ok(Standby::of(&self.site.state_dir, pivot)),
            None => Err(StepError::fatal("the run does not say which pivot's standby is meant")),
        }
    }

    /// Whether the component's static pod is there, as after a boot.
    fn is_put_back(&self) -> bool {
        self.site.node.manifests.file(self.component.manifest_file()).exists()
    }

    fn saved(cx: &Context) -> Result<Option<FileImage>, StepError> {
        cx.pre_image().map(serde_json::from_slice).transpose().map_err(StepError::fatal)
    }
}

#[async_trait]
impl Step for RenewStandby {
    fn saves(&self) -> bool {
        true
    }

    async fn save(&self, _cx: &Context) -> Result<Vec<u8>, StepError> {
        let kept = self.standby()?.get(self.component)?;
        let kept = kept.ok_or_else(|| StepError::fatal("there is no standby to renew"))?;
        Ok(serde_json::to_vec(&kept).map_err(StepError::fatal)?)
    }

    /// Making it again costs no more than comparing.
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let name = self.component.daemonset_name();
        let get = async || answered(self.site.cluster.daemonset(name).await);
        let live =
            cx.wait(&format!("the API, to read DaemonSet {name}"), self.site.timeouts.poll, get).await?;
        let live = live.ok_or_else(|| StepError::fatal(format!("DaemonSet {name} is gone")))?;
        let content = standby_of(self.component, &live, &self.site.settings.target(None))
            .map_err(|refused| StepError::fatal(format!("DaemonSet {name}: {refused}")))?;
        let kept = Self::saved(cx)?.ok_or_else(|| StepError::fatal("what was kept was not saved"))?;
        let put_back = self.is_put_back();
        let renewed = if put_back { kept } else { kept.with_content(content) };
        if !put_back {
            self.standby()?.keep(self.component, &renewed)?;
        }
        Ok(json!({
            "generation": live["metadata"]["generation"],
            "manifest": renewed.digest(),
            "renewed": !put_back,
        }))
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        match Self::saved(cx)? {
            Some(kept) if !self.is_put_back() => Ok(self.standby()?.keep(self.component, &kept)?),
            _ => Ok(()),
        }
    }
}
