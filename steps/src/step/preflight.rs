//! `preflight`: makes the checks once more, as part of the run. Its journal has the results.

use crate::preflight::{Level, PreflightInput, preflight};
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
    /// A second look costs no more than a probe.
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }

    async fn run(&self, _cx: &Context) -> Result<Value, StepError> {
        let site = &self.site;
        let report = preflight(&PreflightInput::again(site))
            .await
            .map_err(|refused| StepError::retry(refused.to_string()))?;
        if report.settings != site.settings {
            return Err(StepError::fatal("the node or its manifests have changed since the run was planned"));
        }
        let warnings = report.results.iter().filter(|verdict| verdict.level == Level::Warn);
        let warnings: Vec<String> = warnings.map(ToString::to_string).collect();
        Ok(json!({ "checks": report.results.len(), "warnings": warnings }))
    }

    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Ok(())
    }
}
