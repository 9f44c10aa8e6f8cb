//! The journal in PostgreSQL, for programs on more than one machine (cargo feature `postgres`).
//!
//! A run has one writer at a time, on whichever machine. The writer holds a claim: a lease that this store renews,
//! and a fencing token that grows with each claim. The server's clock decides when a lease is over. A machine that dies
//! loses its claims when their leases end, and a [`Worker`] on another one takes the runs up. A machine that was only
//! slow finds out at its next append: the server refuses it ([`AppendError::Fenced`]).
//!
//! An effect outside of the journal is fenced by the step: [`Context::fencing_token`](crate::Context::fencing_token)
//! is what a storage or a device compares with the greatest token that it has seen of this run. A step that cannot do
//! that may still be at work on a machine that has lost its claim, for as long as it takes to notice: the engine drops
//! it when the lease is over by that machine's clock.
//!
//! ```no_run
//! use fulcrum_engine::postgres::{Postgres, Worker};
//! use fulcrum_engine::{Engine, Plan, Session, StepSpec, Steps, step};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Postgres::open("host=/run/postgresql user=orders dbname=orders").await?;
//! let steps = Steps::new().with(step("greet").run(|_| async { Ok(()) }));
//! let engine = Engine::new(store.journal(), steps, Session::current("orders 1")?);
//! // Any machine may hand a run in ...
//! engine.submit("order 17", Plan::new("order", vec![StepSpec::with_args("greet", &"you")?])?).await?;
//! // ... and any machine that works takes it up.
//! Worker::new(store, engine).serve(async { _ = tokio::signal::ctrl_c().await }).await;
//! # Ok(())
//! # }
//! ```

mod calls;
mod pool;
mod renew;
mod rows;
mod shared;
mod sql;
mod worker;

pub use tokio_postgres;
pub use worker::Worker;

use self::pool::Pool;
use self::shared::{Core, PgLease};
use self::sql::Sql;
use fulcrum_state::{
    Answer, AppendError, Batch, Digest, Entry, Head, Journal, Lease, ReadError, RunHeader, RunId, Store,
    StoreError,
};
use std::future::Future;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::runtime::{Handle, Runtime, RuntimeFlavor};
use tokio::sync::oneshot;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Config, NoTls, Socket};

/// The longest wait for claims to be released when the last handle is dropped.
const RELEASE_MAX: Duration = Duration::from_secs(2);

/// A connection that takes longer to be made, or whose data is not acknowledged for longer, is given up.
const CONNECTION_MAX: Duration = Duration::from_secs(10);

/// A journal in PostgreSQL. Clones are one. Dropping the last one releases the claims of runs that are not at work.
#[derive(Clone)]
pub struct Postgres {
    inner: Arc<Inner>,
}

/// A run that waits for a worker on a machine ([`Postgres::elsewhere`]).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Elsewhere {
    /// The run.
    pub run: RunId,
    /// Its workflow.
    pub workflow: String,
    /// The machines that its next steps are bound to.
    pub machines: Vec<String>,
    /// How long it has waited for them.
    pub waited: Duration,
}

/// The threads, and what they work on.
struct Inner {
    core: Arc<Core>,
    runtime: Option<Runtime>,
}

/// How the journal in PostgreSQL is used.
#[derive(Debug, Clone)]
#[must_use = "options must be given to `Postgres::open_with`"]
pub struct Options {
    schema: String,
    lease: Duration,
    connections: usize,
    patience: Duration,
    name: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            schema: "fulcrum".to_owned(),
            lease: Duration::from_secs(15),
            connections: 4,
            patience: Duration::from_secs(30),
            name: None,
        }
    }
}

impl Options {
    /// The schema of the tables: lower-case letters, digits and underscores. `fulcrum` if it is not set.
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.schema = name.into();
        self
    }

    /// How long a claim lasts if it is not renewed. It is renewed each third of that. 15 s if it is not set, at
    /// least 1 s.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease.max(Duration::from_secs(1));
        self
    }

    /// How many connections the process shares for its runs; one more listens. 4 if it is not set.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// How long a call waits for a server that is gone. 30 s if it is not set.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// What this process is called where it holds a run. The name of the host if it is not set.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

