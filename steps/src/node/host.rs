//! What a step may ask of the machine's kernel: who listens, what runs, who answers.
//!
//! Only [`Host::end`] changes anything. The real machine is [`crate::node::Proc`]; the rehearsal has its own.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::net::SocketAddr;

/// The machine as the steps see it.
#[async_trait]
pub trait Host: Send + Sync + Debug {
    /// The kernel's boot id: another value after every boot.
    async fn boot_id(&self) -> Result<String, HostError>;

    /// Every process that has a socket listening on TCP `port`, IPv4 or IPv6, oldest socket first
    /// where the kernel lets one tell.
    async fn listeners(&self, port: u16) -> Result<Vec<Listener>, HostError>;

    /// Every process that runs in a container of the pod with this uid, sandbox included.
    /// For a static pod the uid is its `kubernetes.io/config.hash`.
    async fn pod_processes(&self, pod_uid: &str) -> Result<Vec<Process>, HostError>;

    /// Sends one `GET` over a connection of its own and says what came back *and from which process*.
    ///
    /// The other end is identified by the kernel (the owner of the accepted socket), not by what it
    /// says of itself: with a shared port, two servers can answer under one address.
    async fn ask(&self, question: &Question) -> Result<Answer, HostError>;

    /// Ends exactly this process (SIGKILL). No error if it is gone, or if its pid is another's by now.
    async fn end(&self, process: &Process) -> Result<(), HostError>;

    /// Memory that a new process could take without swapping, in bytes.
    async fn memory_available(&self) -> Result<u64, HostError>;
}

/// A process, as far as the steps care.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its pid in the namespace of the caller.
    pub pid: u32,
    /// Its argument vector.
    pub command: Vec<String>,
    /// The uid of the pod in whose cgroup it runs; dashes as the API writes them. `None` outside of pods.
    pub pod_uid: Option<String>,
    /// Resident memory in bytes.
    pub memory: u64,
}

/// A listening socket and its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Who listens.
    pub process: Process,
    /// The socket's inode: no two living sockets share one.
    pub inode: u64,
}

/// What to ask, and of whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Where to connect to.
    pub address: SocketAddr,
    /// Path of the request, e.g. `/readyz`.
    pub path: String,
    /// TLS unless the manifest's probe says plain HTTP. The server's certificate is not verified:
    /// the kernel says who answered.
    pub tls: bool,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Who answered; `None` if the socket was gone before its owner could be found.
    pub process: Option<Process>,
}

/// The machine could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("{attempt}: {cause}")]
pub struct HostError {
    /// What was being done, and on what.
    pub attempt: String,
    /// What was seen.
    pub cause: String,
}

impl HostError {
    /// An error that names what was attempted and what was seen.
    pub fn new(attempt: impl Into<String>, cause: impl ToString) -> Self {
        Self { attempt: attempt.into(), cause: cause.to_string() }
    }
}
