//! Errors of the guard itself.

use crate::cluster::ClusterError;
use crate::host::HostError;
use fulcrum_engine::state::{OpenError, ReadError};
use fulcrum_engine::{EngineError, LoadError, PlanError, StepError};
use std::io;

/// The guard could not do what it is for.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The journal could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The journal could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A run could not be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// What was stored is not understood.
    #[error("what is stored with the pivot is not understood: {0}")]
    Json(#[from] serde_json::Error),
    /// The machine did not do as it was asked.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The guard could not tell which server serves on this machine.
    #[error("{0}")]
    Look(StepError),
    /// The API did not do as it was asked.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A file could not be read or written.
    #[error("{doing}: {source}")]
    Disk {
        /// What was being done.
        doing: String,
        /// What was seen.
        source: io::Error,
    },
    /// A manifest that should have been kept is gone.
    #[error("no manifest of {0} was kept: it cannot be put back")]
    NothingKept(crate::component::Component),
    /// The node or the cluster cannot be reached.
    #[error("{0}")]
    NoWay(String),
    /// A run could not be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A run could not go on.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl From<StepError> for GuardError {
    fn from(error: StepError) -> Self {
        Self::Look(error)
    }
}

impl GuardError {
    pub(super) fn disk(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Disk { doing, source }
    }
}
