//! The commands, one file each.

mod carry_on;
mod history;
mod pivot;
mod resume;
mod rollback;
mod status;

pub(crate) use history::history;
pub(crate) use pivot::pivot;
pub(crate) use resume::resume;
pub(crate) use rollback::rollback;
pub(crate) use status::status;
