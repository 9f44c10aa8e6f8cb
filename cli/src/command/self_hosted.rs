//! A node on which an upgrade begins.

use super::edit::{daemonset, self_hosted};
use crate::args::Global;
use crate::env::{access, refuse_another_cluster, site};
use crate::exit::Failure;
use crate::journal::{gone_on_meanwhile, open_journal, read_before_writing};
use fulcrum_engine::state::Journal;
use fulcrum_steps::cluster::{Access, Cluster};
use fulcrum_steps::component::Component;
use fulcrum_steps::guard::JournalView;
use fulcrum_steps::host::Host;
use fulcrum_steps::run_info::LockPurpose;
use fulcrum_steps::settings::Settings;
use fulcrum_steps::site::Site;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;

/// What a person does where no DaemonSet runs.
const STATIC: &str = "this node's control plane is not self-hosted: upgrade it with `kubeadm upgrade`";

/// A node whose control plane runs from its DaemonSets, and from nothing else.
pub(super) struct SelfHosted {
    pub(super) told: JournalView,
    pub(super) settings: Settings,
    access: Access,
    host: Arc<dyn Host>,
    pub(super) live: Vec<(Component, Value)>,
}

impl SelfHosted {
    /// Finds this one.
    pub(super) async fn find_any(global: &Global, kubeconfig: Option<&PathBuf>) -> Result<Self, Failure> {
        let journal = read_before_writing(&global.state_dir, LockPurpose::Upgrade)?;
        let told = self_hosted(&journal, &Component::ALL, STATIC)?;
        let settings = Settings { of_pivot: Some(told.pivot), ..told.settings.clone() };
        let (access, host) = access(kubeconfig.unwrap_or(&settings.kubeconfig)).await?;
        refuse_another_cluster(&access.cluster, &settings).await?;
        let mut live = Vec::new();
        for component in Component::ALL {
            live.push((component, daemonset(&access.cluster, component).await?));
        }
        Ok(Self { told, settings, access, host, live })
    }

    pub(super) fn cluster(&self) -> &Cluster {
        &self.access.cluster
    }

    pub(super) fn host(&self) -> &dyn Host {
        &*self.host
    }

    /// The site of a change here.
    pub(super) fn site(&self, global: &Global) -> Site {
        site(self.settings.clone(), &self.access, Arc::clone(&self.host), &global.state_dir)
    }

    /// The journal, if nothing has happened here since a person was asked: the guard, or another command, may have begun
    /// a run.
    pub(super) fn open(&self, global: &Global) -> Result<Journal, Failure> {
        let journal = open_journal(&global.state_dir, LockPurpose::Upgrade)?;
        if self_hosted(&journal.reader(), &Component::ALL, STATIC)?.runs != self.told.runs {
            return Err(gone_on_meanwhile(self.told.pivot));
        }
        Ok(journal)
    }
}
