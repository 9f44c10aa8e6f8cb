//! The plans: which steps, in which order, how patiently.

mod guard;
mod pivot;

pub use guard::{HAND_OVER, RENEW_STANDBY, STAND_IN, hand_over, renew_standby, stand_in};
pub use pivot::{PIVOT, pivot};
