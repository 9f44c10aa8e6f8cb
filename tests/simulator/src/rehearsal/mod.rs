//! A rehearsal: the real pivot and the way back, on a simulated cluster, looked at closely.
//!
//! The plan, the steps, the engine and the journal are the real ones; only `Node` and `Cluster` lead to a
//! [simulation](crate). A rehearsal either goes [there and back](there_and_back) and tells what it was like, or
//! breaks something at a named [`Point`] and checks that the run is brought to its end all the same. It is
//! not a test of Kubernetes: what the simulation is true in, and what not, is said there.

// What is pivoted: manifests, of which version.
mod kubeadm;
mod setup;
mod version;
pub use setup::{Setup, SetupError};
pub use version::{Version, VersionError};

// One simulated cluster with a journal, and what must be true of it afterwards.
mod check;
mod pace;
mod simulated_site;
pub use check::Difference;
pub use pace::{POLL, SOON, timeouts};
pub use simulated_site::{RehearsalError, SimulatedSite, Steps};

// There and back: asked all the while.
mod pulse;
mod tour;
pub use pulse::Asked;
pub use tour::{ComponentSeen, Seen, StepTime, Summary, there_and_back};

// Where a run can be broken, and how.
mod point;
pub use point::{Case, Fault, ParseCaseError, Point, Then, When, cases};

// The process that is broken.
mod child;
mod run_child;
pub use child::{ChildExit, Orders, Verb};
pub use run_child::run_child;

// Breaking it, and taking the run up.
mod crash;
mod worker_pool;
pub use crash::{Broken, FaultRehearsal, Verdict};
