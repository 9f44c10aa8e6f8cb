//! The contract between a step and the engine.

use crate::clip::clip_to;
use crate::clock::Clock;
use crate::event::ProbeResult;
use crate::facts::Facts;
use crate::limits::REPORT_BYTES_MAX;
use crate::observe::Watcher;
use crate::outputs::Outputs;
use crate::plan::{Plan, StepId, StepSpec};
use crate::reports::Reports;
use crate::step_error::StepError;
use crate::wait::Waited;
use async_trait::async_trait;
use fulcrum_state::{Head, RunId};
use serde_json::Value;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// One step: how to do it, how to undo it, and how to see whether it is done.
///
/// # What happens, in order
/// 1. [`save`](Step::save) returns the pre-image, once, before the first attempt. It is durable before 2.
/// 2. The intent is journalled. Only then [`run`](Step::run) is called, and again after a failure.
/// 3. The result is journalled. Only then does a step that depends on it start.
/// 4. When the run is rolled back, [`undo`](Step::undo) is called, after every step that depends on this
///    one has been undone.
///
/// After a crash the engine first [`probe`](Step::probe)s a step that was started and has no result.
///
/// # What a step must keep to
/// * `run` and `undo` are **idempotent**: each may be called again after it was cut short at any
///   point, and after it had already succeeded.
/// * `undo` copes with a `run` that never began, that was cut short anywhere, and that succeeded.
///   It must leave alone what it did not make.
/// * `probe`, `output` and `save` change nothing.
/// * Long waits go through [`Context::wait`]. It ends them when the run is stopped. When their time is up,
///   the error says what they were waiting for.
///
/// # What a step may rely on
/// * No two of its methods run at once, in this process or (through the journal's lock) in another.
/// * When the engine returns, nothing is in flight, except a method that has blocked its thread for more
///   than ten seconds.
/// * A method that runs out of time is dropped at its next await, and counts as a failed attempt.
#[async_trait]
pub trait Step: Send + Sync {
    /// Looks at what is there. After a crash this decides whether the step is done, runs again, or stops the
    /// run because something there is not its own.
    async fn probe(&self, cx: &Context) -> Result<ProbeResult, StepError>;

    /// Does the work. The journal keeps the value for later steps ([`Context::output`]). A value of the author's
    /// own type becomes one by [`Context::returns`]. It has at most
    /// [`OUTPUT_BYTES_MAX`](crate::limits::OUTPUT_BYTES_MAX).
    async fn run(&self, cx: &Context) -> Result<Value, StepError>;

    /// The version of the step's work. An author raises it when runs that are in flight must not go on with the
    /// new work unseen: the engine stores it with the run, and refuses to take a run up with another version
    /// until somebody [adopts](crate::Engine::adopt) the run.
    fn version(&self) -> u32 {
        1
    }

    /// The value that `run` would have returned, read from what is there. The engine asks for it after a
    /// probe that found the step done, if its attempt was cut short before it could return. A step without an
    /// output need not implement this.
    async fn output(&self, cx: &Context) -> Result<Value, StepError> {
        let _ = cx;
        Ok(Value::Null)
    }

    /// Takes the work back.
    async fn undo(&self, cx: &Context) -> Result<(), StepError>;

    /// Whether the step has something to [`save`](Step::save).
    fn saves(&self) -> bool {
        false
    }

    /// The pre-image: what `undo` will need of the earlier state ([`Context::pre_image`]). It may have any
    /// size.
    async fn save(&self, cx: &Context) -> Result<Vec<u8>, StepError> {
        let _ = cx;
        Ok(Vec::new())
    }
}

/// Makes steps from their specs. A resumed run asks for the steps of its stored plan, which an earlier
/// version of the program may have made. `Err` says why the step cannot be made.
pub trait StepRegistry: Send + Sync {
    /// The step that `spec` describes.
    fn step(&self, spec: &StepSpec) -> Result<Arc<dyn Step>, String>;
}

impl<F: Fn(&StepSpec) -> Result<Arc<dyn Step>, String> + Send + Sync> StepRegistry for F {
    fn step(&self, spec: &StepSpec) -> Result<Arc<dyn Step>, String> {
        self(spec)
    }
}

/// The step's view of its run, and its way to report. A clone belongs to the same attempt.
#[derive(Clone)]
pub struct Context {
    pub(crate) run: RunId,
    pub(crate) step: StepId,
    pub(crate) attempt: u32,
    pub(crate) head: Head,
    pub(crate) token: Option<u64>,
    pub(crate) pre_image: Option<Arc<[u8]>>,
    pub(crate) waited: Option<Arc<Waited>>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) outputs: Outputs,
    pub(crate) stop: CancellationToken,
    pub(crate) watcher: Watcher,
    pub(crate) reports: Reports,
    pub(crate) clock: Clock,
    pub(crate) facts: Facts,
    pub(crate) noted: Arc<Mutex<String>>,
}

