//! durare, on its SQLite store. As it comes, `synchronous` is NORMAL: a commit is not synced.

use super::{Failed, Store};
use crate::body;
use async_trait::async_trait;
use durare::{DurableContext, DurableEngine, DurableEngineBuilder, SqliteProvider, WorkflowOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(super) struct Durare(DurableEngine);

impl Durare {
    pub(super) async fn open(dir: &Path) -> Result<Self, Failed> {
        let url = format!("sqlite://{}", dir.join("durare.db").display());
        Self::build(DurableEngine::connect(&url).await?).await
    }

    /// Its own settings, all but one.
    pub(super) async fn open_full(dir: &Path) -> Result<Self, Failed> {
        let options = SqliteConnectOptions::new()
            .filename(dir.join("durare.db"))
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new().max_connections(5).connect_with(options).await?;
        Self::build(DurableEngine::builder(Arc::new(SqliteProvider::from_pool(pool)))).await
    }

    /// The version is given: durare would hash this whole program for one.
    async fn build(mut builder: DurableEngineBuilder) -> Result<Self, Failed> {
        builder.app_version("1");
        Ok(Self(builder.build().await?))
    }
}

#[durare::step]
async fn trivial(ctx: &DurableContext, step: u64) -> durare::Result<u64> {
    body::run(step);
    Ok(step)
}

#[durare::workflow]
async fn chain(ctx: DurableContext, steps: u64) -> durare::Result<u64> {
    for step in 0..steps {
        trivial(&ctx, step).await?;
    }
    Ok(steps)
}

#[async_trait]
impl Store for Durare {
    async fn run(&self, steps: u64) -> Result<(), Failed> {
        self.0.start_with(Chain, steps, WorkflowOptions::default()).await?.await?;
        Ok(())
    }

    async fn go_on(&self) -> Result<(), Failed> {
        self.0.recover().await?;
        Ok(())
    }
}
