//! `way-back/vacate-port/<c>`: on the way back, the DaemonSet goes and with it its process from the port.

use crate::component::Component;
use crate::site::Site;
use async_trait::async_trait;
use fulcrum_engine::{Context, Finding, Step, StepError};
use serde_json::Value;
use std::sync::Arc;

pub(super) struct VacatePort {
    pub(super) site: Arc<Site>,
    pub(super) component: Component,
}

#[async_trait]
impl Step for VacatePort {
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
