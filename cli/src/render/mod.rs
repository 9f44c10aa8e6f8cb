//! How things look: progress, plans, status, history.

mod history;
mod plan;
mod progress;
mod status;
mod time;

pub(crate) use history::RunHistory;
pub(crate) use plan::{plan_data, plan_talk};
pub(crate) use progress::Progress;
pub(crate) use status::{ComponentStatus, DaemonsetStatus, NodeState, RunStatus, StatusReport};
