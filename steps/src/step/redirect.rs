//! `redirect`, `end-redirect`: new connections to the port go to the bridge.

use super::library::RedirectAct;
use crate::site::Site;
use async_trait::async_trait;
use fulcrum_engine::{Context, Finding, Step, StepError};
use serde_json::Value;
use std::sync::Arc;

pub(super) struct RedirectStep {
    pub(super) site: Arc<Site>,
    pub(super) forward: Option<RedirectAct>,
    pub(super) back: Option<RedirectAct>,
}

#[async_trait]
impl Step for RedirectStep {
    async fn probe(&self, _cx: &Context) -> Result<Finding, StepError> {
        Err(StepError::fatal("NOT WRITTEN YET"))
    }

    async fn run(&self, _cx: &Context) -> Result<Value, StepError> {
        Err(StepError::fatal("NOT WRITTEN YET"))
    }

    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Err(StepError::fatal("NOT WRITTEN YET"))
    }
}
