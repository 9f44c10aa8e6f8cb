//! Shows progress, plans, status and history.

mod all_nodes;
mod certs;
mod crash;
mod diff;
mod doctor;
mod forecast;
mod found;
mod graph;
mod history;
mod nodes_tour;
mod outline;
mod overview;
mod page;
mod plan;
mod pod_diff;
mod preflight;
mod progress;
mod renewal;
mod screen;
mod status;
mod status_details;
mod terminal;
mod time;
mod tour;
mod trace;

pub(crate) use all_nodes::{NODE_PLAN_VERSION, for_resume, happened, node_commands};
pub(crate) use certs::show_certificates;
pub(crate) use crash::CrashTable;
pub(crate) use diff::{diff_lines, template_diff, words_diff};
pub(crate) use doctor::show_findings;
pub(crate) use forecast::Forecast;
pub(crate) use found::{adopted_manifests, show_found};
pub(crate) use graph::graph;
pub(crate) use history::{FORMAT_VERSION, paragraph, run_json, steps};
pub(crate) use nodes_tour::show_nodes_tour;
pub(crate) use outline::Outline;
pub(crate) use overview::overview;
pub(crate) use page::{Checks, PageRun, page};
pub(crate) use plan::{daemonsets_yaml, plan_data, plan_talk};
pub(crate) use pod_diff::diff;
pub(crate) use preflight::show_preflight;
pub(crate) use progress::Progress;
pub(crate) use renewal::show_renewal;
pub(crate) use status::{
    ComponentStatus, DaemonsetStatus, GuardStatus, NodeState, RunStatus, STATUS_FORMAT_VERSION, StatusReport,
};
pub(crate) use status_details::StatusDetails;
pub(crate) use terminal::{columns_of, on_lines};
pub(crate) use tour::show_tour;
pub(crate) use trace::trace;
