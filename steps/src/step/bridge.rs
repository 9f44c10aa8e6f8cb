//! `raise-bridge`, `lower-bridge`: a third API server on a second port.

use super::library::BridgeAct;
use crate::site::Site;
use async_trait::async_trait;
use fulcrum_engine::{Context, Finding, Step, StepError};
use serde_json::Value;
use std::sync::Arc;

pub(super) struct Bridge {
    pub(super) site: Arc<Site>,
    pub(super) forward: Option<BridgeAct>,
    pub(super) back: Option<BridgeAct>,
}

#[async_trait]
impl Step for Bridge {
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
