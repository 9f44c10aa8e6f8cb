//! Shows progress, plans, status and history.

mod crash;
mod diff;
mod history;
mod page;
mod plan;
mod progress;
mod status;
mod terminal;
mod time;
mod tour;
mod trace;

pub(crate) use crash::CrashTable;
pub(crate) use diff::diff_lines;
pub(crate) use history::{FORMAT_VERSION, paragraph, run_json, steps};
pub(crate) use page::{Checks, PageRun, page};
pub(crate) use plan::{plan_data, plan_talk};
pub(crate) use progress::Progress;
pub(crate) use status::{ComponentStatus, DaemonsetStatus, GuardStatus, NodeState, RunStatus, StatusReport};
pub(crate) use tour::show_tour;
pub(crate) use trace::trace;
