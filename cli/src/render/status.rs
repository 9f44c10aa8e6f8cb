//! Shows the status of a node.

use super::status_details::StatusDetails;
use crate::shell::Shell;
use fulcrum_engine::Run;
use fulcrum_engine::run::Phase;
use fulcrum_engine::state::{LockHolder, RunId};
use fulcrum_steps::component::Component;
use fulcrum_steps::guard::HOW_TO_GO_ON;
use fulcrum_steps::plan::{FALL_BACK, HAND_OVER};
use fulcrum_steps::step_name::reworded;
use serde::Serialize;
use std::fmt;

/// The version of what `status -o json` prints. A new field leaves the version as it is.
pub(crate) const STATUS_FORMAT_VERSION: u32 = 1;

#[derive(Debug, Serialize)]
pub(crate) struct StatusReport {
    pub(crate) format_version: u32,
    pub(crate) state: NodeState,
    pub(crate) node: Option<String>,
    pub(crate) run: Option<RunStatus>,
    pub(crate) components: Vec<ComponentStatus>,
    pub(crate) guard: GuardStatus,
    #[serde(flatten)]
    pub(crate) details: StatusDetails,
    pub(crate) api_error: Option<String>,
    pub(crate) journal_error: Option<String>,
}

/// How the control plane of the node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NodeState {
    Static,
    SelfHosted,
    Mixed,
    Unknown,
}

#[derive(Debug, Serialize)]
pub(crate) struct ComponentStatus {
    pub(crate) name: Component,
    pub(crate) static_manifest: bool,
    pub(crate) daemonset: Option<DaemonsetStatus>,
}

#[derive(Debug, Serialize)]
pub(crate) struct DaemonsetStatus {
    pub(crate) desired: u64,
    pub(crate) ready: u64,
}

/// The guard's unit.
#[derive(Debug, Default, Serialize)]
pub(crate) struct GuardStatus {
    pub(crate) enabled: bool,
    pub(crate) active: bool,
    /// What keeps the guard from its work, in its words.
    pub(crate) says: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct RunStatus {
    run: Option<RunId>,
    /// The run's purpose, and for the guard's own runs the reason.
    workflow: Option<String>,
    #[serde(skip)]
    kind: Option<String>,
    why: Option<String>,
    outcome: String,
    reason: Option<String>,
    pid: Option<u32>,
}

impl NodeState {
    pub(crate) fn of(components: &[ComponentStatus], api_answers: bool) -> Self {
        let all_static = components.iter().all(|component| component.static_manifest);
        let none_static = components.iter().all(|component| !component.static_manifest);
        let all_hosted = components.iter().all(|component| component.daemonset.is_some());
        let none_hosted = components.iter().all(|component| component.daemonset.is_none());
        match (all_static, none_static) {
            (true, _) if !api_answers || none_hosted => Self::Static,
            (_, true) if api_answers && all_hosted => Self::SelfHosted,
            (_, true) if !api_answers || none_hosted => Self::Unknown,
            _ => Self::Mixed,
        }
    }
}

impl RunStatus {
    pub(crate) fn in_progress(holder: &LockHolder) -> Self {
        let reason = Some(format!("`fulcrum {}` has the journal open", holder.purpose));
        Self {
            run: holder.run,
            workflow: None,
            kind: None,
            why: None,
            outcome: "in-progress".to_owned(),
            reason,
            pid: Some(holder.pid),
        }
    }

    pub(crate) fn of(run: RunId, state: &Run, why: Option<String>) -> Self {
        let (outcome, reason) = match state.phase() {
            Phase::Ended(outcome, reason) => (outcome.to_string(), Some(reworded(reason))),
            Phase::Paused { reason, .. } => ("paused".to_owned(), Some(reworded(reason))),
            _ => ("unfinished".to_owned(), state.rollback().map(|rollback| reworded(&rollback.reason))),
        };
        let plan = state.plan();
        let kind = Some(plan.workflow().to_owned());
        let workflow = Some(fulcrum_steps::plan::shown(plan.workflow()).to_owned());
        let pid = state.session().map(|session| session.pid);
        Self { run: Some(run), workflow, kind, why, outcome, reason, pid }
    }

    /// Whether the guard has restored static pods that stay until a person decides otherwise.
    fn has_fallen_back(&self) -> bool {
        matches!(
            (self.kind.as_deref(), self.outcome.as_str()),
            (Some(FALL_BACK), "completed") | (Some(HAND_OVER), "rolled-back")
        )
    }
}

impl StatusReport {
    /// Whether the control plane, or a part of it, does not come back by itself after a reboot.
    fn is_unguarded(&self) -> bool {
        let hosted = match self.state {
            NodeState::Static => false,
            NodeState::SelfHosted | NodeState::Mixed => true,
            NodeState::Unknown => self.run.is_some(),
        };
        hosted && !(self.guard.enabled && self.guard.active)
    }

