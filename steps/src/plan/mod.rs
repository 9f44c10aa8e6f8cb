//! The plans: which steps, in which order, how patiently.

mod guard;
mod pivot;

pub use guard::{FALL_BACK, HAND_OVER, RENEW_STANDBY, fall_back, hand_over, renew_standby};
pub use pivot::{PIVOT, pivot};

/// A stored workflow's name as people read it.
pub fn shown(kind: &str) -> &str {
    if kind == FALL_BACK { "fall-back" } else { kind }
}
