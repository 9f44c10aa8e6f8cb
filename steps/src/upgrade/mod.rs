//! What an upgrade of Kubernetes changes in the DaemonSets, and one of etcd in its manifest. Pure, but for [`target`],
//! [`etcd_target`], [`others_follow`], [`outrun_since`] and [`refuse_newer_kubelets`], which read the cluster.
//!
//! The target's manifests come from the target's kubeadm, and the base from that of the release that runs. What the
//! two differ in is what the release wants. The rest of a DaemonSet is what people have made of it, and stays.

mod asked;
mod copy;
mod etcd;
mod etcd_behind;
mod etcd_flags;
mod etcd_members;
mod etcd_target;
mod gate_table;
mod gone_flags;
mod images;
mod kubeadm;
mod merge;
mod older;
mod others;
mod outdated;
mod phase;
mod release_of;
mod removed_apis;
mod skew;
mod starts;
mod target;
mod way_back;

pub use copy::kubeadm_copy;
pub(crate) use copy::sweep_kubeadm;
pub use etcd::{
    EtcdStepError, EtcdVersion, NoEtcdVersion, etcd_allowed, etcd_image, etcd_in_list, etcd_of,
    with_etcd_image,
};
pub use etcd_target::{EtcdChange, EtcdError, EtcdFound, EtcdMember, EtcdRelease, etcd_target};
pub(crate) use etcd_target::{etcd_answers, no_alarm};
pub use kubeadm::{KubeadmInput, NotKubeadms, kubeadm_config};
pub(crate) use kubeadm::{noted_version, with_version};
pub use merge::{Conflict, MergeError, Merged, merge};
pub use older::Outrun;
pub use others::others_follow;
pub use outdated::{GateRefused, Outdated, OutdatedGate};
pub use phase::Phase;
pub(crate) use phase::is_through;
pub use release_of::EMULATED;
pub use removed_apis::{RemovedApi, removed_apis};
pub use skew::{NoVersion, SkewError, Version, allowed};
pub use starts::would_start_finalized;
pub use target::{Found, RenderError, Renderer, TargetError, Wish, end_of_emulation, target};
pub use way_back::{outrun_since, refuse_newer_kubelets};
