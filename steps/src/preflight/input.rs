//! The input of the checks: the subject and the person's wishes.

use crate::check::Ignored;
use crate::cluster::Cluster;
use crate::host::Node;
use crate::run_info::RollbackMode;
use crate::settings::{OnReboot, Settings, Wanted};
use crate::site::Site;
use crate::timeouts::Timeouts;
use std::path::PathBuf;
use std::time::Duration;

/// The input of the checks: the subject and the person's wishes.
#[derive(Debug, Clone)]
pub struct PreflightInput {
    /// The machine.
    pub node: Node,
    /// The API.
    pub cluster: Cluster,
    /// The directory for the journal.
    pub state_dir: PathBuf,
    /// The kubeconfig that leads to the API.
    pub kubeconfig: PathBuf,
    /// The node's name, if a person gave it. Otherwise the cluster is asked.
    pub node_name: Option<String>,
    /// The mode that the person wants.
    pub handover: Wanted,
    /// How long the new API server is watched after the switch.
    pub soak: Duration,
    /// The longest that an answer may take meanwhile, if there is a limit.
    pub max_latency: Option<Duration>,
    /// Whether a guard is to be armed.
    pub guard: bool,
    /// What the guard does with the run if a reboot cuts it short.
    pub on_reboot: OnReboot,
    /// The refusals that the person overrules.
    pub ignored: Ignored,
    /// Whether the DaemonSets shall have their certificates from Secrets.
    pub store_certs_in_secrets: bool,
    /// Whether the run may take the lock from another one.
    pub take_lock: bool,
}

impl PreflightInput {
    /// The input of the run on `site`, to be checked once more.
    pub(crate) fn again(site: &Site) -> Self {
        let settings = &site.settings;
        Self {
            node: site.node.clone(),
            cluster: site.cluster.clone(),
            state_dir: site.state_dir.clone(),
            kubeconfig: settings.kubeconfig.clone(),
            node_name: Some(settings.node.clone()),
            handover: Wanted::Way(settings.handover),
            soak: settings.soak,
            max_latency: settings.max_latency,
            guard: settings.guard,
            on_reboot: settings.on_reboot,
            ignored: settings.ignored.clone(),
            store_certs_in_secrets: settings.in_secrets.is_some(),
            take_lock: site.take_lock,
        }
    }

    pub(super) fn site(&self, settings: Settings) -> Site {
        Site {
            node: Node { manifests: settings.manifests(), ..self.node.clone() },
            cluster: self.cluster.clone(),
            settings,
            state_dir: self.state_dir.clone(),
            timeouts: Timeouts::default(),
            rollback_mode: RollbackMode::default(),
            take_lock: self.take_lock,
        }
    }
}
