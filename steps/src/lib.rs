//! What a pivot does to a node and a cluster: its steps, its checks, its plan.
//!
//! The engine runs them; but for the drill, this crate knows nothing of journals, signals or terminals. Steps see the world
//! through two edges only, [`node`] and [`cluster`], and so they run unchanged against the [`rehearsal`].
//!
//! | module | what it is |
//! |---|---|
//! | [`component`] | the three components that move: names, ports, files |
//! | [`manifest`] | from a static pod's manifest to a DaemonSet; pure |
//! | [`node`] | the edge to the machine |
//! | [`cluster`] | the edge to the API |
//! | [`site`] | both, and what was decided when the run was planned |
//! | [`bridge`] | a third API server for the time in which a port changes hands: what there is of it |
//! | [`preflight`] | every check before the first change |
//! | [`step`] | the steps, one file each |
//! | [`plan`] | the DAG |
//! | [`guard`] | what brings the control plane back after a reboot or a failure |
//! | [`release`] | what differs from one release of Kubernetes to the next |
//! | [`rehearsal`] | a simulated node and cluster |
//! | [`drill`] | a whole pivot in a rehearsal, there and back, or broken at a named point |

pub mod bridge;
pub mod cluster;
pub mod component;
pub mod drill;
pub mod guard;
pub mod manifest;
pub mod node;
pub mod plan;
pub mod preflight;
pub mod rehearsal;
pub mod release;
pub mod site;
pub mod step;
