//! What an upgrade of Kubernetes changes in the DaemonSets. Pure.
//!
//! The target's manifests come from the target's kubeadm, and the base from that of the release that runs. What the
//! two differ in is what the release wants. The rest of a DaemonSet is what people have made of it, and stays.

mod kubeadm;
mod merge;
mod removed_apis;
mod skew;

pub use kubeadm::{KubeadmInput, NotKubeadms, kubeadm_config};
pub use merge::{Conflict, MergeError, Merged, merge};
pub use removed_apis::{RemovedApi, removed_apis};
pub use skew::{NoVersion, SkewError, Version, allowed, gone_flags};