/// One look at what a step waits for ([`Context::wait`]): `Ok` ends the wait.
///
/// A function that looks returns it, and `?` passes on what a look within has seen:
///
/// ```
/// use fulcrum_engine::{Context, Look, Pending, StepError};
/// use std::time::Duration;
///
/// async fn size(path: &str) -> Look<u64> {
///     match std::fs::metadata(path) {
///         Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
///             Err(Pending::NotYet(format!("no {path}")))
///         }
///         metadata => Ok(metadata?.len()), // Any other error ends the wait.
///     }
/// }
///
/// async fn filled(path: &str) -> Look<()> {
///     match size(path).await? {
///         0 => Err(Pending::NotYet(format!("{path} is empty"))),
///         _ => Ok(()),
///     }
/// }
///
/// async fn run(cx: &Context) -> Result<(), StepError> {
///     cx.wait("the report", Duration::from_millis(100), || filled("report.csv")).await
/// }
/// ```
pub type Look<T> = Result<T, Pending>;

/// The reason why a look did not end the wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pending {
    /// It is not there yet. The text says what is there instead. The wait goes on.
    NotYet(String),
    /// The look failed. The wait ends with this error.
    Failed(StepError),
}

/// An error within a look becomes the wait's error.
impl<E: Into<StepError>> From<E> for Pending {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Context {
    /// The run that the step belongs to.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// The step's name.
    pub fn step(&self) -> &StepId {
        &self.step
    }

    /// The number of this attempt (or undo), from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The newest entry of the run's journal when this attempt began.
    pub fn head(&self) -> Head {
        self.head
    }

    /// A number that is greater than those of all earlier claims on this run, in a journal that several machines
    /// write. What has an effect outside can compare it with the greatest number that it has seen of the run, and
    /// refuse a smaller one: that attempt belongs to a machine whose claim is over. `None` in a journal that one
    /// process alone writes.
    pub fn fencing_token(&self) -> Option<u64> {
        self.token
    }

    /// The value that [`Step::save`] returned before the first attempt. `None` if the step never got that
    /// far. Then it has changed nothing.
    pub fn pre_image(&self) -> Option<&[u8]> {
        self.pre_image.as_deref()
    }

    /// The value that a done step has returned, as JSON. `None` if that is null. [`Context::output`] reads it as
    /// a type of the author's.
    pub fn output_value(&self, step: &str) -> Option<&Value> {
        self.outputs.get(self.plan.place(step)?)
    }

    /// Reports what the step is doing. Observers show it. If the attempt runs out of time, the error has it.
    pub fn note(&self, text: impl Into<String>) {
        let text = text.into();
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if *noted != text {
            self.watcher.note(&self.step, &text);
            *noted = text;
        }
    }

    /// Reports what the step is doing, as [`Context::note`] does, and to other processes, too: the journal has
    /// the last report of an attempt ([`History`](crate::history::History)). It goes with the next commit of the
    /// run, or after a second without one. A longer text than
    /// [`REPORT_BYTES_MAX`] is clipped. Only `run` and `undo` report.
    pub fn report(&self, text: impl Into<String>) {
        let text = clip_to(&text.into(), REPORT_BYTES_MAX);
        self.note(text.clone());
        self.reports.put(&self.step, self.attempt, text);
    }

    /// Records a fact about what this call has done, for an auditor: the entry that ends the attempt, the probe or
    /// the undo has it, however that ends. A fact that is recorded a second time is kept once. The engine does not
    /// interpret facts. A process that is killed before that entry leaves none: a step that is called again
    /// records what it finds done, too. [`Step::save`] records none.
    ///
    /// All facts of one call have at most [`FACTS_BYTES_MAX`](crate::limits::FACTS_BYTES_MAX) as JSON. What does not fit
    /// is left out, and the last fact then says so. No step fails of its facts.
    pub fn record(&self, fact: Value) {
        self.facts.add(fact);
    }

    /// Whether the run is being stopped. The step should then return [`StepError::stopped`] soon.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Resolves when the run is being stopped. The step should then return [`StepError::stopped`] soon.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Looks every `pause` until a [`Look`] is `Ok`, and notes what each look saw instead.
    ///
    /// The attempt's timeout ends the wait. The error then says `what` was waited for and what was last seen.
    ///
    /// # Errors
    /// [`Pending::Failed`], at once; [`StepError::stopped`] when the run is being stopped.
    pub async fn wait<T, F: Future<Output = Look<T>>>(
        &self,
        what: &str,
        pause: Duration,
        mut look: impl FnMut() -> F,
    ) -> Result<T, StepError> {
        loop {
            match look().await {
                Ok(value) => return Ok(value),
                Err(Pending::NotYet(seen)) => self.note(format!("waiting for {what}; last seen: {seen}")),
                Err(Pending::Failed(error)) => return Err(error),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stopped() => return Err(StepError::stopped()),
            }
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("run", &self.run)
            .field("step", &self.step)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
