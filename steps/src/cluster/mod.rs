//! The edge to the cluster: every call to the API server, each with its own deadline.

mod client;
mod compare;
mod connect;
mod error;
mod etcd;
mod etcd_door;
mod etcd_snapshot;
mod going;
mod hold_endpoints;
mod kept;
mod last_words;
mod lock;
mod names;
mod node_entry;
mod nodes;
mod objects;
mod pod_lists;
mod pods;
mod release;
mod revisions;
mod roll_call;
mod secrets;
mod watching;

pub use client::Cluster;
pub(crate) use connect::files_of;
pub use connect::{Access, AccessError, connect, connect_nowhere};
pub use error::{Cause, ClusterError};
pub(crate) use etcd::{EtcdSeen, Member, address_of};
pub use etcd_door::EtcdDoor;
pub(crate) use last_words::failing;
pub use lock::{Lock, LockError};
pub(crate) use lock::{is_of_a_node_that_has_gone, node_of};
pub use names::{
    AUDIT_HEAD_ANNOTATION, LOCK_LEASE, NAMESPACE, ROLE_LABEL, ROLE_LABEL_BEFORE_1_24, ROLL_CALL_CONFIG_MAP,
};
pub(crate) use names::{CERTIFICATES_ANNOTATION, LOOK_AGAIN_ANNOTATION, OPT_IN_LABEL, RUN_ANNOTATION};
pub use node_entry::{
    DaemonsetVersion, EndOfRun, GUARD_BEATS_EVERY, GUARD_SILENT_AFTER, GuardEntry, GuardState, NodeEntry,
    NodeMode, ROLL_CALL_VERSION, RunPhase, StandbyEntry,
};
pub(crate) use nodes::{addresses, node_is_ready};
pub(crate) use objects::ObjectPart;
pub use pods::{config_hash, is_ready, pod_story, unschedulable};
pub(crate) use pods::{has_no_image, has_restarted, is_going, is_of_node};
pub(crate) use release::CLUSTER_CONFIGURATION;
pub(crate) use revisions::template_hash;
pub use roll_call::Answer;
