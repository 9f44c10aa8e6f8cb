//! The running processes, at one instant.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The origin of a process's pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A file in the manifests directory.
    Static,
    /// The API: a DaemonSet's pod, or any other.
    Api,
}

/// One process of a component. Sandboxes are not listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Base name of its executable.
    pub component: String,
    /// Where its pod comes from.
    pub origin: Origin,
    /// Name of its pod. For a static pod, the mirror pod's name.
    pub pod: String,
    /// Uid of its pod. For a static pod, the config hash.
    pub pod_uid: String,
    /// Its pid.
    pub pid: u32,
    /// Ports that it listens on.
    pub listening: Vec<u16>,
    /// Whether other sockets may share these ports.
    pub shares_port: bool,
    /// Whether it answers 200. The pod's status has the kubelet's view.
    pub ready: bool,
    /// The SHA-256 of each certificate that it has read (DER), by its file. Only of files below the node's directory.
    pub certificates: BTreeMap<PathBuf, String>,
    /// Whether it has been told to end.
    pub ending: bool,
}

/// The running processes, at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The boot id.
    pub boot_id: String,
    /// Whether the API answers.
    pub api_up: bool,
    /// Every process of a container.
    pub processes: Vec<Running>,
    /// The leader's pid, for each lease that has a leader.
    pub leaders: BTreeMap<String, u32>,
    /// Addresses in the Endpoints `kubernetes`.
    pub endpoints: Vec<String>,
}

impl Snapshot {
    /// The processes of a component from one origin, oldest first.
    pub fn of(&self, component: &str, origin: Origin) -> impl Iterator<Item = &Running> {
        self.processes.iter().filter(move |p| p.component == component && p.origin == origin)
    }

    /// Whether a process of the component from this origin listens and answers 200.
    pub fn serves(&self, component: &str, origin: Origin) -> bool {
        self.of(component, origin).any(|p| p.ready && !p.listening.is_empty() && !p.ending)
    }

    /// Whether there is any process of the component from this origin.
    pub fn runs(&self, component: &str, origin: Origin) -> bool {
        self.of(component, origin).next().is_some()
    }
}
