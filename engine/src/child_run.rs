//! A step that carries out a run of its own.

use crate::control::Control;
use crate::engine::{Ending, Engine};
use crate::error::{EngineError, LoadError};
use crate::event::{Outcome, PauseCause, ProbeResult};
use crate::load::load;
use crate::plan::{Plan, StepId};
use crate::run::{Phase, Run};
use crate::step::{Context, Step};
use crate::step_error::StepError;
use crate::wait::Wait;
use async_trait::async_trait;
use fulcrum_state::RunId;
use serde_json::Value;
use std::sync::Arc;

/// A step that starts a run and waits for its end. Its output is the name of that run. Its undo rolls that run
/// back.
///
/// The child belongs to the run above it and to the step: a kill between the two journals nothing twice and
/// starts nothing twice. The child has a journal of entries, attempts, waits and a rollback of its own, in the
/// journal of its engine, which is the one of the run above.
///
/// | the child | the step |
/// |---|---|
/// | is completed | is done |
/// | was rolled back, needs a person, or was abandoned | fails for good, and the run above is rolled back |
/// | waits for a time or a decision | waits, too; a decision is given to the child |
/// | is paused | is tried again |
///
/// A stop or a pause of the run above pauses the child. The timeout of the step's [`Policy`](crate::Policy) is
/// that of the whole child.
///
/// ```
/// use fulcrum_engine::state::Journal;
/// use fulcrum_engine::{ChildRun, Engine, Plan, Session, StepError, StepSpec, Steps, step};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let journal = Journal::in_memory();
/// let update = Steps::new().with(step("update").run(|cx| async move { cx.args::<String>() }));
/// let devices = Engine::new(journal.clone(), update, Session::current("fleet 1")?);
/// let device = ChildRun::new(devices, |cx| {
///     let update = StepSpec::with_args("update", &cx.args::<String>()?).map_err(StepError::fatal)?;
///     Plan::new("device", vec![update]).map_err(StepError::fatal)
/// });
/// let fleet = Engine::new(journal, Steps::new().with_step("device", device), Session::current("fleet 1")?);
/// let devices = ["a", "b"].map(|name| StepSpec::with_args(format!("device/{name}"), &name));
/// let plan = Plan::new("fleet", devices.into_iter().collect::<Result<_, _>>()?)?;
/// println!("{}", fleet.start(plan).await?.phase);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ChildRun {
    engine: Engine,
    plan: Arc<MakePlan>,
}

type MakePlan = dyn Fn(&Context) -> Result<Plan, StepError> + Send + Sync;

impl ChildRun {
    /// A step whose child `engine` carries out. Its journal must be that of the run above. The plan must have one
    /// shape each time: an unfinished child is taken up with it ([`Engine::run_or_resume`]).
    pub fn new(
        engine: Engine,
        plan: impl Fn(&Context) -> Result<Plan, StepError> + Send + Sync + 'static,
    ) -> Self {
        Self { engine, plan: Arc::new(plan) }
    }

    /// The child of this step of this run, whether it was started or not.
    pub fn run_of(above: RunId, step: &StepId) -> RunId {
        Engine::run_of(&key(above, step))
    }

    /// The engine, with a handle of its own to pause this child only.
    fn engine(&self) -> Engine {
        Engine { control: Control::default(), is_child: true, ..self.engine.clone() }
    }

    /// The child as the journal has it. `None` if it was never begun.
    fn load(&self, cx: &Context) -> Result<Option<Run>, StepError> {
        match load(&self.engine.journal.reader(), Self::run_of(cx.run(), cx.step())) {
            Ok(run) => Ok(Some(run)),
            Err(LoadError::NoSuchRun(_)) => Ok(None),
            Err(error) => Err(StepError::fatal(error)),
        }
    }
}

#[async_trait]
impl Step for ChildRun {
    async fn probe(&self, cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(match self.load(cx)? {
            None => ProbeResult::Absent,
            Some(run) if matches!(run.phase(), Phase::Ended(Outcome::Completed, _)) => ProbeResult::Done,
            Some(run) => ProbeResult::Partial(format!("its run is {}", run.phase())),
        })
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let plan = (self.plan)(cx)?;
        let (engine, key) = (self.engine(), key(cx.run(), cx.step()));
        let ending = stoppable(cx, engine.control(), engine.run_or_resume(&key, plan)).await?;
        let run = ending.run;
        match ending.phase {
            Phase::Ended(Outcome::Completed, _) => cx.returns(&run),
            Phase::Waiting { until } => Err(StepError::wait(Wait::Run { run, until })),
            phase => Err(not_done(cx, run, &phase)),
        }
    }

    async fn output(&self, cx: &Context) -> Result<Value, StepError> {
        cx.returns(&Self::run_of(cx.run(), cx.step()))
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        let Some(child) = self.load(cx)? else { return Ok(()) };
        if child.is_rolled_back() {
            return Ok(());
        }
        let (engine, run) = (self.engine(), Self::run_of(cx.run(), cx.step()));
        let call = engine.roll_back(run, "the run above it is rolled back");
        match stoppable(cx, engine.control(), call).await?.phase {
            Phase::Ended(Outcome::RolledBack, _) => Ok(()),
            phase => Err(not_done(cx, run, &phase)),
        }
    }
}

/// The key of a child.
fn key(above: RunId, step: &StepId) -> String {
    format!("{above}/{step}")
}

/// Waits for the call. If the run above is stopped, the child is paused first.
async fn stoppable(
    cx: &Context,
    control: Control,
    call: impl Future<Output = Result<Ending, EngineError>>,
) -> Result<Ending, StepError> {
    let mut call = std::pin::pin!(call);
    let ending = tokio::select! {
        ending = &mut call => ending,
        () = cx.stopped() => {
            control.pause("the run above it stops", PauseCause::Above);
            call.await
        }
    };
    ending.map_err(|error| match error {
        EngineError::Journal(_)
        | EngineError::AtWork { .. }
        | EngineError::AtWorkElsewhere { .. }
        | EngineError::Lost { .. } => StepError::retry(error),
        error => StepError::fatal(error),
    })
}

fn not_done(cx: &Context, run: RunId, phase: &Phase) -> StepError {
    match phase {
        Phase::Paused { .. } if cx.is_stopped() => StepError::stopped(),
        Phase::Paused { .. } => StepError::retry(format!("run {run} is {phase}")),
        Phase::Ended(_, reason) => StepError::fatal(format!("run {run} is {phase}: {reason}")),
        _ => StepError::fatal(format!("run {run} is {phase}")),
    }
}
