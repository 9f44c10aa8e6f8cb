//! memable, on a file of redb. Every commit is `Durability::Immediate`, which is redb's default.

use super::{Failed, Store};
use crate::body;
use async_trait::async_trait;
use memable::{Context, Engine, EngineError, WorkflowState};
use std::path::Path;

pub(super) struct Memable(Engine);

impl Memable {
    /// Also goes on with what is open: memable does so when it starts.
    pub(super) async fn open(dir: &Path) -> Result<Self, Failed> {
        let mut engine = Engine::builder().open(dir.join("workflows.redb"))?.build();
        engine.register("chain", chain);
        engine.start().await?;
        Ok(Self(engine))
    }
}

async fn chain(ctx: Context) -> Result<(), EngineError> {
    let steps: u64 = ctx.input()?.unwrap_or_default();
    for step in 0..steps {
        let body = async move || {
            body::run(step);
            Ok(step)
        };
        ctx.step(&format!("step-{step}:v1")).run(body).await?;
    }
    Ok(())
}

#[async_trait]
impl Store for Memable {
    async fn run(&self, steps: u64) -> Result<(), Failed> {
        match self.0.invoke("chain").input(steps).await?.wait().await {
            WorkflowState::Completed(_) => Ok(()),
            other => Err(format!("memable's workflow should have completed, but it is {other}").into()),
        }
    }

    async fn go_on(&self) -> Result<(), Failed> {
        Ok(())
    }
}
