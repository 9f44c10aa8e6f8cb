//! A small simulated control plane, of one node or of several. The pivot's steps are tested against it.
//!
//! It is true in what decides whether a pivot is right: static pods come from real files, two processes share
//! a port only if both may, the API is gone while no API server runs, a lease outlives its holder, readiness
//! is what *some* listener answered, a client's requests go to the server that took its connection (a server
//! that starts answers 403 and 500), and what the API says of pods after a reboot is old. Tests keep it true:
//! [`behaviours`] is one list of checks that passes here and on a real node. It is not Kubernetes: no
//! containers, no TLS, no authentication, and of the network only who reaches whom. All probes go at one pace,
//! and every image is on the node unless its registry is in the domain `invalid`.
//!
//! Several nodes ([`Simulator::start_with`]) share their objects. Each has its own machine, kubelet, API server
//! and member of etcd. An API server needs a member that is with the majority. A kubelet, a controller manager
//! and a scheduler talk to the API server of their own node, and one of each leads. The balancer
//! ([`Simulator::from_outside`], [`SimulatedNode::balanced`]) gives a new connection to any node whose API
//! server is ready.
//!
//! The [`Simulator`] can break the following:
//!
//! | what | with |
//! |---|---|
//! | the API answers with an error, late, or never; the answer is lost | [`SimulatedNode::inject`] an [`ApiFault`] |
//! | open watches are cut | [`Simulator::cut_watches`] |
//! | older versions are forgotten: 410 Expired | [`Simulator::compact`], [`SimulatorOptions::history`] |
//! | a component never listens, is never ready, crashes, has no image | [`SimulatedNode::flaw`] a [`Flaw`] |
//! | a process is killed, and perhaps kept down | [`SimulatedNode::crash`], [`SimulatedNode::hold_down`] |
//! | the kubelet is slow | [`SimulatedNode::slow_kubelet`] |
//! | the disk is full: pods are evicted, nothing starts | [`SimulatedNode::disk`] |
//! | the kernel cannot steer, or not redirect; no kubeadm is installed | [`SimulatedNode::lack`] |
//! | a program is connected over loopback | [`SimulatedNode::connect_over_loopback`] |
//! | the power goes: processes lost, objects and files kept | [`SimulatedNode::reboot`] |
//! | one node does not reach the others | [`SimulatedNode::cut_off`] |
//! | etcd's members report an alarm | [`Simulator::alarm`] |
//!
//! A node may have certificates ([`rehearsal::Setup::with_certificates`]): real files, which its kubeadm renews.
//! Its processes read them as the real ones do, at their start, each minute or at each connection, and say by
//! name what they would present. No TLS is spoken, and no certificate is checked. A pod that mounts a Secret which is
//! not there does not start. Its processes read the host's files all the same: what is in a Secret is not mounted.
//!
//! A member of etcd is of the version in its image's tag. It does not start on data that a newer minor release has
//! written. Its snapshot is whole, and holds nothing.
//!
//! A second API server is a static pod with another name, another `--secure-port` and
//! `--endpoint-reconciler-type=none`. [`SimulatedNode::client_at`] reaches it. The kubelet rejects a second
//! server that still names the first one's port among its container's `ports`, as the real one does.
//!
//! One struct, `World`, holds everything behind one lock. A thread calls `World::advance` every
//! [`Pace::tick`]; requests lock it in between. Nothing in the world reads a clock.

// The handle, and its options.
mod handle;
mod options;
mod pace;
mod simulated_node;
pub use handle::Simulator;
pub use options::SimulatorOptions;
pub use pace::Pace;
pub use simulated_node::{SimulatedNode, WaitError};

// Faults for tests, and what tests assert on.
mod fault;
mod log;
mod manifests;
mod snapshot;
pub use fault::{Ability, ApiFault, DeprecatedApi, Disk, Flaw, Outcome, Which};
pub use log::Happened;
pub use manifests::{write_certificates, write_control_plane};
pub use snapshot::{Origin, Running, Snapshot};

// The state, and the actors that move it in turn: the kubelet, the controllers, the scheduler, elections.
mod world;

// The machine: processes, their certificates, their sockets, which process answers, and the manifests directory.
mod held;
mod kubeadm;
mod process;
mod program;
mod reader;
mod socket;

// The API server: objects, rules, routes.
mod answers;
mod api;
mod canonical;
mod defaults;
mod discovery;
mod failure;
mod history;
mod list;
mod object;
mod patch;
mod phase;
mod resource;
mod route;
mod select;
mod store;
mod validate;
mod watch;

// What etcd's members answer to those who ask them directly.
mod etcd;
mod etcd_data;
pub use etcd::Alarm;

// The edges: HTTP in the process and over TCP, and the machine's kernel over the same transport.
mod connection;
mod host;
mod server;
mod shared;
mod units;
pub use units::SimulatedUnits;

// The common behaviour with a real cluster.
pub mod behaviours;

// A whole pivot in it, there and back, or broken at a named point.
pub mod rehearsal;

#[cfg(test)]
mod tests;
