//! The common behaviour of the rehearsal and a real cluster, as a list of checks that both must pass.
//!
//! A [`Behaviour`] only uses what exists in both worlds: a kube client, the manifests directory, the
//! machine's kernel. So one list runs as a test of the rehearsal and, by `examples/behaviours.rs`, on a
//! kubeadm node. Where a check passes on one and fails on the other, the rehearsal is not true.
//!
//! Each check cleans up what it made, also when it failed, and what an earlier, killed one has left. The
//! checks are for a node that may be disturbed: the last one takes its API server away for some seconds. They
//! are not a conformance test: they look only at what a pivot relies on.
//!
//! [`SEVERAL`] is for a cluster of several control-plane nodes, seen from one of them.

// The ground of the checks, and the list.
mod behaviour;
mod failed;
mod ground;
mod names;
mod sweep;
pub use behaviour::{ALL, Behaviour, SEVERAL};
pub use failed::Failed;
pub use ground::{Ground, Other, SECOND_PORT, Tempo};

// The tools of the checks.
mod make;

// The behaviours.
mod certificates;
mod daemonsets;
mod lists;
mod nodes;
mod objects;
mod servers;
mod static_pods;
mod watches;

#[cfg(test)]
mod tests;
