//! A rehearsal: the real pivot and the way back on a simulated cluster, under close watch.
//!
//! The plan, the steps, the engine and the journal are the real ones. Only `Node` and `Cluster` lead to a
//! [simulation](crate). A rehearsal either goes [there and back](there_and_back) and reports on it, or breaks
//! something at a named [`Point`] and checks that the run still comes to its end. It is not a test of
//! Kubernetes: the simulation's own documentation says in what it is true, and in what not.

// The subject of a pivot: manifests, and their version.
mod kubeadm;
mod setup;
mod version;
pub use kubeadm::SimulatedKubeadm;
pub use setup::{Setup, SetupError};
pub use version::{Version, VersionError};

// One node of a simulated cluster with a journal, and the checks of it afterwards.
mod boot;
mod check;
mod error;
mod inventory;
mod pace;
mod simulated_site;
pub use error::RehearsalError;
pub use inventory::Difference;
pub use pace::{POLL, SOON, intervals, timeouts};
pub use simulated_site::{SimulatedSite, Steps};

// There and back, with requests all the while.
mod pulse;
mod tour;
pub use pulse::Asked;
pub use tour::{ComponentSeen, Seen, StepTime, Summary, there_and_back};

// Changes of a control plane that is self-hosted, there and back, or broken.
mod begun;
mod story;
mod story_crash;
mod story_tour;
pub use begun::Begun;
pub use story::Story;
pub use story_tour::change_and_back;

// A pivot with certificates in Secrets, and what follows it.
mod keys;
mod secrets_story;
mod secrets_tour;
pub use keys::{FOR_ROOT, Keys};
pub use secrets_tour::secrets_and_back;

// The points where a run can be broken, and the faults.
mod point;
pub use point::{Case, Fault, ParseCaseError, Point, SIGNING, Then, When, cases};

// The same on several nodes, by one command, with clients at each and at the balancer.
mod hosts;
mod load;
mod nodes_tour;
pub use hosts::Hosts;
pub use load::{Answers, Load, PhaseLoad};
pub use nodes_tour::{Hears, NodeTime, NodesSummary, there_and_back_on_all};

// The process that is broken.
mod child;
mod run_child;
pub use child::{Change, ChildExit, Orders, Verb};
pub use run_child::run_child;

// Breaks the process, and takes the run up.
mod crash;
mod nodes_crash;
mod worker_pool;
pub use crash::{Broken, FaultRehearsal, Verdict};
