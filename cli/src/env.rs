//! The environment of a command on this machine: root, the clients, the site.

use crate::exit::{Exit, Failure};
use fulcrum_engine::{Actor, Session};
use fulcrum_evidence::actor::this_process;
use fulcrum_steps::cluster::{Access, Cluster, connect};
use fulcrum_steps::host::{Host, Node, Proc, Systemd};
use fulcrum_steps::run_info::{RollbackMode, SessionRole};
use fulcrum_steps::settings::Settings;
use fulcrum_steps::site::Site;
use fulcrum_steps::timeouts::Timeouts;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a cluster may take to say which one it is. After that the question is left open.
const IDENTITY_WITHIN: Duration = Duration::from_secs(3);

/// This program's name in the journal.
pub(crate) const PROGRAM: &str = concat!("fulcrum ", env!("CARGO_PKG_VERSION"));

pub(crate) fn require_root() -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::refused(
        "this changes files and looks at processes that belong to root; nothing was changed: run it as root",
    ))
}

/// Refuses a kubeconfig that leads to another cluster than when the run began. With the API down this cannot
/// be checked. Then the command changes only this machine's files, until the API answers.
pub(crate) async fn refuse_another_cluster(cluster: &Cluster, settings: &Settings) -> Result<(), Failure> {
    match tokio::time::timeout(IDENTITY_WITHIN, cluster.uid()).await {
        Ok(Ok(uid)) if uid != settings.cluster_uid => Err(Failure::refused(
            "the kubeconfig leads to another cluster than the one on which the run was started; nothing was \
             changed: name the right one with --kubeconfig",
        )),
        _ => Ok(()),
    }
}

pub(crate) async fn access(kubeconfig: &Path) -> Result<(Access, Arc<dyn Host>), Failure> {
    let access = connect(kubeconfig).await.map_err(|error| Failure::new(Exit::Refused, error))?;
    let host: Arc<dyn Host> = Arc::new(Proc::new(Arc::clone(&access.local_tls)));
    Ok((access, host))
}

/// The site that `settings` describe.
pub(crate) fn site(settings: Settings, access: &Access, host: Arc<dyn Host>, state_dir: &Path) -> Site {
    let units = Arc::new(Systemd::default());
    let node = Node { manifests: settings.manifests(), host, units };
    Site {
        node,
        cluster: access.cluster.clone(),
        settings,
        state_dir: state_dir.to_owned(),
        timeouts: Timeouts::default(),
        rollback_mode: RollbackMode::default(),
        take_lock: false,
    }
}

/// Who is at work, and with what, as far as the system tells.
pub(crate) fn actor() -> Actor {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    this_process(env!("CARGO_PKG_VERSION"), &arguments)
}

pub(crate) async fn session(host: &dyn Host) -> Result<Session, Failure> {
    let boot_id = host.boot_id().await.map_err(|error| Failure::new(Exit::Other, error))?;
    let session = Session::new(boot_id, std::process::id(), PROGRAM);
    Ok(session.with_role(SessionRole::Command.role()).with_actor(actor()))
}
