//! Shows progress, plans, status and history.

mod crash;
mod diff;
mod doctor;
mod graph;
mod history;
mod outline;
mod plan;
mod preflight;
mod progress;
mod status;
mod status_details;
mod terminal;
mod time;
mod tour;

pub(crate) use crash::CrashTable;
pub(crate) use diff::{colours, diff};
pub(crate) use doctor::show_findings;
pub(crate) use graph::graph;
pub(crate) use history::RunHistory;
pub(crate) use outline::Outline;
pub(crate) use plan::{daemonsets_yaml, plan_data, plan_talk};
pub(crate) use preflight::show_preflight;
pub(crate) use progress::Progress;
pub(crate) use status::{
    ComponentStatus, DaemonsetStatus, FORMAT_VERSION, GuardStatus, NodeState, RunStatus, StatusReport,
};
pub(crate) use status_details::StatusDetails;
pub(crate) use tour::show_tour;
