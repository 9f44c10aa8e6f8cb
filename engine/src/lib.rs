//! A small workflow engine that survives its own death.
//!
//! A [`Plan`] is a DAG of named steps. The engine runs it, writes down in a journal what it is about
//! to do before it does it, and can therefore be killed at any instant: [`Engine::resume`] goes on
//! where it was, [`Engine::roll_back`] takes back what was done. It is a library, not a server, and it
//! needs nothing but a directory.
//!
//! What it promises, and what holds each promise, is in `ARCHITECTURE.md`. In short:
//!
//! 1. **Intent before effect.** An attempt is durable in the journal before it starts; its result is
//!    durable before anything that depends on it starts.
//! 2. **The journal says what was meant, the probe says what is.** After a crash a started step
//!    without a result is looked at ([`Step::probe`]), never guessed about.
//! 3. **Effects can be volatile** ([`Durability`]): what a reboot or a restart takes away is looked at
//!    again.
//! 4. **Undo covers every step that was started**, in the reverse order of the DAG, and is itself
//!    resumable. An undo that keeps failing is [`Outcome::NeedsOperator`], never a success.
//! 5. A failed sync stops everything: nothing is claimed that might not be on the disk.
//!
//! It knows nothing of Kubernetes, has no clock or timer of its own that survives a restart (a retry
//! delay starts anew after a crash), and does not run one run on two machines.
//!
//! `examples/deploy.rs` is a whole program: run it, kill it, run it again.
//!
//! | module | what it is |
//! |---|---|
//! | [`step`] | the contract of a step |
//! | [`plan`] | a DAG of steps as data; [`policy`]: attempts, back-off, timeouts |
//! | [`event`] | what is journalled |
//! | [`status`], [`run`] | the state machine: one step, the whole run; no I/O, no clock |
//! | [`load`] | from the journal back to a run; [`history`]: from the journal to a list of attempts |
//! | [`engine`] | the executor around it |
//! | [`observe`] | how a program watches |
//! | `testing` | what every workflow should hold, as checks (cargo feature `testing`) |

mod attempt;
mod clip;
pub mod engine;
mod error;
pub mod event;
mod executor;
pub mod history;
pub mod load;
pub mod observe;
pub mod plan;
pub mod policy;
pub mod run;
pub mod status;
pub mod step;
#[cfg(feature = "testing")]
pub mod testing;

pub use engine::{Control, Ending, Engine};
pub use error::{EngineError, LoadError};
pub use event::{Event, Failure, FailureKind, Outcome, PauseCause, ProbeResult, Role, Session};
pub use observe::{Observer, Silent};
pub use plan::{Durability, Plan, PlanError, StepId, StepSpec};
pub use policy::{Backoff, Policy};
pub use run::{Phase, Rollback, Run};
pub use step::{Context, Look, Pending, Seen, Step, StepError, StepRegistry};

pub use fulcrum_state as state;
