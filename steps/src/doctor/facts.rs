//! What an examination has seen, without a judgement.

use crate::certificates::Inventory;
use crate::component::Component;
use crate::guard::decide::{Standing, Workflow};
use crate::host::RedirectState;
use crate::upgrade::Outrun;
use fulcrum_engine::state::RunId;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that was seen. What could not be seen says why.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// When it was seen.
    pub now: Timestamp,
    /// The journal.
    pub journal: JournalFacts,
    /// The process that has the journal open for writing, in words.
    pub writer: Option<String>,
    /// What should be there. `None` where the journal does not say.
    pub ground: Option<Ground>,
    /// The runs since the last pivot that are not at an end, oldest first, with their purpose.
    pub unfinished: Vec<(RunId, Workflow, Standing)>,
    /// Each component on this machine.
    pub components: BTreeMap<Component, ComponentFacts>,
    /// Whether the kernel steers new connections, where several API servers listen. `None` if it cannot be
    /// told.
    pub prefers_one: Option<bool>,
    /// Whether the port of the API server that serves can be shared.
    pub shares_port: Option<bool>,
    /// What the API says, or why nothing is known of it.
    pub api: Result<ApiFacts, String>,
    /// The guard's unit, or why systemd could not be asked.
    pub guard: Result<GuardFacts, String>,
    /// The certificates of the control plane.
    pub certificates: Inventory,
    /// etcd's answer about its health. `None` if no etcd runs here, or has no port for the question.
    pub etcd: Option<Result<u16, String>>,
    /// What lies beside the manifests.
    pub files: Files,
    /// Why the static pods from before the pivot would not come back, if an upgrade has outrun them.
    pub outrun: Option<Outrun>,
    /// The redirect of the API server's port, or why it cannot be seen.
    pub redirect: Result<RedirectState, String>,
}

/// The journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalFacts {
    /// Nothing was ever done here.
    Absent,
    /// Every run reads as it was written.
    Whole {
        /// How many runs there are.
        runs: usize,
    },
    /// It opens. There was no time to read all of it.
    NotAllRead,
    /// It does not open, or does not read as it was written.
    Broken(String),
}

/// What should be on the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// Static pods.
    Static,
    /// DaemonSets.
    SelfHosted(RunId),
    /// A run is between the two.
    Between(RunId),
}

/// A component on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentFacts {
    /// Its static manifest's path.
    pub path: PathBuf,
    /// Whether the manifest is there.
    pub manifest: bool,
    /// Whether the manifest is the standby, as the guard puts it there.
    pub is_standby: bool,
    /// Why the standby cannot be used, if so. `None` if it can, or if there need be none.
    pub standby: Option<String>,
    /// Since when the standby is what it is. `None` if there is none.
    pub standby_since: Option<Timestamp>,
    /// Its port.
    pub port: u16,
    /// Who listens on its port.
    pub listeners: Result<Vec<ListenerFacts>, String>,
    /// Its answer.
    pub serving: Serving,
}

/// Whether a component serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Serving {
    /// A process of this origin answers well.
    By(Origin),
    /// What was seen instead.
    Not(String),
}

/// A process that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerFacts {
    /// Where it comes from.
    pub origin: Origin,
    /// Its name, pid and pod.
    pub who: String,
}

/// Where a process comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A static pod.
    Static,
    /// A pod that the API knows, as a DaemonSet's.
    Api,
    /// No pod.
    Other,
}

/// What the API says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApiFacts {
    /// The DaemonSets that exist.
    pub daemonsets: BTreeMap<Component, DaemonsetFacts>,
    /// The holder of the lock, as node and run.
    pub lock: Option<String>,
    /// The leases of those components that have one.
    pub leaders: BTreeMap<Component, Leader>,
}

/// A DaemonSet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonsetFacts {
    /// The run that made it, as its annotation says.
    pub made_by: Option<String>,
    /// How many pods it wants.
    pub desired: u64,
    /// How many of them are Ready.
    pub ready: u64,
}

/// A leader's lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// The holder, empty if it was given back.
    pub holder: String,
    /// How long ago it was renewed.
    pub age: Option<Duration>,
}

/// The guard's unit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GuardFacts {
    /// Whether its file is there.
    pub installed: bool,
    /// Whether a boot starts it.
    pub enabled: bool,
    /// Whether it runs.
    pub active: bool,
    /// What keeps it from its work, in its words.
    pub says: String,
}

/// What lies in the manifests directory beside the manifests.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Files {
    /// The bridge's manifest.
    pub bridge: Option<PathBuf>,
    /// Files that a crash has left half-written, under names that the kubelet does not read.
    pub half_written: Vec<PathBuf>,
    /// Whether each missing manifest has its spare there, which a boot with a full disk needs. `None` if it
    /// cannot be told.
    pub spares: Option<bool>,
}
