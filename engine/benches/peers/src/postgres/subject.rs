//! The two engines, behind one interface. Each is used as its documentation shows, with eight connections a process.

use async_trait::async_trait;
use durare::{DurableContext, DurableEngine, WorkflowOptions, WorkflowQueue};
use fulcrum_engine::postgres::tokio_postgres::NoTls;
use fulcrum_engine::postgres::{Options, Postgres, Worker};
use fulcrum_engine::{Engine, Outcome, Phase, Plan, Policy, Session, StepSpec, Steps, step};
use serde_json::Value;
use std::error::Error;
use std::time::Duration;

pub(crate) type Failed = Box<dyn Error + Send + Sync>;

/// How many runs a worker has at once.
const AT_ONCE: usize = 16;
/// durare's workers ask every second if they are not told otherwise: then they would mostly sleep.
const ASKS_EVERY: Duration = Duration::from_millis(20);
const QUEUE: &str = "runs";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Durare,
    Ours,
}

/// An engine whose runs are in a database.
#[async_trait]
pub(crate) trait Peer: Send + Sync {
    /// Carries a run of so many steps out, one after the other.
    async fn run(&self, steps: u64) -> Result<(), Failed>;

    /// Hands a run in, for a worker.
    async fn submit(&self, number: u64, steps: u64) -> Result<(), Failed>;

    /// Works on what was handed in, until the process is killed.
    async fn work(&self) -> Result<(), Failed>;
}

impl Subject {
    pub(crate) const ALL: [Subject; 2] = [Subject::Durare, Subject::Ours];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Durare => "durare 0.5.0",
            Self::Ours => "fulcrum-engine",
        }
    }

    /// What counts the runs that are not completed.
    pub(crate) fn left(self) -> &'static str {
        match self {
            Self::Durare => "SELECT count(*) FROM dbos.workflow_status WHERE status <> 'SUCCESS'",
            Self::Ours => "SELECT count(*) FROM fulcrum.runs WHERE NOT over",
        }
    }

    /// Opens it on the server whose socket is in `socket`. `name` tells its processes apart.
    pub(crate) async fn open(
        self,
        socket: &str,
        database: &str,
        name: &str,
    ) -> Result<Box<dyn Peer>, Failed> {
        Ok(match self {
            Self::Durare => {
                let url = format!("postgres://fulcrum@localhost/{database}?host={socket}");
                let mut builder = DurableEngine::connect(&url).await?;
                let queue = WorkflowQueue::new(QUEUE).worker_concurrency(AT_ONCE);
                // The version is given: durare would hash this whole program for one.
                builder.app_version("1").executor_id(name);
                builder.register_queue(queue.base_polling_interval(ASKS_EVERY));
                Box::new(Durare(builder.build().await?))
            }
            Self::Ours => {
                let config = format!("host={socket} user=fulcrum dbname={database}");
                // One more listens.
                let options = Options::default().connections(7).name(name);
                let store = Postgres::open_with(config.parse()?, NoTls, options).await?;
                let steps =
                    Steps::new().with(step("nothing").run(|_| async { Ok(()) }).undo(|_| async { Ok(()) }));
                let engine = Engine::new(store.journal(), steps, Session::current("bench")?);
                Box::new(Ours { store, engine })
            }
        })
    }
}

struct Durare(DurableEngine);

#[durare::step]
async fn nothing(_ctx: &DurableContext, step: u64) -> durare::Result<u64> {
    Ok(step)
}

#[durare::workflow]
async fn chain(ctx: DurableContext, steps: u64) -> durare::Result<u64> {
    for step in 0..steps {
        nothing(&ctx, step).await?;
    }
    Ok(steps)
}

#[async_trait]
impl Peer for Durare {
    async fn run(&self, steps: u64) -> Result<(), Failed> {
        self.0.start_with(Chain, steps, WorkflowOptions::default()).await?.await?;
        Ok(())
    }

    async fn submit(&self, number: u64, steps: u64) -> Result<(), Failed> {
        let options = WorkflowOptions::with_id(format!("run {number}")).queue(QUEUE);
        self.0.start_with(Chain, steps, options).await?;
        Ok(())
    }

    async fn work(&self) -> Result<(), Failed> {
        self.0.launch().await?;
        std::future::pending().await
    }
}

struct Ours {
    store: Postgres,
    engine: Engine,
}

fn plan(steps: u64) -> Result<Plan, Failed> {
    let name = |step: u64| format!("nothing/{step}");
    let specs = (0..steps).map(|step| {
        let spec = StepSpec::new(name(step), Value::Null).policy(Policy::default());
        if step == 0 { spec } else { spec.after([name(step - 1)]) }
    });
    Ok(Plan::new("chain", specs.collect())?)
}

#[async_trait]
impl Peer for Ours {
    async fn run(&self, steps: u64) -> Result<(), Failed> {
        match self.engine.start(plan(steps)?).await?.phase {
            Phase::Ended(Outcome::Completed, _) => Ok(()),
            other => Err(format!("the run should have completed, but it is {other}").into()),
        }
    }

    async fn submit(&self, number: u64, steps: u64) -> Result<(), Failed> {
        self.engine.submit(&format!("run {number}"), plan(steps)?).await?;
        Ok(())
    }

    async fn work(&self) -> Result<(), Failed> {
        let worker = Worker::new(self.store.clone(), self.engine.clone()).at_once(AT_ONCE);
        worker.serve(std::future::pending()).await;
        Ok(())
    }
}
