//! The edge to the machine: its manifests directory, its processes and sockets.
//!
//! Every step changes the host, and learns of it, through this module only.

mod ask;
mod edge;
mod enter;
mod handshake;
mod kernel;
mod kubeadm;
mod manifests;
mod nft;
mod one_off;
mod proc;
mod procfs;
mod strain;
mod units;

pub(crate) use kernel::give_back_memory;
pub(crate) use kubeadm::at_rest as kubeadm_is_at_rest;

pub use edge::{
    Answer, Hindrance, Host, HostError, KubeadmPhase, Listener, Presented, Process, Question, Read,
};
pub use edge::{MARK_NEWCOMER, MARK_SERVING, Redirect, RedirectState, Steering, Strain};
pub use enter::enter_host;
pub use manifests::{FileImage, ManifestsDir};
pub use one_off::{OneOff, OneOffSeen, OneOffState};
pub use proc::Proc;
pub use units::{Systemd, UnitState, Units};

use std::sync::Arc;

/// The machine that is pivoted.
#[derive(Debug, Clone)]
pub struct Node {
    /// The directory where its kubelet looks for static pods.
    pub manifests: ManifestsDir,
    /// Its kernel.
    pub host: Arc<dyn Host>,
    /// The units that it starts at boot.
    pub units: Arc<dyn Units>,
}
