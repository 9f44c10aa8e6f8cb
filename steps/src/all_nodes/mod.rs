//! All control-plane nodes by one command: on each in turn, a pod starts the node's own run and watches it.
//!
//! This is a trigger, not a second engine. The node's journal and guard do the work. A kill of the command, of a pod or
//! of a node loses nothing, and the command run again goes on.

// What is asked of each node, and what is there.
mod look;
mod order;
mod task;
pub use look::{NodeIs, NodeSeen, Own};
pub use order::{Order, order};
pub use task::{LastRun, Task};

// On a node: the program, and the unit in which it runs.
mod install;
pub use install::{Installed, install};

// The pod that starts the run.
mod pod;
mod pod_state;
pub use pod::{POD_DEADLINE, PodOf, pod, pod_name};
pub use pod_state::PodState;

// One node after the other.
mod drive;
mod in_cluster;
mod record;
mod stop;
pub use drive::{Driver, Happened, Limits, Nodes, PodSeen, Unready};
pub use in_cluster::InCluster;
pub use record::{NodeRecord, Progress, Record};
pub use stop::Stop;

#[cfg(test)]
mod tests;
