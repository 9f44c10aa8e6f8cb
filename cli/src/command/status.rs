//! `fulcrum status`: says what the disk, the journal and the API report, each as far as it can be asked.

use super::carry_on::signals;
use super::doctor::patient;
use super::status_cluster::status_cluster;
use crate::args::{Global, Status};
use crate::exit::{Exit, Failure};
use crate::journal::{last_pivot, read_journal};
use crate::render::{
    ComponentStatus, DaemonsetStatus, GuardStatus, NodeState, RunStatus, STATUS_FORMAT_VERSION,
    StatusDetails, StatusReport,
};
use crate::shell::Shell;
use fulcrum_engine::load::load;
use fulcrum_engine::state::{RunHeader, lock_holder};
use fulcrum_steps::component::Component;
use fulcrum_steps::doctor::gather;
use fulcrum_steps::plan::RENEW_STANDBY;
use fulcrum_steps::run_info::{LockPurpose, RunInfo};
use std::io::IsTerminal;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// How often `--watch` looks again.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Clears a terminal.
const CLEAR: &str = "\x1b[2J\x1b[H";

pub(crate) async fn status(global: &Global, args: &Status, shell: &Shell) -> Result<Exit, Failure> {
    if args.cluster {
        return status_cluster(args, shell).await;
    }
    if !args.watch {
        look(global, args).await?.show(shell);
        return Ok(Exit::Done);
    }
    let mut again = tokio::time::interval(LOOK_AGAIN);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let [mut interrupt, mut terminate, _] = signals()?;
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(Exit::Done),
            _ = terminate.recv() => return Ok(Exit::Done),
            _ = again.tick() => {}
        }
        let report = tokio::select! {
            _ = interrupt.recv() => return Ok(Exit::Done),
            report = look(global, args) => report?,
        };
        // A reader that has gone away ends the watch.
        let cleared = std::io::stdout().is_terminal() && !shell.json();
        if !shell.print(if cleared { CLEAR } else { "" }) {
            return Ok(Exit::Done);
        }
        report.show(shell);
    }
}

async fn look(global: &Global, args: &Status) -> Result<StatusReport, Failure> {
    let (run, node, journal_error) = match run_status(global) {
        Ok((run, node)) => (run, node, None),
        Err(failure) => (None, None, Some(format!("{:#}", failure.error))),
    };
    let patient = patient(global, &args.place).await?;
    let facts = Box::pin(gather(&patient)).await;
    let daemonset = |component: Component| {
        let found = facts.api.as_ref().ok()?.daemonsets.get(&component)?;
        Some(DaemonsetStatus { desired: found.desired, ready: found.ready })
    };
    let components: Vec<ComponentStatus> = facts
        .components
        .iter()
        .map(|(component, seen)| ComponentStatus {
            name: *component,
            static_manifest: seen.manifest,
            daemonset: daemonset(*component),
        })
        .collect();
    let api_error = facts.api.as_ref().err().cloned();
    let guard = facts.guard.clone().unwrap_or_default();
    Ok(StatusReport {
        format_version: STATUS_FORMAT_VERSION,
        state: NodeState::of(&components, api_error.is_none()),
        node,
        run,
        components,
        guard: GuardStatus { enabled: guard.enabled, active: guard.active, says: guard.says },
        details: StatusDetails::of(&facts, rustix::process::geteuid().is_root()),
        api_error,
        journal_error,
    })
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
    let (mut run, mut state) = (run, load(&journal, run)?);
    // What came after a pivot goes with it: the way back is the last that was done.
    if let Some(pivot) = last_pivot(&journal)?.filter(|pivot| *pivot != run) {
        let of_pivot = load(&journal, pivot)?;
        if of_pivot.is_rolled_back() {
            (run, state) = (pivot, of_pivot);
        }
    }
    let info = RunInfo::of(state.plan()).ok();
    let (node, why) = info.map_or((None, None), |info| (Some(info.settings.node), info.why));
    Ok((Some(RunStatus::of(run, &state, why)), node))
}
