//! Every control-plane node as the cluster tells it: from its nodes, pods, lock and roll call alone, without a look at
//! any machine.
//!
//! [`gather`] asks, [`judge`] makes rows of the answers.

mod facts;
mod gather;
mod judge;

#[cfg(test)]
mod tests;

pub use facts::{LockFacts, NodeFacts, OverviewFacts, PodFacts};
pub use gather::gather;
pub use judge::{Age, GuardRow, GuardSeen, Is, LockRow, NodeRow, Overview, RunRow, StandbyRow, judge};
