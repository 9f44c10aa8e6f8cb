//! A small workflow engine that survives its own death.
//!
//! A [`Plan`] is a DAG of named steps. The engine runs it, and journals each intent before it acts. The
//! process can therefore be killed at any instant. [`Engine::resume`] then goes on where the run was;
//! [`Engine::roll_back`] undoes what was done. The engine is a library, not a server. It needs one
//! directory.
//!
//! What it promises, and what holds each promise, is in `ARCHITECTURE.md`. In short:
//!
//! 1. **Intent before effect.** An attempt is durable in the journal before it starts; its result is
//!    durable before anything that depends on it starts.
//! 2. **The journal says what was meant, the probe says what is.** After a crash the engine probes a
//!    started step without a result ([`Step::probe`]). It never guesses.
//! 3. **Effects can be volatile** ([`Durability`]): the engine probes again what a reboot or a restart may
//!    have taken away.
//! 4. **A rollback covers every step that was started**, in the reverse order of the DAG, and can be
//!    resumed itself. An undo that keeps failing is [`Outcome::NeedsOperator`], never a success.
//! 5. **A failed sync stops everything.** The engine claims nothing that might not be on the disk.
//!
//! The engine has no timers that survive a restart: a retry delay starts anew after a crash. It does not
//! carry out one run on two machines.
//!
//! `examples/deploy.rs` is a whole program: run it, kill it, run it again.
//!
//! | module | what it is |
//! |---|---|
//! | [`step`] | the contract of a step |
//! | [`plan`] | a DAG of steps as data; [`policy`]: attempts, back-off, timeouts; [`limits`]: what a value may measure |
//! | [`event`] | what is journalled |
//! | [`status`], [`run`] | the state machine: one step, the whole run; no I/O, no clock |
//! | [`load`] | from the journal back to a run; [`history`]: from the journal to a list of attempts |
//! | [`engine`] | what a program calls; the executor around the state machine |
//! | [`observe`] | how a program watches |
//! | `testing` | what every workflow should hold, as checks (cargo feature `testing`) |

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
pub use event::{Actor, Event, Failure, FailureKind, Outcome, PauseCause, ProbeResult, Role, Session};
pub use observe::{AfterRun, Observer, Silent};
pub use plan::{Durability, Plan, PlanError, StepId, StepSpec};
pub use policy::{Backoff, Policy};
pub use run::{Phase, Rollback, Run};
pub use step::{Context, Look, Pending, Step, StepError, StepRegistry};

pub use fulcrum_state as state;
