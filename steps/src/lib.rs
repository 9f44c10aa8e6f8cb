//! The pivot of a node and a cluster: its steps, its checks, its plan.
//!
//! The engine runs the steps. This crate knows nothing of signals or terminals. Steps see the world through
//! two edges only, [`host`] and [`cluster`]. So they run unchanged against the simulator (tests/simulator).
//!
//! | module | what it is |
//! |---|---|
//! | [`component`] | the three components that move: names, ports, files |
//! | [`manifest`] | from a static pod's manifest to a DaemonSet; pure |
//! | [`host`] | the edge to the machine |
//! | [`cluster`] | the edge to the API |
//! | [`settings`] | what was decided when the run was planned; [`run_info`]: what else the journal stores of a run |
//! | [`step_name`] | the names of steps, stored and shown |
//! | [`timeouts`] | how long things are given |
//! | [`site`] | all of these, for the steps |
//! | [`handover`] | what several steps do when a port or a lease changes hands |
//! | [`check`] | the names of the checks, and which of them a person may overrule |
//! | [`preflight`] | every check before the first change |
//! | [`step`] | the steps, one file each |
//! | [`placement`] | what the scheduler makes of a pod and a node |
//! | [`plan`] | the DAG |
//! | [`mod@unit`] | the guard's systemd unit |
//! | [`changes`] | what a run has changed, before and after |
//! | [`certificates`] | every certificate in use, and what each running process has of it |
//! | [`upgrade`] | what another release of Kubernetes changes in the DaemonSets |
//! | [`guard`] | what brings the control plane back after a reboot or a failure |
//! | [`doctor`] | live checks of a node, and the command that puts each thing right |
//! | [`overview`] | every control-plane node, as the cluster tells it |
//! | [`all_nodes`] | all control-plane nodes by one command: a pod on each starts its run |
//! | [`sealer`] | signs the journal after each run, and records that in the cluster |
//! | [`roll_call`] | says in the cluster how a run of this node stands |
//! | [`release`] | what differs from one release of Kubernetes to the next |

pub mod all_nodes;
pub mod certificates;
mod change;
pub mod changes;
pub mod check;
pub mod cluster;
pub mod component;
pub mod doctor;
pub mod guard;
pub mod handover;
pub mod host;
mod look;
pub mod manifest;
pub mod overview;
pub mod placement;
pub mod plan;
pub mod preflight;
pub mod release;
pub mod roll_call;
pub mod run_info;
pub mod sealer;
pub mod settings;
pub mod site;
pub mod step;
pub mod step_name;
pub mod timeouts;
pub mod unit;
pub mod upgrade;

#[cfg(test)]
#[path = "../../tests/harness/mod.rs"]
mod harness;
