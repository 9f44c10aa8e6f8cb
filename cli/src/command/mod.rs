//! The commands, one file each.

mod carry_on;
mod evidence;
mod guard;
mod history;
mod pivot;
mod refused;
mod rehearse;
mod rehearse_crash;
mod resume;
mod rollback;
mod status;
mod take_up;

pub(crate) use guard::guard;
pub(crate) use history::history;
pub(crate) use pivot::pivot;
pub(crate) use rehearse::{rehearsal_child, rehearse};
pub(crate) use resume::resume;
pub(crate) use rollback::rollback;
pub(crate) use status::status;
