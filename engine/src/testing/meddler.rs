//! A registry with the user's steps. It meddles with one of them.

use crate::event::ProbeResult;
use crate::plan::{StepId, StepSpec};
use crate::step::{Context, Step, StepRegistry};
use crate::step_error::StepError;
use async_trait::async_trait;
use serde_json::Value;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::mpsc;

/// The change to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meddling {
    RunTwice,
    UndoTwice,
    /// Fail for good, before or after its effect.
    FailBefore,
    FailAfter,
}

pub(crate) struct Meddler<L> {
    pub(crate) inner: L,
    pub(crate) with: Option<(StepId, Meddling)>,
    /// Closed when the last step is gone.
    pub(crate) alive: mpsc::Sender<Infallible>,
}

struct Meddled {
    inner: Arc<dyn Step>,
    how: Option<Meddling>,
    _alive: mpsc::Sender<Infallible>,
}

impl<L: StepRegistry> StepRegistry for Meddler<L> {
    fn step(&self, spec: &StepSpec) -> Result<Arc<dyn Step>, String> {
        let how = self.with.as_ref().filter(|(step, _)| *step == spec.id).map(|(_, how)| *how);
        Ok(Arc::new(Meddled { inner: self.inner.step(spec)?, how, _alive: self.alive.clone() }))
    }
}

#[async_trait]
impl Step for Meddled {
    fn version(&self) -> u32 {
        self.inner.version()
    }

    async fn probe(&self, cx: &Context) -> Result<ProbeResult, StepError> {
        self.inner.probe(cx).await
    }

    async fn output(&self, cx: &Context) -> Result<Value, StepError> {
        self.inner.output(cx).await
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let told_to = || StepError::fatal("the test has it fail");
        match self.how {
            Some(Meddling::FailBefore) => return Err(told_to()),
            Some(Meddling::RunTwice) => _ = self.inner.run(cx).await?,
            _ => {}
        }
        let output = self.inner.run(cx).await?;
        if self.how == Some(Meddling::FailAfter) { Err(told_to()) } else { Ok(output) }
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        if self.how == Some(Meddling::UndoTwice) {
            self.inner.undo(cx).await?;
        }
        self.inner.undo(cx).await
    }

    fn saves(&self) -> bool {
        self.inner.saves()
    }

    async fn save(&self, cx: &Context) -> Result<Vec<u8>, StepError> {
        self.inner.save(cx).await
    }
}
