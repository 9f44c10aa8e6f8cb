//! One call of one method of a step: timed, stoppable, and safe from panics.

use crate::event::ProbeResult;
use crate::observe::Observer;
use crate::plan::StepId;
use crate::step::{Context, Step, StepError};
use fulcrum_state::{Digest, Head, Journal, RunId};
use futures::FutureExt;
use serde_json::Value;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// One call to come: the method, the step, and what the method needs.
pub(crate) struct Call {
    pub(crate) what: What,
    pub(crate) step: StepId,
    pub(crate) attempt: u32,
    pub(crate) timeout: Duration,
    pub(crate) pre_image: Option<Digest>,
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

/// What a method returned.
#[derive(Debug)]
pub(crate) enum Returned {
    Rested,
    Found(ProbeResult),
    Saved(Vec<u8>),
    Ran(Value),
    Undone,
}

/// The end of a call.
pub(crate) struct Finished {
    pub(crate) what: What,
    pub(crate) step: StepId,
    pub(crate) attempt: u32,
    pub(crate) result: Result<Returned, StepError>,
}

/// What all calls of a run have in common.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) journal: Journal,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) run: RunId,
    pub(crate) head: Head,
    pub(crate) outputs: Arc<BTreeMap<StepId, Value>>,
}

impl Call {
    /// Makes the call. It ends when the method returns, panics, or runs out of time.
    pub(crate) async fn carry_out(self, step: Arc<dyn Step>, shared: Shared) -> Finished {
        let call = AssertUnwindSafe(self.result(step.as_ref(), shared)).catch_unwind();
        let panicked = |panic: Box<dyn std::any::Any + Send>| {
            StepError::fatal(format!("the step panicked: {}", panic_text(&*panic)))
        };
        let result = call.await.unwrap_or_else(|panic| Err(panicked(panic)));
        Finished { what: self.what, step: self.step, attempt: self.attempt, result }
    }

    async fn result(&self, step: &dyn Step, shared: Shared) -> Result<Returned, StepError> {
        if self.what == What::Rest {
            tokio::select! {
                () = tokio::time::sleep(self.timeout) => {}
                () = self.stop.cancelled() => {}
            }
            return Ok(Returned::Rested);
        }
        let pre_image = match &self.pre_image {
            None => None,
            Some(digest) => Some(shared.journal.blob(digest)?),
        };
        let cx = Context {
            run: shared.run,
            step: self.step.clone(),
            attempt: self.attempt,
            head: shared.head,
            pre_image,
            outputs: shared.outputs,
            stop: self.stop.clone(),
            observer: shared.observer,
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
            What::Probe => step.probe(cx).await.map(Returned::Found),
            What::Save => step.save(cx).await.map(Returned::Saved),
            What::Run => step.run(cx).await.map(Returned::Ran),
            What::Undo => step.undo(cx).await.map(|()| Returned::Undone),
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
