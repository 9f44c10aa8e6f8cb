//! `line-up`: the static API server keeps all traffic while the new one starts beside it.

use crate::site::Site;
use async_trait::async_trait;
use fulcrum_engine::{Context, Finding, Step, StepError};
use serde_json::Value;
use std::sync::Arc;

pub(super) struct LineUp {
    pub(super) site: Arc<Site>,
}

#[async_trait]
impl Step for LineUp {
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
