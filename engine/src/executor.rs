//! The loop around the state machine: take in what happened, decide, journal, act.
//!
//! Each turn makes one commit: the results that came in and the intents that follow from them share a sync.
//! Nothing starts before the commit that names it is durable. When a commit fails, the loop drops what is in
//! flight and ends. It claims nothing about work that was not journalled: a resumed run probes it.

mod commit;
mod flight;
mod prepare;
mod take_in;
mod tasks;
mod wake;

use crate::attempt::Call;
use crate::clip::listed;
use crate::control::Asked;
use crate::desk::Inbox;
use crate::engine::{Ending, Engine};
use crate::error::EngineError;
use crate::event::{Event, PauseCause};
use crate::here;
use crate::observe::Watcher;
use crate::outputs::Outputs;
use crate::panics::panic_text;
use crate::plan::{Plan, StepId, StepSpec};
use crate::policy::Policy;
use crate::reports::Reports;
use crate::run::{Phase, Run};
use crate::shape::{Difference, Differences};
use crate::step::Step;
use commit::Recorded;
use flight::Flights;
use fulcrum_state::{AppendError, Lease, RunId, RunWriter, Timestamp};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tasks::Tasks;
use tokio::sync::{Mutex, oneshot};
use tokio::time::Instant;

/// How long to wait for a step that was dropped.
const GONE_MAX: Duration = Duration::from_secs(10);

pub(crate) struct Executor<'a> {
    engine: &'a Engine,
    run: Run,
    /// `None` until the run is begun. Calls in flight hold the writer, too.
    writer: Option<Arc<Mutex<RunWriter>>>,
    /// The name of a run that is not begun.
    name: RunId,
    steps: HashMap<StepId, Arc<dyn Step>>,
    outputs: Outputs,
    tasks: Tasks,
    flights: Flights,
    /// Events that were applied and are not committed, and the calls that may start once they are.
    batch: Vec<Recorded>,
    calls: Vec<Call>,
    entries_since_checkpoint: usize,
    checkpoint_after: usize,
    /// Knowledge of steps beyond the journal: pauses that are over, pre-images that no entry names yet.
    rested: BTreeSet<StepId>,
    pre_images: BTreeMap<StepId, Vec<u8>>,
    probe_failures: BTreeMap<StepId, u32>,
    pausing: Option<(String, PauseCause)>,
    /// When the first of the waits ends by itself.
    wake: Option<Timestamp>,
    /// Decisions that other calls hand in, and where to tell that they are durable.
    inbox: Inbox,
    decided: Vec<oneshot::Sender<Result<(), EngineError>>>,
    reports: Reports,
    /// When a report must be durable, if one is not.
    report_due: Option<Instant>,
    /// The claim on the run, in a journal that several machines write.
    lease: Option<Arc<dyn Lease>>,
    asked: Asked,
    took_pause_in: bool,
    deadline: Option<Instant>,
    watcher: Watcher,
}

impl<'a> Executor<'a> {
    /// An executor that can carry on the run of this name. `back` means that the run is rolled back.
    pub(crate) fn new(
        engine: &'a Engine,
        name: RunId,
        run: Run,
        writer: Option<RunWriter>,
        back: bool,
    ) -> Result<Self, EngineError> {
        if let Some(step) = engine.pause_after.iter().find(|step| run.plan().step(step).is_none()) {
            let known = listed(run.plan().steps().iter().map(|spec| spec.id.as_str()));
            return Err(EngineError::UnknownBreakpoint { step: step.clone(), known });
        }
        let is_back = back || run.rollback().is_some();
        let needed = run.steps().filter(|(_, state)| !is_back || state.started());
        engine.check_machines(needed.map(|(spec, _)| spec))?;
        let made = make(engine, &run, is_back)?;
        check_versions(engine, &run, &made)?;
        let steps = made.into_iter().map(|(id, (step, _))| (id, step)).collect();
        let deadline = run.plan().deadline().and_then(|limit| Instant::now().checked_add(limit));
        Ok(Self {
            engine,
            outputs: Outputs::new(run.states().iter().map(|state| state.output.clone())),
            run,
            name,
            lease: writer.as_ref().and_then(RunWriter::lease).cloned(),
            writer: writer.map(|writer| Arc::new(Mutex::new(writer))),
            steps,
            tasks: Tasks::new(),
            flights: Flights::default(),
            batch: Vec::new(),
            calls: Vec::new(),
            entries_since_checkpoint: 0,
            checkpoint_after: commit::CHECKPOINT_EVERY,
            rested: BTreeSet::new(),
            pre_images: BTreeMap::new(),
            probe_failures: BTreeMap::new(),
            pausing: None,
            wake: None,
            inbox: engine.desk.open(name),
            decided: Vec::new(),
            reports: Reports::default(),
            report_due: None,
            asked: engine.control.asked(),
            took_pause_in: false,
            deadline,
            watcher: engine.watcher.clone(),
        })
    }

