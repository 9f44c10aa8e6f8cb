//! Connections to the server, made again when they are gone.

use super::sql::{FORMAT, QUERIES, Query, Sql};
use fulcrum_state::StoreError;
use futures::future::BoxFuture;
use std::error::Error as _;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, OnceCell, watch};
use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Config, Error, Row, Socket, Statement};

/// The longest wait for one answer, and for a connection.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The pause before a connection is tried again.
const AGAIN: Duration = Duration::from_millis(100);

type Connect = dyn Fn(Option<watch::Sender<u64>>) -> BoxFuture<'static, Result<Client, Error>> + Send + Sync;

/// Some connections, which calls share in turn.
pub(super) struct Pool {
    connect: Box<Connect>,
    sql: Arc<Sql>,
    pub(super) place: String,
    slots: Vec<Mutex<Option<Arc<Connection>>>>,
    next: AtomicUsize,
    /// How long a call is tried again while the server is gone.
    patience: Duration,
}

struct Connection {
    client: Client,
    statements: [OnceCell<Statement>; QUERIES],
}

impl Pool {
    pub(super) fn new<T>(config: Config, tls: T, sql: Sql, connections: usize, patience: Duration) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send,
        T::TlsConnect: Send,
        <T::TlsConnect as tokio_postgres::tls::TlsConnect<Socket>>::Future: Send,
    {
        let place = place(&config);
        let connect = move |woken: Option<watch::Sender<u64>>| -> BoxFuture<'static, Result<Client, Error>> {
            let (config, tls) = (config.clone(), tls.clone());
            Box::pin(async move {
                let (client, mut connection) = config.connect(tls).await?;
                tokio::spawn(async move {
                    while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
                        match message {
                            Ok(AsyncMessage::Notification(_)) => wake(woken.as_ref()),
                            Ok(_) => {}
                            Err(error) => {
                                tracing::debug!(%error, "a connection to PostgreSQL has ended");
                                break;
                            }
                        }
                    }
                    wake(woken.as_ref());
                });
                Ok(client)
            })
        };
        Self {
            connect: Box::new(connect),
            sql: Arc::new(sql),
            place,
            slots: (0..connections.max(1)).map(|_| Mutex::new(None)).collect(),
            next: AtomicUsize::new(0),
            patience,
        }
    }

    /// Makes the tables, or looks whether they fit.
    pub(super) async fn prepare(&self) -> Result<(), StoreError> {
        let fail = |error: Error| self.error("open the journal in", error);
        let client = self.client(None).await.map_err(fail)?;
        let found =
            client.query_one("SELECT current_setting('server_encoding'), current_setting('fsync')", &[]);
        let found = found.await.map_err(fail)?;
        let (encoding, fsync): (String, String) = (found.get(0), found.get(1));
        if encoding != "UTF8" {
            let why = format!("its encoding is {encoding}; make a database with the encoding UTF8");
            return Err(StoreError::new("keep a journal in", &self.place, why));
        }
        if fsync == "off" {
            tracing::warn!(place = %self.place, "fsync is off: a power cut of the server takes entries away");
        }
        client.batch_execute(&self.sql.make).await.map_err(fail)?;
        let version: i32 = client.query_one(&self.sql.format, &[]).await.map_err(fail)?.get(0);
        if version == FORMAT {
            return Ok(());
        }
        let why =
            format!("its tables have format {version}, this version knows {FORMAT}; use the other version");
        Err(StoreError::new("read the journal in", &self.place, why))
    }

    /// Asks one thing. While the server is gone, it is asked again.
    pub(super) async fn ask(
        &self,
        doing: &'static str,
        query: Query,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let until = Instant::now() + self.patience;
        loop {
            let error = match tokio::time::timeout(ANSWER_MAX, self.ask_once(query, parameters)).await {
                Ok(Ok(rows)) => return Ok(rows),
                Ok(Err(error)) if !is_passing(&error) => return Err(self.error(doing, error)),
                Ok(Err(error)) => self.error(doing, error),
                Err(_) => {
                    let why =
                        format!("no answer within {ANSWER_MAX:?}; look at the server and the way to it");
                    StoreError::new(doing, &self.place, why)
                }
            };
            if Instant::now() + AGAIN > until {
                return Err(error);
            }
            tracing::debug!(%error, "asking PostgreSQL again");
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn ask_once(&self, query: Query, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        let connection = self.connection().await?;
        let prepare = || connection.client.prepare(self.sql.text(query));
        let statement = connection.statements[query as usize].get_or_try_init(prepare).await?;
        connection.client.query(statement, parameters).await
    }

    async fn connection(&self) -> Result<Arc<Connection>, Error> {
        let slot = self.next.fetch_add(1, Ordering::Relaxed) % self.slots.len();
        let mut slot = self.slots[slot].lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| !connection.client.is_closed()) {
            return Ok(connection.clone());
        }
        let client = self.client(None).await?;
        let connection =
            Arc::new(Connection { client, statements: [const { OnceCell::const_new() }; QUERIES] });
        *slot = Some(connection.clone());
        Ok(connection)
    }

    /// A connection whose commits are durable when they are acknowledged.
    async fn client(&self, woken: Option<watch::Sender<u64>>) -> Result<Client, Error> {
        let client = (self.connect)(woken).await?;
        let setting = "SELECT set_config('synchronous_commit', 'on', false) \
             WHERE current_setting('synchronous_commit') = 'off'; \
             SET client_min_messages = warning; SET statement_timeout = '10s'";
        client.batch_execute(setting).await?;
        Ok(client)
    }

    /// Listens, and tells `woken` when a run may be due: as long as the answer is kept.
    pub(super) async fn listen(&self, woken: watch::Sender<u64>) -> Result<Client, StoreError> {
        let listen = async {
            let client = self.client(Some(woken)).await?;
            client.batch_execute(&self.sql.listen).await?;
            Ok(client)
        };
        match tokio::time::timeout(ANSWER_MAX, listen).await {
            Ok(result) => result.map_err(|error| self.error("listen to", error)),
            Err(_) => {
                Err(StoreError::new("listen to", &self.place, format!("no answer within {ANSWER_MAX:?}")))
            }
        }
    }

    fn error(&self, doing: &'static str, error: Error) -> StoreError {
        StoreError::new(doing, &self.place, error)
    }
}

/// Tells the workers that a run may be due.
fn wake(woken: Option<&watch::Sender<u64>>) {
    if let Some(woken) = woken {
        woken.send_modify(|count| *count += 1);
    }
}

/// Whether the server may answer if it is asked again.
fn is_passing(error: &Error) -> bool {
    if let Some(code) = error.code() {
        let passing = [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::TOO_MANY_CONNECTIONS,
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::QUERY_CANCELED,
        ];
        return passing.contains(code);
    }
    error.is_closed() || error.source().is_some_and(|source| source.is::<io::Error>())
}

/// The server and the database, without a password.
fn place(config: &Config) -> String {
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .map(|host| match host {
            tokio_postgres::config::Host::Tcp(host) => host.clone(),
            tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
        })
        .collect();
    let name = config.get_dbname().or(config.get_user()).unwrap_or("postgres");
    format!("postgres database {name} on {}", hosts.join(","))
}
