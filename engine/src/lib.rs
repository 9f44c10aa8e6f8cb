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
//! | [`shape`] | what a run in flight must find again in a new version of the program |
//! | [`event`] | what is journalled |
//! | [`status`], [`run`] | the state machine: one step, the whole run; no I/O, no clock |
//! | [`load`] | from the journal back to a run; [`history`]: from the journal to a list of attempts |
//! | [`wait`] | what a step waits for without a process |
//! | [`engine`] | what a program calls; the executor around the state machine |
//! | [`observe`] | how a program watches |
//! | `postgres` | the journal in PostgreSQL, for several machines (cargo feature `postgres`) |
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

mod adopt;
mod approve;
mod attempt;
mod bound;
mod calls;
mod checkpoint;
mod child_run;
mod clip;
mod clock;
mod closures;
mod control;
mod desk;
mod edges;
pub mod engine;
mod error;
pub mod event;
mod executor;
mod facts;
#[cfg(test)]
mod golden;
mod here;
pub mod history;
pub mod limits;
pub mod load;
pub mod observe;
mod outputs;
mod panics;
pub mod plan;
pub mod policy;
#[cfg(feature = "postgres")]
pub mod postgres;
mod reports;
mod retain;
mod retention;
pub mod run;
pub mod shape;
pub mod status;
pub mod step;
mod step_error;
#[cfg(feature = "testing")]
pub mod testing;
mod typed;
pub mod wait;
mod waiting;

pub use child_run::ChildRun;
pub use closures::{ClosureStep, StepBuilder, Steps, step};
pub use control::Control;
pub use engine::{Ending, Engine};
pub use error::{EngineError, LoadError};
pub use event::{Actor, Event, Failure, FailureKind, Outcome, PauseCause, ProbeResult, Role, Session};
pub use observe::{AfterRun, Observer, Silent};
pub use plan::{Durability, Plan, PlanError, StepId, StepSpec};
pub use policy::{Backoff, Policy};
pub use retention::Retention;
pub use run::{Phase, Rollback, Run};
pub use shape::{Difference, Differences, Shape};
pub use status::{Status, StepState};
pub use step::{Context, Look, Pending, Step, StepRegistry};
pub use step_error::StepError;
pub use wait::{Decision, Question, Verdict, Wait};

pub use async_trait::async_trait;
pub use fulcrum_state as state;
