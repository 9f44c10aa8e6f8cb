//! One call of one method of a step: timed, stoppable, and safe from panics.

use crate::clock::Clock;
use crate::event::ProbeResult;
use crate::facts::Facts;
use crate::limits::check_output;
use crate::observe::Watcher;
use crate::outputs::Outputs;
use crate::panics::panic_text;
use crate::plan::{Plan, StepId};
use crate::reports::Reports;
use crate::step::{Context, Step};
use crate::step_error::{ErrorKind, StepError};
use crate::wait::Waited;
use fulcrum_state::{Digest, Head, Reader, RunId, RunWriter};
use futures::FutureExt;
use serde_json::Value;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// One call to come: the method, the step, and what the method needs.
pub(crate) struct Call {
    pub(crate) what: What,
    pub(crate) step: StepId,
    pub(crate) attempt: u32,
    pub(crate) timeout: Duration,
    pub(crate) pre_image: Option<Digest>,
    pub(crate) waited: Option<Arc<Waited>>,
    /// Whether a probe that finds the step done also reads its output.
    pub(crate) reads_output: bool,
    pub(crate) stop: CancellationToken,
}

/// A method of a step, or the pause before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Rest,
    Probe,
    Save,
    Run,
    Undo,
}

impl What {
    /// The method's name.
    fn method(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Probe => "probe",
            Self::Save => "save",
            Self::Run => "run",
            Self::Undo => "undo",
        }
    }
}

/// What a method returned.
#[derive(Debug)]
pub(crate) enum Returned {
    Rested,
    Found(ProbeResult, Value),
    Saved(Vec<u8>),
    Ran(Value),
    Undone,
}

/// The end of a call.
pub(crate) struct Finished {
    pub(crate) what: What,
    pub(crate) step: StepId,
    pub(crate) attempt: u32,
    pub(crate) facts: Vec<Value>,
    pub(crate) result: Result<Returned, StepError>,
}

/// The common parts of all calls of a run.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) reader: Reader,
    pub(crate) watcher: Watcher,
    pub(crate) run: RunId,
    pub(crate) head: Head,
    pub(crate) token: Option<u64>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) outputs: Outputs,
    pub(crate) reports: Reports,
    pub(crate) clock: Clock,
    /// The span in which the engine was called: a call of a step has a task of its own.
    pub(crate) caller: tracing::Span,
    /// Held for as long as a call goes on, even after the engine was dropped. Until then this process cannot
    /// take the run up again.
    pub(crate) claim: Arc<tokio::sync::Mutex<RunWriter>>,
}

impl Call {
    /// Makes the call, in a span of its own. It ends when the method returns, panics, or runs out of time.
    pub(crate) async fn carry_out(self, step: Arc<dyn Step>, shared: Shared) -> Finished {
        let span = match self.what {
            What::Rest => tracing::Span::none(),
            what => tracing::info_span!(
                parent: &shared.caller,
                "attempt",
                run = %shared.run,
                step = %self.step,
                attempt = self.attempt,
                method = what.method(),
            ),
        };
        self.carry_out_within(step, shared).instrument(span).await
    }

    async fn carry_out_within(self, step: Arc<dyn Step>, shared: Shared) -> Finished {
        let facts = Facts::default();
        let call = AssertUnwindSafe(self.result(step.as_ref(), shared, &facts)).catch_unwind();
        let panicked = |panic: Box<dyn std::any::Any + Send>| {
            StepError::fatal(format!("the step panicked: {}", panic_text(&*panic)))
        };
        let result = match call.await.unwrap_or_else(|panic| Err(panicked(panic))) {
            Err(error) if error.kind() == ErrorKind::Stopped && !self.stop.is_cancelled() => {
                Err(StepError::retry("the step says that it was asked to stop, which it was not"))
            }
            result => result,
        };
        let facts = facts.take();
        Finished { what: self.what, step: self.step, attempt: self.attempt, facts, result }
    }

    async fn result(&self, step: &dyn Step, shared: Shared, facts: &Facts) -> Result<Returned, StepError> {
        if self.what == What::Rest {
            tokio::select! {
                () = tokio::time::sleep(self.timeout) => {}
                () = self.stop.cancelled() => {}
            }
            return Ok(Returned::Rested);
        }
        let _claim = shared.claim;
        let pre_image = match &self.pre_image {
            None => None,
            Some(digest) => Some(shared.reader.blob(digest).map_err(StepError::retry)?.into()),
        };
        let cx = Context {
            run: shared.run,
            step: self.step.clone(),
            attempt: self.attempt,
            head: shared.head,
            token: shared.token,
            pre_image,
            waited: self.waited.clone(),
            plan: shared.plan,
            outputs: shared.outputs,
            stop: self.stop.clone(),
            watcher: shared.watcher,
            reports: shared.reports,
            clock: shared.clock,
            facts: facts.clone(),
            noted: Arc::new(Mutex::new(String::new())),
        };
        match tokio::time::timeout(self.timeout, self.method(step, &cx)).await {
            Ok(result) => result,
            Err(_) => {
                let noted = cx.noted.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let noted =
                    if noted.is_empty() { "the step never said what it was doing".into() } else { noted };
                Err(StepError::retry(format!("no result within {:?}: {noted}", self.timeout)))
            }
        }
    }

    async fn method(&self, step: &dyn Step, cx: &Context) -> Result<Returned, StepError> {
        match self.what {
            What::Rest => Ok(Returned::Rested),
            What::Probe => {
                let result = step.probe(cx).await?;
                let reads = self.reads_output && result == ProbeResult::Done;
                let output = if reads { step.output(cx).await? } else { Value::Null };
                check_output(&output).map_err(StepError::fatal)?;
                Ok(Returned::Found(result, output))
            }
            What::Save => step.save(cx).await.map(Returned::Saved),
            What::Run => step.run(cx).await.map(Returned::Ran),
            What::Undo => step.undo(cx).await.map(|()| Returned::Undone),
        }
    }
}
