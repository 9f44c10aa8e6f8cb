//! `preflight`: the checks, once more, as part of the run: what passed is in its journal.

use crate::preflight::{Ask, Level, preflight};
use crate::settings::Wanted;
use crate::site::Site;
use async_trait::async_trait;
use fulcrum_engine::{Context, ProbeResult, Step, StepError};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) struct Preflight {
    pub(super) site: Arc<Site>,
}

#[async_trait]
impl Step for Preflight {
    /// Looking again is the same as doing it.
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }

    async fn run(&self, _cx: &Context) -> Result<Value, StepError> {
        let site = &self.site;
        let ask = Ask {
            manifests: site.node.manifests.clone(),
            host: Arc::clone(&site.node.host),
            cluster: site.cluster.clone(),
            kubeconfig: site.settings.kubeconfig.clone(),
            node_name: Some(site.settings.node.clone()),
            handover: Wanted::Way(site.settings.handover),
            soak: site.settings.soak,
            units: Arc::clone(&site.node.units),
            guard: site.settings.guard,
            on_reboot: site.settings.on_reboot,
        };
        let report = preflight(&ask).await.map_err(|refused| StepError::retry(refused.to_string()))?;
        if report.settings != site.settings {
            return Err(StepError::fatal("the node or its manifests have changed since the run was planned"));
        }
        let warnings = report.verdicts.iter().filter(|verdict| verdict.level == Level::Warn);
        let warnings: Vec<String> = warnings.map(ToString::to_string).collect();
        Ok(json!({ "checks": report.verdicts.len(), "warnings": warnings }))
    }

    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Ok(())
    }
}
