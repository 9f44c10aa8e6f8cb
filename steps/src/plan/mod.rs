//! The plans: which steps, in which order, and with which deadlines.

mod cuts;
mod edit;
mod guard;
mod pivot;
mod story;

pub use cuts::{before, cuts};
pub use edit::{EDIT, Edit, edit, edited};
pub(crate) use guard::renew_standby;
pub use guard::{FALL_BACK, HAND_OVER, RENEW_STANDBY, fall_back, hand_over};
pub use pivot::{PIVOT, pivot};
pub use story::{StepStory, story};

/// The name that people read for a stored workflow.
pub fn shown(kind: &str) -> &str {
    if kind == FALL_BACK { "fall-back" } else { kind }
}
