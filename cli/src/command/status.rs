//! `fulcrum status`: says what the disk, the journal and the API report, each as far as it can be asked.

use crate::args::{Global, Status};
use crate::env::access;
use crate::exit::{Exit, Failure};
use crate::journal::read_journal;
use crate::render::{ComponentStatus, DaemonsetStatus, GuardStatus, NodeState, RunStatus, StatusReport};
use crate::shell::Shell;
use fulcrum_engine::load::load;
use fulcrum_engine::state::{RunHeader, lock_holder};
use fulcrum_steps::cluster::Cluster;
use fulcrum_steps::component::Component;
use fulcrum_steps::host::{ManifestsDir, Systemd, UnitState, Units};
use fulcrum_steps::plan::RENEW_STANDBY;
use fulcrum_steps::preflight::find_manifests;
use fulcrum_steps::run_info::{LockPurpose, RunInfo};
use fulcrum_steps::unit::UNIT;
use serde_json::Value;

pub(crate) async fn status(global: &Global, args: &Status, shell: &Shell) -> Result<Exit, Failure> {
    let (run, node, journal_error) = match run_status(global) {
        Ok((run, node)) => (run, node, None),
        Err(failure) => (None, None, Some(format!("{:#}", failure.error))),
    };
    let api = access(&args.place.kubeconfig).await;
    let (cluster, mut api_error) = match api {
        Ok((access, _)) => (Some(access.cluster), None),
        Err(failure) => (None, Some(format!("{:#}", failure.error))),
    };
    let manifests = find_manifests(ManifestsDir::new(&args.place.manifests_dir));
    let mut components = Vec::new();
    for component in Component::ALL {
        let daemonset = match (&cluster, &api_error) {
            (Some(cluster), None) => daemonset(cluster, component).await.unwrap_or_else(|error| {
                api_error = Some(error);
                None
            }),
            _ => None,
        };
        let static_manifest = manifests.file(component.manifest_file()).exists();
        components.push(ComponentStatus { name: component, static_manifest, daemonset });
    }
    let state = NodeState::of(&components, api_error.is_none());
    let guard = guard_status(&Systemd::default()).await;
    StatusReport { state, node, run, components, guard, api_error, journal_error }.show(shell);
    Ok(Exit::Done)
}

/// A guard that cannot be asked for does not run: the machine has no systemd.
async fn guard_status(units: &dyn Units) -> GuardStatus {
    let UnitState { enabled, active } = units.state(UNIT).await.unwrap_or_default();
    GuardStatus { enabled, active, says: units.words(UNIT).await.unwrap_or_default() }
}

async fn daemonset(cluster: &Cluster, component: Component) -> Result<Option<DaemonsetStatus>, String> {
    let found = cluster.daemonset(component.daemonset_name()).await.map_err(|error| error.to_string())?;
    let number = |daemonset: &Value, field: &str| daemonset["status"][field].as_u64().unwrap_or(0);
    Ok(found.map(|daemonset| DaemonsetStatus {
        desired: number(&daemonset, "desiredNumberScheduled"),
        ready: number(&daemonset, "numberReady"),
    }))
}

/// The last run and its node. A run in progress has the journal to itself: its lock names the run.
fn run_status(global: &Global) -> Result<(Option<RunStatus>, Option<String>), Failure> {
    if let Some(holder) = lock_holder(&global.state_dir)? {
        return Ok((Some(RunStatus::in_progress(&holder)), None));
    }
    if !global.state_dir.exists() {
        return Ok((None, None));
    }
    let journal = read_journal(&global.state_dir, LockPurpose::Status)?;
    let last = journal.runs()?.into_iter().rfind(|header| header.kind != RENEW_STANDBY);
    let Some(RunHeader { run, .. }) = last else { return Ok((None, None)) };
    let state = load(&journal, run)?;
    let info = RunInfo::of(state.plan()).ok();
    let (node, why) = info.map_or((None, None), |info| (Some(info.settings.node), info.why));
    Ok((Some(RunStatus::of(run, &state, why)), node))
}
