//! Shows progress, plans, status and history.

mod crash;
mod history;
mod plan;
mod preflight;
mod progress;
mod status;
mod terminal;
mod time;
mod tour;

pub(crate) use crash::CrashTable;
pub(crate) use history::RunHistory;
pub(crate) use plan::{plan_data, plan_talk};
pub(crate) use preflight::show_preflight;
pub(crate) use progress::Progress;
pub(crate) use status::{ComponentStatus, DaemonsetStatus, GuardStatus, NodeState, RunStatus, StatusReport};
pub(crate) use tour::show_tour;
