//! The edge to the machine: its manifests directory, its processes and sockets.
//!
//! Everything that a step does to the host goes through here, and everything that it knows of it.

mod ask;
mod host;
mod kernel;
mod manifests;
mod nft;
mod proc;
mod procfs;
mod units;

pub(crate) use kernel::give_back_memory;

pub use host::{Answer, Hindrance, Host, HostError, Listener, Process, Question};
pub use host::{MARK_NEWCOMER, MARK_SERVING, Redirect, RedirectState, Steering};
pub use manifests::{FileImage, ManifestsDir};
pub use proc::Proc;
pub use units::{Systemd, UnitState, Units};

use std::sync::Arc;

/// The machine that is pivoted.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where its kubelet looks for static pods.
    pub manifests: ManifestsDir,
    /// Its kernel.
    pub host: Arc<dyn Host>,
    /// What it starts at boot.
    pub units: Arc<dyn Units>,
}
