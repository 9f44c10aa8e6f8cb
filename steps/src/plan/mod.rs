//! The plans: which steps, in which order, how patiently.

mod pivot;

pub use pivot::{PIVOT, pivot};
