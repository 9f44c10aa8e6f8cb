//! Every check before the first change.
//!
//! First the facts are gathered, then pure checks look at them. One report says everything at once, with what
//! was seen and what to do. A check that refuses has changed nothing.

mod certificates;
mod check_result;
mod cluster;
mod daemonsets;
mod facts;
mod fit;
mod handover;
mod host;
mod host_facts;
mod input;
mod load;
mod manifest;
mod other_files;
mod self_hosted;
mod this_node;

pub use check_result::{CheckResult, Known, Level, Refused, Report, complete};
pub use facts::{preflight, preflight_disk};
pub use host_facts::find_manifests;
pub use input::PreflightInput;
pub use self_hosted::{Found, FoundDaemonset, SelfHosted, self_hosted};
