//! Every check before the first change.
//!
//! First the facts are gathered, then pure checks look at them: all that can be said is said at once, with
//! what was seen and what to do. What refuses has changed nothing.

mod cluster;
mod facts;
mod fit;
mod handover;
mod host;
mod manifest;
mod this_node;
mod verdict;

pub use facts::{Ask, preflight, preflight_disk};
pub use host::find_manifests;
pub use verdict::{Level, Refused, Report, Verdict};
