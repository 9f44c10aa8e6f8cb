use super::inventory::Difference;
use crate::WaitError;
use fulcrum_engine::state::OpenError;
use fulcrum_engine::{EngineError, LoadError, PlanError};
use fulcrum_steps::cluster::ClusterError;
use fulcrum_steps::guard::GuardError;
use fulcrum_steps::host::HostError;
use fulcrum_steps::preflight::Refused;
use std::io;

/// A rehearsal could not be carried out, or did not end as it must.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// The checks refused.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Something is not as it must be.
    #[error(transparent)]
    Differs(#[from] Difference),
    /// The journal is not what was signed.
    #[error("the journal is not what was signed: {0}")]
    Unverified(String),
    /// The journal's evidence could not be read.
    #[error(transparent)]
    Evidence(#[from] fulcrum_evidence::EvidenceError),
    /// The cluster was too slow.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// The run ended otherwise than it must.
    #[error("the run ended {0}")]
    Ended(String),
    /// Clients have lost more than the fault may cost.
    #[error("clients of a node that was not broken, or not any more, have lost requests: {}; {answered} were answered", .failed.join(", "))]
    Clients {
        /// How many requests got a good answer.
        answered: u64,
        /// The others, by what was seen.
        failed: Vec<String>,
    },
    /// The child process failed.
    #[error("the process that was to be broken: {0}")]
    Child(String),
    /// The case took too long.
    #[error("not over within {0:?}")]
    TooLong(std::time::Duration),
    /// The journal could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The journal could not be read.
    #[error(transparent)]
    Read(#[from] fulcrum_engine::state::ReadError),
    /// The run could not be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The engine could not go on.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The plan could not be made.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The simulated API failed.
    #[error(transparent)]
    Api(#[from] ClusterError),
    /// The simulated API failed.
    #[error("the simulated cluster: {0}")]
    Kube(#[from] kube::Error),
    /// The simulated machine failed.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A change of a self-hosted control plane could not be made, or has not left what it must.
    #[error("{0}")]
    Change(String),
    /// The guard failed.
    #[error("the guard: {0}")]
    Guard(#[from] GuardError),
    /// What was stored is not understood.
    #[error("what was stored is not understood: {0}")]
    Json(#[from] serde_json::Error),
    /// The disk failed.
    #[error("the rehearsal's own files: {0}")]
    Disk(#[from] io::Error),
}
