//! Checks that every workflow on this engine should pass, for its tests to call.
//!
//! Behind the cargo feature `testing`, for `[dev-dependencies]`. The user's code makes a fresh [`World`] and
//! looks at it. Each check runs the workflow on as many fresh worlds as it needs:
//!
//! | check | what it does | what must be so |
//! |---|---|---|
//! | [`every_run_twice_is_as_once`] | each step's `run` twice in a row | the world as after one |
//! | [`failure_at_every_step_rolls_back_to_nothing`] | each step fails, before and after its effect | the world as before the run |
//! | [`every_undo_twice_is_as_once`] | each step's `undo` twice in a row | the world as before the run |
//! | [`prefixes_recover`] | dies after every entry of the journal, with the effect of the newest there or not; resumes, or rolls back, once or dying once more | a legal end, and the world that belongs to it |
//!
//! A workflow may wait. The world answers what its steps ask ([`World::answer`]). While a run waits for a time, no
//! process is there, and the clock is set forward: a step that sleeps for a week takes no time. A
//! [`ChildRun`](crate::ChildRun) takes its engine from [`Process::engine`], and its entries are cut, too.
//!
//! A check that fails returns [`Broken`], which names the step or the entry and says what differed.
//!
//! [`plan_is_as_kept`] compares a plan with a file beside the tests, so that a change that runs in flight will
//! meet shows in a review.
//!
//! The checks do not replace killing a real process. Only uncommitted entries are lost here, and what the
//! steps hold in memory lives on unless [`World::crashed`] drops it. Time passes as it does,
//! apart from that of waits without a process ([`Context::sleep`](crate::Context::sleep) and the like).
//!
//! ```
//! use fulcrum_engine::testing::{self, World};
//! use fulcrum_engine::{Context, ProbeResult, StepRegistry, Plan, Step, StepError, StepSpec};
//! use serde_json::Value;
//! use std::collections::BTreeSet;
//! use std::sync::{Arc, Mutex};
//!
//! /// A shelf, and a step that puts a book there.
//! type Shelf = Arc<Mutex<BTreeSet<String>>>;
//! struct Put { book: String, shelf: Shelf }
//!
//! #[async_trait::async_trait]
//! impl Step for Put {
//!     async fn probe(&self, _: &Context) -> Result<ProbeResult, StepError> {
//!         let there = self.shelf.lock().unwrap().contains(&self.book);
//!         Ok(if there { ProbeResult::Done } else { ProbeResult::Absent })
//!     }
//!     async fn run(&self, _: &Context) -> Result<Value, StepError> {
//!         self.shelf.lock().unwrap().insert(self.book.clone());
//!         Ok(Value::Null)
//!     }
//!     async fn undo(&self, _: &Context) -> Result<(), StepError> {
//!         self.shelf.lock().unwrap().remove(&self.book);
//!         Ok(())
//!     }
//! }
//!
//! struct Shelving(Shelf);
//!
//! impl World for Shelving {
//!     type Seen = BTreeSet<String>;
//!
//!     async fn fresh() -> Self {
//!         Shelving(Shelf::default())
//!     }
//!     fn plan(&self) -> Plan {
//!         let put = |book: &str| StepSpec::new(book, Value::Null);
//!         Plan::new("shelve", vec![put("i"), put("ii").after(["i"]), put("iii").after(["i"])]).unwrap()
//!     }
//!     fn registry(&self, _: &testing::Process) -> impl StepRegistry + 'static {
//!         let shelf = self.0.clone();
//!         move |spec: &StepSpec| -> Result<Arc<dyn Step>, String> {
//!             Ok(Arc::new(Put { book: spec.id.to_string(), shelf: shelf.clone() }))
//!         }
//!     }
//!     async fn seen(&self) -> Self::Seen {
//!         self.0.lock().unwrap().clone()
//!     }
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), testing::Broken> {
//! testing::every_run_twice_is_as_once::<Shelving>().await?;
//! testing::failure_at_every_step_rolls_back_to_nothing::<Shelving>().await?;
//! testing::every_undo_twice_is_as_once::<Shelving>().await?;
//! testing::prefixes_recover::<Shelving>(1).await?;
//! # Ok(())
//! # }
//! ```

mod checks;
mod crash;
mod kept_plan;
mod meddler;
mod process;
mod stage;

pub use checks::{
    every_run_twice_is_as_once, every_undo_twice_is_as_once, failure_at_every_step_rolls_back_to_nothing,
    prefixes_recover,
};
pub(crate) use crash::{Mortality, Turn};
pub use kept_plan::{PlanChanged, plan_is_as_kept};
pub use process::Process;
pub use stage::{Broken, World};