    pub(crate) fn show(&self, shell: &Shell) {
        if shell.json() {
            shell.data_json(self);
            return;
        }
        let node = self.node.as_ref().map(|node| format!("node {node}: ")).unwrap_or_default();
        shell.words(format_args!("{node}{}", self.state));
        shell.words(format_args!("  because: {}", self.details.because));
        for component in &self.components {
            let manifest = if component.static_manifest { "static manifest" } else { "no static manifest" };
            let daemonset = match &component.daemonset {
                Some(status) => format!("DaemonSet {} of {} ready", status.ready, status.desired),
                None if self.api_error.is_some() => "DaemonSet unknown".to_owned(),
                None => "no DaemonSet".to_owned(),
            };
            shell.words(format_args!("  {:24} {manifest:18}  {daemonset}", component.name.name()));
        }
        self.details.show(shell);
        if let Some(run) = &self.run {
            let id = run.run.map_or("(not begun)".to_owned(), |run| run.to_string());
            let reason = run.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let pid = run.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            let workflow = run.workflow.as_ref().map(|workflow| format!(" ({workflow})")).unwrap_or_default();
            let why = run.why.as_ref().map(|why| format!("\n    because: {why}")).unwrap_or_default();
            shell.words(format_args!("  last run {id}{workflow}: {}{pid}{reason}{why}", run.outcome));
            if run.has_fallen_back() {
                shell.talk(format_args!("the control plane has fallen back to static pods: {HOW_TO_GO_ON}"));
            }
        }
        if self.is_unguarded() {
            shell.talk(
                "no guard runs here: after a reboot, or a failure, nothing brings the control plane back; `fulcrum guard \
                 install` installs it, and `fulcrum guard status` says more",
            );
        }
        if !self.guard.says.is_empty() {
            shell.talk(format_args!("the guard: {}", self.guard.says));
        }
        if let Some(error) = &self.journal_error {
            shell.talk(format_args!("the journal could not be read: {error}"));
        }
        if let Some(error) = &self.api_error {
            shell.talk(format_args!("the API could not be asked: {error}"));
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Static => "static pods",
            Self::SelfHosted => "self-hosted",
            Self::Mixed => "mixed: partly static, partly self-hosted; see the last run",
            Self::Unknown => "unknown: no static manifests, and the API does not show DaemonSets",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(static_manifest: bool, daemonset: bool) -> ComponentStatus {
        let daemonset = daemonset.then_some(DaemonsetStatus { desired: 1, ready: 1 });
        ComponentStatus { name: Component::ApiServer, static_manifest, daemonset }
    }

    #[test]
    fn a_self_hosted_node_without_a_guard_is_told() {
        let report = |state, enabled, active| StatusReport {
            state,
            node: None,
            run: None,
            components: Vec::new(),
            guard: GuardStatus { enabled, active, says: String::new() },
            format_version: STATUS_FORMAT_VERSION,
            details: StatusDetails::default(),
            api_error: None,
            journal_error: None,
        };
        for state in [NodeState::SelfHosted, NodeState::Mixed] {
            let told = [(false, false), (true, false), (false, true), (true, true)]
                .map(|(enabled, active)| report(state, enabled, active).is_unguarded());
            assert_eq!(told, [true, true, true, false], "{state:?}");
        }
        // Nothing was ever done here.
        assert!(!report(NodeState::Unknown, false, false).is_unguarded());
        assert!(!report(NodeState::Static, false, false).is_unguarded());
    }

    #[test]
    fn the_state_is_what_disk_and_api_agree_on() {
        for (components, api, expected) in [
            ([component(true, false), component(true, false)], true, NodeState::Static),
            ([component(true, false), component(true, false)], false, NodeState::Static),
            ([component(false, true), component(false, true)], true, NodeState::SelfHosted),
            ([component(false, false), component(false, false)], false, NodeState::Unknown),
            ([component(true, true), component(true, true)], true, NodeState::Mixed),
            ([component(false, true), component(true, true)], true, NodeState::Mixed),
            ([component(false, true), component(false, false)], true, NodeState::Mixed),
        ] {
            assert_eq!(NodeState::of(&components, api), expected, "{components:?}");
        }
    }
}
