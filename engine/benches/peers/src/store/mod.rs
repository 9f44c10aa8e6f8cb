//! What is measured, behind one interface. Each is used as its documentation shows.

mod durare;
mod duroxide;
mod memable;
mod ours;
mod raw;
mod sqlite;

use async_trait::async_trait;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

pub(crate) type Failed = Box<dyn Error + Send + Sync>;

/// An engine with its store open.
#[async_trait]
pub(crate) trait Store: Send + Sync {
    /// Carries out one workflow: `steps` steps, one after the other.
    async fn run(&self, steps: u64) -> Result<(), Failed>;

    /// Makes `runs` finished runs out of the first one, if carrying them out would take too long.
    async fn multiply(&self, _runs: u64) -> Result<bool, Failed> {
        Ok(false)
    }

    /// Goes on with every workflow that is open.
    async fn go_on(&self) -> Result<(), Failed>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Append,
    Written,
    SqliteWal,
    SqliteRollback,
    Memable,
    Duroxide,
    Durare,
    DurareFull,
    Ours,
}

impl Subject {
    pub(crate) const ALL: [Subject; 9] = [
        Subject::Append,
        Subject::Written,
        Subject::SqliteWal,
        Subject::SqliteRollback,
        Subject::Memable,
        Subject::Duroxide,
        Subject::Durare,
        Subject::DurareFull,
        Subject::Ours,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Append => "append + fdatasync",
            Self::Written => "write + fdatasync, written blocks",
            Self::SqliteWal => "SQLite, WAL, FULL",
            Self::SqliteRollback => "SQLite, rollback journal, FULL",
            Self::Memable => "memable 0.1.5",
            Self::Duroxide => "duroxide 0.1.32, SQLite",
            Self::Durare => "durare 0.5.0, SQLite",
            Self::DurareFull => "durare 0.5.0, SQLite set to FULL",
            Self::Ours => "fulcrum-engine",
        }
    }

    /// Whether it has workflows, and not only writes.
    pub(crate) fn is_engine(self) -> bool {
        self.is_peer() || self == Self::Ours
    }

    pub(crate) fn is_peer(self) -> bool {
        matches!(self, Self::Memable | Self::Duroxide | Self::Durare | Self::DurareFull)
    }

    /// Whether several writers have a meaning.
    pub(crate) fn is_shared(self) -> bool {
        !matches!(self, Self::Append | Self::Written)
    }

    /// Whether it is started on a store of finished runs. durare opens one in the same time, however it syncs.
    pub(crate) fn starts_cold(self) -> bool {
        self.is_engine() && self != Self::DurareFull
    }

    /// `alone` says that the process carries out one workflow and nothing else.
    pub(crate) async fn open(self, dir: &Path, alone: bool) -> Result<Arc<dyn Store>, Failed> {
        Ok(match self {
            Self::Append => Arc::new(raw::Raw::append(dir)?),
            Self::Written => Arc::new(raw::Raw::written(dir)?),
            Self::SqliteWal => Arc::new(sqlite::Sqlite::open(dir, "WAL")?),
            Self::SqliteRollback => Arc::new(sqlite::Sqlite::open(dir, "DELETE")?),
            Self::Memable => Arc::new(memable::Memable::open(dir).await?),
            Self::Duroxide => Arc::new(duroxide::Duroxide::open(dir).await?),
            Self::Durare => Arc::new(durare::Durare::open(dir).await?),
            Self::DurareFull => Arc::new(durare::Durare::open_full(dir).await?),
            Self::Ours => Arc::new(ours::Ours::open(dir, alone)?),
        })
    }
}
