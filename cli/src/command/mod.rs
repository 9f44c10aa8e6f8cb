//! The commands, one file each.

mod carry_on;
mod certs;
mod completions;
mod doctor;
mod edit;
mod evidence;
mod guard;
mod history;
mod history_files;
mod pivot;
mod plan;
mod preflight;
mod read_history;
mod refused;
mod rehearse;
mod rehearse_crash;
mod resume;
mod rollback;
mod status;
mod step_by_step;
mod take_up;

pub(crate) use certs::certs;
pub(crate) use completions::{completions, man_pages};
pub(crate) use doctor::doctor;
pub(crate) use edit::edit;
pub(crate) use guard::guard;
pub(crate) use history::history;
pub(crate) use pivot::pivot;
pub(crate) use plan::plan;
pub(crate) use preflight::preflight;
pub(crate) use rehearse::{rehearsal_child, rehearse};
pub(crate) use resume::resume;
pub(crate) use rollback::rollback;
pub(crate) use status::status;
