//! The decisions of a run's plan.

use crate::check::Ignored;
use crate::cluster::{OPT_IN_LABEL, RUN_ANNOTATION};
use crate::component::Component;
use crate::host::{ManifestsDir, Question};
use crate::manifest::{InSecrets, Target};
use fulcrum_engine::state::RunId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The decisions of a run's plan, stored with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The cluster: the uid of its namespace kube-system.
    pub cluster_uid: String,
    /// The node's name in the cluster.
    pub node: String,
    /// Its addresses.
    pub node_addresses: Vec<IpAddr>,
    /// The kubelet's manifests directory.
    pub manifests_dir: PathBuf,
    /// The manifests' names there, where they are not kubeadm's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub manifest_names: BTreeMap<Component, String>,
    /// Whether the API server writes the endpoints of `default/kubernetes`. If not, fulcrum leaves them
    /// alone.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub publishes_itself: bool,
    /// The kubeconfig that leads to the API.
    pub kubeconfig: PathBuf,
    /// The label of control-plane nodes.
    pub role_label: String,
    /// The cluster's minor version.
    pub kubernetes_minor: u32,
    /// How the listener changes hands.
    pub handover: HandoverMode,
    /// How long the new API server is watched after the switch, while the old one is still there.
    #[serde(default)]
    pub soak: Duration,
    /// The longest that an answer may take meanwhile. A slower one undoes the run. `None` stands for any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_latency: Option<Duration>,
    /// The question for each component's readiness.
    pub health: BTreeMap<Component, Question>,
    /// Whether a guard is armed, which restores the control plane after a reboot.
    #[serde(default)]
    pub guard: bool,
    /// What the guard does with the run if a reboot cuts it short.
    #[serde(default)]
    pub on_reboot: OnReboot,
    /// For the guard's own runs: the pivot that they belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_pivot: Option<RunId>,
    /// The certificates, where the DaemonSets have them from Secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_secrets: Option<InSecrets>,
    /// The refusals of checks that the person overrules.
    #[serde(default, skip_serializing_if = "Ignored::is_empty")]
    pub ignored: Ignored,
}

/// How the control plane changes hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HandoverMode {
    /// The live listeners become shareable, and the kernel is told which server gets new connections. Nothing
    /// restarts.
    Steer,
    /// As with `restart`, but meanwhile new connections go to a third API server on another port. No request
    /// is lost.
    Bridge,
    /// Each static pod is restarted once, with `--permit-port-sharing=true`: some seconds without an API.
    Restart,
}

/// What the guard does with a run that a reboot has cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnReboot {
    /// The run goes on, in its direction.
    #[default]
    Resume,
    /// The run is undone.
    Rollback,
}

/// The hand-over that the person wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wanted {
    /// The best mode that the node allows.
    #[default]
    Auto,
    /// This mode or none.
    Way(HandoverMode),
}

impl fmt::Display for HandoverMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Steer => "steer",
            Self::Bridge => "bridge",
            Self::Restart => "restart",
        })
    }
}

impl Settings {
    /// The kubelet's manifests directory, with the manifests' names in it.
    pub fn manifests(&self) -> ManifestsDir {
        ManifestsDir::new(&self.manifests_dir).naming(&self.manifest_names)
    }

    /// The data for a DaemonSet of the given run.
    pub fn target(&self, run: Option<RunId>) -> Target {
        let annotation = run.map(|run| (RUN_ANNOTATION.to_owned(), run.to_string()));
        Target {
            role_label: self.role_label.clone(),
            opt_in_label: OPT_IN_LABEL.to_owned(),
            kubernetes_minor: self.kubernetes_minor,
            node_addresses: self.node_addresses.clone(),
            labels: BTreeMap::new(),
            annotations: annotation.into_iter().collect(),
            in_secrets: self.in_secrets.clone(),
        }
    }
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_yes(value: &bool) -> bool {
    *value
}
