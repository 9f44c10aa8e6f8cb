//! The plans: which steps, in which order, and with which deadlines.

mod edit;
mod guard;
mod pivot;
mod story;

pub use crate::run_info::{FALL_BACK, PIVOT, shown};
pub use edit::{EDIT, Edit, edit, edited};
pub(crate) use guard::renew_standby;
pub use guard::{HAND_OVER, RENEW_STANDBY, fall_back, hand_over};
pub use pivot::pivot;
pub use story::{StepStory, story};
