//! [guarantees]: crate::guarantees
//! [when not to use it]: crate::when_not_to_use_it
//! [comparison]: crate::comparison
#![doc = include_str!("../README.md")]
//!
//! # Modules
//!
//! | module | what it is |
//! |---|---|
//! | [`mod@step`] | the contract of a step |
//! | [`plan`] | a DAG of steps as data; [`policy`]: attempts, back-off, timeouts; [`limits`]: what a value may measure |
//! | [`event`] | what is journalled |
//! | [`status`], [`run`] | the state machine: one step, the whole run; no I/O, no clock |
//! | [`load`] | from the journal back to a run; [`history`]: from the journal to a list of attempts |
//! | [`engine`] | what a program calls; the executor around the state machine |
//! | [`observe`] | how a program watches |
//! | `testing` | what every workflow should hold, as checks (cargo feature `testing`) |

#[cfg(doc)]
#[doc = include_str!("../docs/guarantees.md")]
pub mod guarantees {}

#[cfg(doc)]
#[doc = include_str!("../docs/when-not.md")]
pub mod when_not_to_use_it {}

#[cfg(doc)]
#[doc = include_str!("../docs/comparison.md")]
pub mod comparison {}

mod attempt;
mod calls;
mod checkpoint;
mod clip;
mod control;
mod edges;
pub mod engine;
mod error;
pub mod event;
mod executor;
mod here;
pub mod history;
pub mod limits;
pub mod load;
pub mod observe;
mod outputs;
mod panics;
pub mod plan;
pub mod policy;
pub mod run;
pub mod status;
pub mod step;
#[cfg(feature = "testing")]
pub mod testing;

pub use control::Control;
pub use engine::{Ending, Engine};
pub use error::{EngineError, LoadError};
pub use event::{Event, Failure, FailureKind, Outcome, PauseCause, ProbeResult, Role, Session};
pub use observe::{Observer, Silent};
pub use plan::{Durability, Plan, PlanError, StepId, StepSpec};
pub use policy::{Backoff, Policy};
pub use run::{Phase, Rollback, Run};
pub use step::{Context, Look, Pending, Step, StepError, StepRegistry};

pub use fulcrum_state as state;