    /// Records `first` (with the plan if the run is new), then works until the run ends or pauses. Nothing is
    /// in flight when this returns.
    pub(crate) async fn carry_on(
        mut self,
        first: Vec<Event>,
        plan: Option<Vec<u8>>,
    ) -> Result<Ending, EngineError> {
        let ending = self.until_it_ends(first, plan).await;
        // A dropped task ends at its next await. The next process on this run must not meet it.
        if tokio::time::timeout(GONE_MAX, self.tasks.shutdown()).await.is_err() {
            tracing::error!("a step blocks its thread: it goes on although it was dropped");
        }
        if let Err(EngineError::Lapsed { run } | EngineError::Journal(AppendError::Fenced { run, .. })) =
            &ending
        {
            // Whoever takes the run up may die of it.
            here::ended(*run);
        }
        if let Ok(ending) = &ending {
            here::ended(ending.run);
            self.engine.control.answered(&self.asked);
            if let Some(after) = &self.engine.after {
                after.ended(&self.engine.journal, ending.run, &ending.phase).await;
            }
        }
        ending
    }

    async fn until_it_ends(
        &mut self,
        first: Vec<Event>,
        mut plan: Option<Vec<u8>>,
    ) -> Result<Ending, EngineError> {
        for event in first {
            self.record_with(event, plan.take())?;
        }
        loop {
            self.decide()?;
            self.save_first().await?;
            self.add_reports()?;
            self.commit().await?;
            if let Some(run) = self.is_at_its_end().await {
                return Ok(Ending { run, phase: self.run.phase().clone() });
            }
            self.start_calls(|_| true).await;
            self.next_happening().await?;
        }
    }

    async fn is_at_its_end(&self) -> Option<RunId> {
        match (self.run.phase(), &self.writer) {
            (Phase::Ended(..) | Phase::Paused { .. } | Phase::Waiting { .. }, Some(writer)) => {
                Some(writer.lock().await.run())
            }
            _ => None,
        }
    }

    /// Waits for the next event, then takes in all events up to then.
    async fn next_happening(&mut self) -> Result<(), EngineError> {
        if self.tasks.is_empty() {
            let cause = "nothing is in flight and nothing is decided".to_owned();
            return Err(EngineError::Lost { cause });
        }
        // A step that need not wait is done after this: then no timer is set, and nothing is asked to wake this.
        if !self.tasks.has_ended() {
            tokio::task::yield_now().await;
        }
        if let Some(letter) = self.inbox.waiting() {
            return self.take_letter(letter);
        }
        if (self.took_pause_in || !self.asked.pause.is_cancelled()) && self.take_in_finished()? {
            return Ok(());
        }
        let limit = self.deadline.filter(|_| self.run.rollback().is_none());
        let overdue = self.flights.next_overdue();
        let wake = self.next_wake();
        tokio::select! {
            biased;
            () = self.asked.pause.cancelled(), if !self.took_pause_in => {
                self.took_pause_in = true;
                self.pausing.get_or_insert(self.asked.why());
                self.flights.stop();
            }
            () = lost(self.lease.as_deref()) => return Err(EngineError::Lapsed { run: self.name }),
            Some(finished) = self.tasks.next() => {
                self.take_in(finished)?;
                self.take_in_finished()?;
            }
            () = sleep_until(limit), if limit.is_some() => {
                let limit = self.run.plan().deadline().unwrap_or_default();
                let reason = format!("not done within {limit:?}; in flight: {}", listed(self.flights.steps()));
                self.record(Event::RollbackStarted { reason, mode: None })?;
            }
            letter = self.inbox.next() => self.take_letter(letter)?,
            () = sleep_until(wake), if wake.is_some() => {}
            () = self.reports.is_new() => self.reported(),
            () = sleep_until(self.report_due), if self.report_due.is_some() => {}
            () = sleep_until(overdue), if overdue.is_some() => self.flights.report_overdue(&self.watcher),
        }
        Ok(())
    }

