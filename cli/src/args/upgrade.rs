//! What was typed after `fulcrum upgrade`.

use super::{Consent, Pace, examples};
use clap::Subcommand;
use fulcrum_steps::upgrade::{Phase, Version};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(after_help = UPGRADE_HELP)]
pub(crate) struct Upgrade {
    #[command(subcommand)]
    pub(crate) command: UpgradeCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UpgradeCommand {
    /// Say what the release of another kubeadm changes in the DaemonSets.
    ///
    /// Changes nothing.
    #[command(after_help = examples::UPGRADE_PLAN)]
    Plan {
        #[command(flatten)]
        release: Release,
        /// The kubeconfig [default: the one that the pivot was started with].
        #[arg(long, value_name = "FILE")]
        kubeconfig: Option<PathBuf>,
    },
    /// Roll the release out: the API server first, then the others.
    #[command(after_help = examples::UPGRADE_APPLY)]
    Apply {
        #[command(flatten)]
        release: Release,
        #[command(flatten)]
        pace: Pace,
    },
    /// End the emulation of the release before.
    ///
    /// From then on the upgrade cannot be taken back.
    #[command(after_help = examples::UPGRADE_FINALIZE)]
    Finalize {
        #[command(flatten)]
        pace: Pace,
    },
    /// Give this node's etcd the image of another kubeadm.
    ///
    /// etcd stays a static pod. Say this on one control-plane node after the other.
    #[command(after_help = examples::UPGRADE_ETCD)]
    Etcd {
        #[command(flatten)]
        release: EtcdRelease,
        #[command(flatten)]
        pace: Pace,
    },
    /// Take the last upgrade back, if it is not finalized.
    #[command(after_help = examples::UPGRADE_ROLLBACK)]
    Rollback {
        /// The kubeconfig [default: the one that the pivot was started with].
        #[arg(long, value_name = "FILE")]
        kubeconfig: Option<PathBuf>,
        /// Go back although kubelets are newer than the release from before.
        #[arg(long)]
        allow_downgrade: bool,
        #[command(flatten)]
        consent: Consent,
    },
}

/// The release to upgrade to.
#[derive(Debug, clap::Args)]
pub(crate) struct Release {
    /// The kubeadm of the release to upgrade to. It renders the manifests.
    #[arg(long, default_value = "kubeadm", value_name = "PROGRAM")]
    pub(crate) kubeadm: PathBuf,
    /// The kubeadm of the release that runs. It renders what the new manifests are compared with [default: the new
    /// kubeadm, for the version that runs].
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) base_kubeadm: Option<PathBuf>,
    /// The version [default: that of the kubeadm].
    #[arg(long, value_name = "VERSION")]
    pub(crate) to: Option<Version>,
    /// Go on although clients have asked for APIs that the release does not serve any more.
    #[arg(long)]
    pub(crate) allow_removed_apis: bool,
    /// Phases of kubeadm that are left out, as kubeadm names them: upload-config/kubelet, addon/coredns,
    /// addon/kube-proxy.
    #[arg(long, value_name = "PHASES", value_delimiter = ',')]
    pub(crate) skip_phases: Vec<Phase>,
}

/// The etcd to upgrade to.
#[derive(Debug, clap::Args)]
pub(crate) struct EtcdRelease {
    /// The kubeadm whose image of etcd is wanted.
    #[arg(long, default_value = "kubeadm", value_name = "PROGRAM")]
    pub(crate) kubeadm: PathBuf,
    /// The version of Kubernetes for which kubeadm names its image [default: that of the kubeadm].
    #[arg(long, value_name = "VERSION")]
    pub(crate) to: Option<Version>,
    /// Go on although the kubelet does not list the image among those that the node has.
    #[arg(long)]
    pub(crate) unlisted_image: bool,
}

/// How `upgrade` is used.
const UPGRADE_HELP: &str = "\
What the new kubeadm writes otherwise than the old one is carried over; flags
and fields that a person has changed stay, and a field that both have changed is
refused. The new pods start beside the old ones and behave as the release before
until `finalize`.

Examples:
  fulcrum upgrade plan --kubeadm ./kubeadm-1.36
  fulcrum upgrade apply --kubeadm ./kubeadm-1.36
  fulcrum upgrade rollback    until it is finalized
  fulcrum upgrade finalize
  fulcrum upgrade etcd --kubeadm ./kubeadm-1.36    on each node";
