//! Live checks of a node: what is wrong with its control plane, and the command that puts it right.
//!
//! Facts are gathered side by side, each within a time limit, and nothing is changed. A pure function judges
//! them. An API that is down is a finding, and everything that needs no API is examined all the same.

mod facts;
mod finding;
mod gather;
mod judge;
mod judge_cluster;
mod limit;
mod way_back;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_time;

pub use facts::{
    ApiFacts, ComponentFacts, DaemonsetFacts, Facts, Files, Ground, GuardFacts, JournalFacts, Leader,
    ListenerFacts, Origin, Serving,
};
pub use finding::{Area, Finding, Health};
pub use gather::{Patient, gather, look_at_certificates};
pub use judge::judge;