    /// Takes in the calls that have ended. False if there was none.
    fn take_in_finished(&mut self) -> Result<bool, EngineError> {
        let mut any = false;
        while let Some(finished) = self.tasks.ended() {
            self.take_in(finished)?;
            any = true;
        }
        Ok(any)
    }

    fn record(&mut self, event: Event) -> Result<(), EngineError> {
        self.record_with(event, None)
    }

    /// Applies an event. This turn's commit has it, with the blob to keep beside it.
    fn record_with(&mut self, event: Event, blob: Option<Vec<u8>>) -> Result<(), EngineError> {
        let before = match (&event, &blob) {
            (Event::AttemptStarted { step, .. }, Some(_)) => self.run.state(step).cloned(),
            _ => None,
        };
        self.run.apply(&event).map_err(|source| EngineError::Illegal { source })?;
        match &event {
            Event::RollbackStarted { .. } => {
                self.flights.stop(); // Their results are not needed any more.
                self.rested.clear();
            }
            event => event.step().map_or((), |step| self.show_output(step)),
        }
        self.batch.push(Recorded { event, blob, before });
        Ok(())
    }

    /// Calls to come see the step's output as the run has it.
    fn show_output(&mut self, step: &StepId) {
        if let Some(place) = self.run.plan().place(step.as_str()) {
            self.outputs.set(place, self.run.states()[place].output.clone());
        }
    }

    fn policy(&self, step: &StepId) -> Policy {
        self.run.plan().step(step).map(|spec| spec.policy.clone()).unwrap_or_default()
    }

    fn undo_policy(&self, step: &StepId) -> Policy {
        self.run.plan().step(step).map(|spec| spec.undo_policy.clone()).unwrap_or_default()
    }
}

/// Steps with their versions.
type Made = BTreeMap<StepId, (Arc<dyn Step>, u32)>;

/// The plan with the versions of this program's steps.
///
/// # Errors
/// When the registry does not know a step.
pub(crate) fn with_versions(engine: &Engine, plan: Plan) -> Result<Plan, EngineError> {
    let run = Run::new(Arc::new(plan));
    let made = make(engine, &run, false)?;
    let mut plan = Arc::unwrap_or_clone(run.into_plan());
    for spec in plan.steps_mut() {
        spec.version = made.get(&spec.id).map_or(spec.version, |(_, version)| *version);
    }
    Ok(plan)
}

/// The steps of the plan. A rollback needs no step that never began.
fn make(engine: &Engine, run: &Run, back: bool) -> Result<Made, EngineError> {
    let mut steps = BTreeMap::new();
    for (spec, state) in run.steps() {
        let made = catch_unwind(AssertUnwindSafe(|| {
            engine.registry.step(spec).map(|step| {
                let version = step.version();
                (step, version)
            })
        }));
        match made.unwrap_or_else(|panic| Err(format!("it panicked: {}", panic_text(&*panic)))) {
            Ok(made) => _ = steps.insert(spec.id.clone(), made),
            Err(_) if back && !state.started() => {}
            Err(reason) => {
                let started_by = started_by(engine, run);
                return Err(EngineError::UnknownStep { step: spec.id.clone(), reason, started_by });
            }
        }
    }
    Ok(steps)
}

/// Refuses to carry a run on with steps of other versions.
fn check_versions(engine: &Engine, run: &Run, made: &Made) -> Result<(), EngineError> {
    let other = |spec: &StepSpec| {
        let (_, version) = made.get(&spec.id).filter(|(_, version)| *version != spec.version)?;
        Some(Difference::Version { step: spec.id.clone(), run: spec.version, program: *version })
    };
    let differences: Vec<Difference> = run.plan().steps().iter().filter_map(other).collect();
    if differences.is_empty() {
        return Ok(());
    }
    let (differences, started_by) = (Differences(differences), started_by(engine, run));
    Err(EngineError::OtherPlan { run: None, differences, started_by })
}

fn started_by(engine: &Engine, run: &Run) -> String {
    run.session().unwrap_or(&engine.session).program.clone()
}

/// Comes back when the claim is lost: never in a journal that one process alone writes.
async fn lost(lease: Option<&dyn Lease>) {
    match lease {
        Some(lease) => lease.lost().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
