//! duroxide, on its SQLite store. Its `PRAGMA synchronous = WAL` is no value of SQLite's, which takes NORMAL.

use super::{Failed, Store};
use crate::body;
use async_trait::async_trait;
use duroxide::providers::sqlite::SqliteProvider;
use duroxide::runtime::registry::ActivityRegistry;
use duroxide::runtime::{ObservabilityConfig, Runtime, RuntimeOptions};
use duroxide::{ActivityContext, Client, OrchestrationContext, OrchestrationRegistry, OrchestrationStatus};
use rusqlite::{Connection, TransactionBehavior};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Its dispatchers ask the store again when they found nothing. By default they wait 100 ms, and a step of a
/// chain takes as long.
const ASK_EVERY: Duration = Duration::from_millis(1);
/// An activity that was cut begins again when its lock is over: by default after 30 s. The lock of the one that
/// [`fill`](crate::child) leaves is over when the store is opened again.
const LOCK: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(60);

pub(super) struct Duroxide {
    path: PathBuf,
    client: Client,
    runs: AtomicU64,
    _runtime: Arc<Runtime>,
}

impl Duroxide {
    /// Also goes on with what is open: duroxide does so when it starts.
    pub(super) async fn open(dir: &Path) -> Result<Self, Failed> {
        let path = dir.join("duroxide.db");
        OpenOptions::new().create(true).append(true).open(&path)?;
        let store = Arc::new(SqliteProvider::new(&format!("sqlite:{}", path.display()), None).await?);
        let activities = ActivityRegistry::builder().register("trivial", trivial).build();
        let orchestrations = OrchestrationRegistry::builder().register("chain", chain).build();
        let options = RuntimeOptions {
            dispatcher_min_poll_interval: ASK_EVERY,
            worker_lock_timeout: LOCK,
            observability: ObservabilityConfig { log_level: "error".into(), ..Default::default() },
            ..Default::default()
        };
        let runtime = Runtime::start_with_options(store.clone(), activities, orchestrations, options).await;
        Ok(Self { path, client: Client::new(store), runs: AtomicU64::new(0), _runtime: runtime })
    }
}

async fn trivial(_ctx: ActivityContext, step: String) -> Result<String, String> {
    body::run(step.parse().map_err(|error| format!("{step}: {error}"))?);
    Ok(step)
}

async fn chain(ctx: OrchestrationContext, steps: String) -> Result<String, String> {
    let count: u64 = steps.parse().map_err(|error| format!("{steps}: {error}"))?;
    for step in 0..count {
        ctx.schedule_activity("trivial", step.to_string()).await?;
    }
    Ok(steps)
}

#[async_trait]
impl Store for Duroxide {
    async fn run(&self, steps: u64) -> Result<(), Failed> {
        let instance = format!("chain-{}", self.runs.fetch_add(1, Ordering::Relaxed));
        let failed = |error| format!("duroxide, {instance}: {error:?}");
        self.client.start_orchestration(&instance, "chain", steps.to_string()).await.map_err(failed)?;
        match self.client.wait_for_orchestration(&instance, LONG).await.map_err(failed)? {
            OrchestrationStatus::Completed { .. } => Ok(()),
            other => Err(format!("{instance} should have completed, but it is {other:?}").into()),
        }
    }

    /// Its dispatchers get in each other's way: 10,000 runs would take minutes.
    async fn multiply(&self, runs: u64) -> Result<bool, Failed> {
        let mut connection = Connection::open(&self.path)?;
        connection.busy_timeout(LONG)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for table in ["instances", "executions", "history"] {
            let others = "SELECT group_concat(name) FROM pragma_table_info(?1) WHERE name <> 'instance_id'";
            let columns: String = transaction.query_row(others, [table], |row| row.get(0))?;
            let copy = format!(
                "WITH RECURSIVE copies(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM copies WHERE n < ?1)
                 INSERT INTO {table} (instance_id, {columns})
                 SELECT 'copy-' || n, {columns} FROM {table}, copies"
            );
            transaction.execute(&copy, [runs])?;
        }
        transaction.commit()?;
        Ok(true)
    }

    async fn go_on(&self) -> Result<(), Failed> {
        Ok(())
    }
}