impl Postgres {
    /// Opens the journal in a database, without TLS. Makes its tables if they are not there.
    /// `config` is a connection string of PostgreSQL.
    ///
    /// # Errors
    /// [`StoreError`]: the string cannot be read, the server does not answer, or the tables do not fit.
    pub async fn open(config: &str) -> Result<Self, StoreError> {
        let config: Config = config.parse().map_err(|error: tokio_postgres::Error| {
            StoreError::new("read the connection string of", "a PostgreSQL database", error)
        })?;
        Self::open_with(config, NoTls, Options::default()).await
    }

    /// Opens the journal in a database, with TLS (or [`NoTls`]) and options.
    ///
    /// # Errors
    /// As for [`Postgres::open`].
    pub async fn open_with<T>(mut config: Config, tls: T, options: Options) -> Result<Self, StoreError>
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send,
        T::TlsConnect: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(CONNECTION_MAX);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECTION_MAX);
        }
        let Options { schema, lease, connections, patience, name } = options;
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let starts = schema.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        if !starts || !schema.chars().all(is_plain) || schema.len() > SCHEMA_BYTES_MAX {
            let why = "a schema is named by lower-case letters, digits and underscores, at most 40 of them";
            return Err(StoreError::new("use the schema", format!("{schema:?}"), why));
        }
        let pool = Pool::new(config, tls, Sql::new(&schema), connections, patience);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("fulcrum-postgres")
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| StoreError::new("start a thread for", &pool.place, error))?;
        let core = Arc::new(Core::new(pool, holder(name), lease, runtime.handle().clone()));
        let inner = Arc::new(Inner { core: core.clone(), runtime: Some(runtime) });
        let preparing = core.clone();
        let prepared = spawned(&core.runtime, async move { preparing.pool.prepare().await }).await;
        prepared.unwrap_or_else(|| Err(gone(&core)))?;
        core.runtime.spawn(renew::renew(Arc::downgrade(&core)));
        core.runtime.spawn(renew::listen(Arc::downgrade(&core)));
        Ok(Self { inner })
    }

    /// The journal, for an [`Engine`](crate::Engine).
    pub fn journal(&self) -> Journal {
        Journal::in_store(Arc::new(self.clone()))
    }

    /// What this process is called where it holds a run.
    pub fn holder(&self) -> &str {
        &self.inner.core.holder
    }

    /// The runs that no process is at work on, and that only workers on some machines can go on with. The one that
    /// waits longest comes first.
    ///
    /// # Errors
    /// [`StoreError`]: the server does not answer.
    pub async fn elsewhere(&self) -> Result<Vec<Elsewhere>, StoreError> {
        let core = self.core();
        let listed = spawned(&self.inner.core.runtime, async move { core.elsewhere().await });
        listed.await.unwrap_or_else(|| Err(gone(&self.inner.core)))
    }

    fn core(&self) -> Arc<Core> {
        self.inner.core.clone()
    }

    /// Reads, and blocks the thread meanwhile. A runtime with several threads goes on with its other tasks.
    fn read<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, ReadError> {
        let read = self.wait(future).unwrap_or_else(|| Err(gone(&self.inner.core)));
        read.map_err(ReadError::Store)
    }

    fn wait<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.inner.core.runtime.spawn(async move {
            let _ = answer.send(future.await);
        });
        let is_shared = |runtime: Handle| runtime.runtime_flavor() == RuntimeFlavor::MultiThread;
        match Handle::try_current().is_ok_and(is_shared) {
            true => tokio::task::block_in_place(|| answered.recv().ok()),
            false => answered.recv().ok(),
        }
    }
}

/// A longer name makes the name of its channel too long for the server.
const SCHEMA_BYTES_MAX: usize = 40;

