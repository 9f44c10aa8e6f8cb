//! `forget-certs`: removes the files that earlier renewals have kept. Only the last renewal can be rolled back:
//! the files of an earlier one are not those that it would put back any more.

use crate::certificates::KeptDir;
use crate::site::Site;
use async_trait::async_trait;
use fulcrum_engine::{Context, ProbeResult, Step, StepError};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) struct ForgetCerts {
    pub(super) site: Arc<Site>,
}

#[async_trait]
impl Step for ForgetCerts {
    /// Looking costs as much as doing it.
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let archive = self.site.archive();
        let forgotten = KeptDir::of(&archive, cx.run()).forget_others(&archive)?;
        Ok(json!({ "renewals": forgotten }))
    }

    /// They are gone for good.
    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Ok(())
    }
}
