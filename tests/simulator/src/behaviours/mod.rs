//! What the rehearsal and a real cluster have in common, as a list of checks that both must pass.
//!
//! A [`Behaviour`] only uses what exists in both worlds: a kube client, the manifests directory, the
//! machine's kernel. So the same list runs as a test of the rehearsal and, by `examples/behaviours.rs`, on a
//! kubeadm node; what passes on one and fails on the other is where the rehearsal is not true.
//!
//! Each cleans up what it made, also when it failed, and what an earlier one that was killed has left. They
//! are for a node that may be disturbed: the last one takes its API server away for some seconds. They are
//! not a conformance test: only what a pivot relies on is looked at.

// What they run on, and the list.
mod behaviour;
mod failed;
mod ground;
mod sweep;
pub use behaviour::{ALL, Behaviour};
pub use failed::Failed;
pub use ground::{Ground, SECOND_PORT, Tempo};

// What they are written with.
mod make;

// The behaviours.
mod daemonsets;
mod lists;
mod objects;
mod servers;
mod static_pods;
mod watches;

#[cfg(test)]
mod tests;