impl Drop for Inner {
    fn drop(&mut self) {
        self.core.wait_for_releases(RELEASE_MAX);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Store for Postgres {
    fn place(&self) -> String {
        self.inner.core.pool.place.clone()
    }

    fn begin(&self, header: RunHeader, batch: Batch) -> Answer<Result<Arc<dyn Lease>, AppendError>> {
        let core = self.core();
        self.append_later(async move {
            let lease: Arc<dyn Lease> = core.begin(header, batch).await?;
            Ok(lease)
        })
    }

    fn claim(&self, run: RunId) -> Result<(RunHeader, Arc<dyn Lease>), AppendError> {
        let core = self.core();
        let lease =
            self.wait(async move { core.claim(run).await }).unwrap_or(Err(AppendError::WriterGone))?;
        let header = lease.hold.header.clone();
        let lease: Arc<dyn Lease> = lease;
        Ok((header, lease))
    }

    fn append(
        &self,
        run: RunId,
        lease: Arc<dyn Lease>,
        expected: Head,
        batch: Batch,
    ) -> Answer<Result<(), AppendError>> {
        let core = self.core();
        self.append_later(async move {
            let result = core.append(run, lease.token(), expected, batch).await;
            // Not earlier: the run is not released while an append may be on its way.
            drop(lease);
            result
        })
    }

    fn prune(&self, runs: Vec<RunId>, reason: String) -> Answer<Result<(), AppendError>> {
        let core = self.core();
        self.append_later(async move { core.prune(runs, reason).await })
    }

    fn headers(&self, only_open: bool) -> Result<Vec<RunHeader>, ReadError> {
        let core = self.core();
        self.read(async move { core.headers(only_open).await })
    }

    fn header(&self, run: RunId) -> Result<Option<RunHeader>, ReadError> {
        let core = self.core();
        self.read(async move { core.header(run).await })
    }

    fn pruned(&self, run: RunId) -> Result<Option<Head>, ReadError> {
        let core = self.core();
        self.read(async move { core.pruned(run).await })
    }

    fn entries(&self, run: RunId, after: u64, until: u64) -> Result<Vec<Entry>, ReadError> {
        let core = self.core();
        self.read(async move { core.entries(run, after, until).await })
    }

    fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, ReadError> {
        let (core, digest) = (self.core(), digest.as_bytes().to_vec());
        self.read(async move { core.blob(digest).await })
    }
}

impl Postgres {
    /// Begins with it now. It goes on if the caller is gone.
    fn append_later<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, AppendError>> + Send + 'static,
    ) -> Answer<Result<T, AppendError>> {
        let answer = spawned(&self.inner.core.runtime, future);
        Box::pin(async move { answer.await.unwrap_or(Err(AppendError::WriterGone)) })
    }

    async fn claim_next(
        &self,
        kinds: Option<Vec<String>>,
        machine: Option<String>,
    ) -> Result<Option<Arc<PgLease>>, StoreError> {
        let core = self.core();
        let claim = async move { core.claim_next(kinds.as_deref(), machine.as_deref()).await };
        spawned(&self.inner.core.runtime, claim).await.unwrap_or_else(|| Err(gone(&self.inner.core)))
    }
}

/// Carries it out on the store's thread. `None` if that is gone.
fn spawned<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    runtime: &Handle,
    future: F,
) -> impl Future<Output = Option<T>> + Send + use<T, F> {
    let (answer, answered) = oneshot::channel();
    runtime.spawn(async move {
        let _ = answer.send(future.await);
    });
    async move { answered.await.ok() }
}

fn gone(core: &Core) -> StoreError {
    StoreError::new("use", &core.pool.place, "its thread has ended; look for a panic in the log")
}

/// No two processes have one name, nor has one process it twice.
fn holder(name: Option<String>) -> String {
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned());
    let name = name.or_else(|| host().ok()).unwrap_or_else(|| "a host without a name".to_owned());
    format!("{name}, process {}, {:08x}", std::process::id(), fastrand::u32(..))
}
