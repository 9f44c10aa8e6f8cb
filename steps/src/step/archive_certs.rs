//! `archive-certs`: copies the files that a renewal replaces. They have keys in them, so the copies are for root
//! only, and the journal has their paths and digests. Undo removes the copies: the files are back by then.

use crate::certificates::{KeptDir, KeptFile, Renewable};
use crate::site::Site;
use crate::step_name::StepKind;
use async_trait::async_trait;
use fulcrum_engine::{Context, ProbeResult, Step, StepError, StepId};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) struct ArchiveCerts {
    pub(super) site: Arc<Site>,
    pub(super) names: Vec<Renewable>,
}

#[async_trait]
impl Step for ArchiveCerts {
    /// Copies that were cut short are made again: nothing is renewed yet.
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let dir = KeptDir::of(&self.site.archive(), cx.run());
        Ok(json!({ "files": dir.keep(&self.names, &self.site.kubernetes_dir())? }))
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        Ok(KeptDir::of(&self.site.archive(), cx.run()).forget()?)
    }
}

/// The files that this run has kept. None if it has not come so far.
pub(super) fn kept(cx: &Context) -> Result<Vec<KeptFile>, StepError> {
    let output = cx.output_value(StepId::from(StepKind::ArchiveCerts).as_str());
    let files = output.map(|output| output["files"].clone());
    files.map_or(Ok(Vec::new()), |files| serde_json::from_value(files).map_err(StepError::fatal))
}
