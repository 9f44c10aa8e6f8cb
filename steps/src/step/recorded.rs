//! A step of which the journal keeps what it changes, in each of its calls.

use crate::change::recorded;
use async_trait::async_trait;
use fulcrum_engine::{Context, ProbeResult, Step, StepError};
use serde_json::Value;
use std::sync::Arc;

pub(super) struct Recorded(pub(super) Arc<dyn Step>);

#[async_trait]
impl Step for Recorded {
    fn version(&self) -> u32 {
        self.0.version()
    }

    fn saves(&self) -> bool {
        self.0.saves()
    }

    async fn save(&self, cx: &Context) -> Result<Vec<u8>, StepError> {
        self.0.save(cx).await
    }

    async fn probe(&self, cx: &Context) -> Result<ProbeResult, StepError> {
        self.0.probe(cx).await
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        recorded(cx, self.0.run(cx)).await
    }

    /// The attempt was cut short and may have recorded nothing.
    async fn output(&self, cx: &Context) -> Result<Value, StepError> {
        recorded(cx, self.0.output(cx)).await
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        recorded(cx, self.0.undo(cx)).await
    }
}
