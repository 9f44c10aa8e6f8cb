//! The engine's calls: start a run, take one up, roll one back.

#[cfg(feature = "postgres")]
use crate::bound::machines;
use crate::bound::still_waits;
use crate::clip::clip;
use crate::engine::{Ending, Engine};
use crate::error::EngineError;
use crate::event::{Event, PauseCause, Session};
use crate::executor::{self, Executor};
use crate::here;
use crate::limits::{KEY_BYTES_MAX, PROGRAM_BYTES_MAX, WORD_BYTES_MAX, check_actor, check_depth, check_text};
use crate::load::{load, unread};
use crate::plan::Plan;
use crate::run::{Phase, Rollback, Run};
use crate::shape::{Differences, Shape};
#[cfg(feature = "postgres")]
use crate::wait::Wait;
use fulcrum_state::{AppendError, Commit, Digest, RunHeader, RunId, RunWriter};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The longest wait for a run that another call of this process works on. A dropped call has steps that end
/// at their next await.
const CLAIM_MAX: Duration = Duration::from_secs(2);
const CLAIM_EVERY: Duration = Duration::from_millis(10);

/// How far a run was carried on.
#[cfg(feature = "postgres")]
pub(crate) struct Carried {
    pub(crate) phase: Phase,
    pub(crate) waits_for_a_run: bool,
    /// The machines on which it goes on at once.
    pub(crate) machines: Vec<String>,
}

impl Engine {
    /// Starts a run of `plan` and carries it on until it ends or pauses.
    ///
    /// # Errors
    /// When the journal cannot be written, the registry does not know a step, or a value cannot be kept
    /// ([`limits`](crate::limits)). Nothing was done then.
    pub async fn start(&self, plan: Plan) -> Result<Ending, EngineError> {
        self.begin(plan, RunId::new(), None).await
    }

    /// Starts the run that belongs to `key`, or takes that run up where its journal ends. Starting twice is
    /// starting once: also in two processes, also after a crash at any instant, also when the first run has
    /// long ended.
    ///
    /// A run that has ended in any way is not touched: the [`Ending`] is the one that it had. A run that needs
    /// a person is therefore not tried again by a program that starts again and again; [`Engine::resume`] does
    /// that. A key is remembered for ever, also after a prune of its run.
    ///
    /// # Errors
    /// As for [`Engine::start`] and [`Engine::resume`]. [`EngineError::OtherWorkflow`] when the key belongs to
    /// a run of another workflow, [`EngineError::OtherPlan`] when the plan of an unfinished run has another
    /// shape.
    pub async fn run_or_resume(&self, key: &str, plan: Plan) -> Result<Ending, EngineError> {
        check_text(|| "the key of a run".to_owned(), key, KEY_BYTES_MAX)?;
        let (run, workflow) = (Self::run_of(key), plan.workflow().to_owned());
        let known = self.journal.reader().header(run);
        if known.map_err(|source| unread(run, source))?.is_none() {
            match self.begin(plan.clone(), run, Some(key)).await {
                // Another call was first.
                Err(EngineError::Journal(AppendError::Exists { .. } | AppendError::Claimed { .. })) => {}
                result => return result,
            }
        }
        let (writer, loaded) = self.take_up(run).await?;
        if loaded.plan().workflow() != workflow {
            let found = loaded.plan().workflow().to_owned();
            return Err(EngineError::OtherWorkflow { key: key.to_owned(), run, found, workflow });
        }
        if let Phase::Ended(..) = loaded.phase() {
            return Ok(Ending { run, phase: loaded.phase().clone() });
        }
        let differences = loaded.differences(&plan);
        if !differences.is_empty() {
            let started_by = loaded.session().unwrap_or(&self.session).program.clone();
            let differences = Differences(differences);
            return Err(EngineError::OtherPlan { run: Some(run), differences, started_by });
        }
        self.go_on(run, writer, loaded).await
    }

    /// The run that belongs to `key`, whether it was started or not.
    pub fn run_of(key: &str) -> RunId {
        RunId::of_key(key)
    }

    /// Hands in the run that belongs to `key`, and returns once it is durable. Nobody is at work on it yet: a worker
    /// takes it up, or [`Engine::resume`], or [`Engine::run_or_resume`]. Handing in twice is handing in once.
    ///
    /// # Errors
    /// As for [`Engine::start`]. [`EngineError::OtherWorkflow`] when the key belongs to a run of another workflow.
    pub async fn submit(&self, key: &str, plan: Plan) -> Result<RunId, EngineError> {
        check_text(|| "the key of a run".to_owned(), key, KEY_BYTES_MAX)?;
        self.check_session()?;
        let (run, workflow) = (Self::run_of(key), plan.workflow().to_owned());
        let (begun, stored, plan) = self.begun(plan, Some(key))?;
        let paused = Event::Paused { reason: "handed in".to_owned(), cause: PauseCause::Queued };
        let mut state = Run::new(Arc::new(plan));
        let mut commit = Commit::default().with_blob(stored);
        for event in [begun, paused] {
            state.apply(&event).map_err(|source| EngineError::Illegal { source })?;
            let encode =
                |cause: serde_json::Error| EngineError::Encode { what: "an event", cause: cause.to_string() };
            commit.bodies.push(serde_json::to_string(&event).map_err(encode)?);
        }
        match self.journal.begin_as(run, &workflow, commit).await {
            Ok(_) => return Ok(run),
            Err(AppendError::Exists { .. } | AppendError::Claimed { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        match self.journal.reader().header(run).map_err(|source| unread(run, source))? {
            Some(RunHeader { kind, .. }) if kind != workflow => {
                Err(EngineError::OtherWorkflow { key: key.to_owned(), run, found: kind, workflow })
            }
            _ => Ok(run),
        }
    }

    /// Starts a run of this name.
    async fn begin(&self, plan: Plan, run: RunId, key: Option<&str>) -> Result<Ending, EngineError> {
        self.check_session()?;
        let (begun, stored, plan) = self.begun(plan, key)?;
        self.retain_once().await;
        let executor = Executor::new(self, run, Run::new(Arc::new(plan)), None, false)?;
        executor.carry_on(vec![begun], Some(stored)).await
    }

    /// The first event of a run, and its plan as it is stored.
    fn begun(&self, plan: Plan, key: Option<&str>) -> Result<(Event, Vec<u8>, Plan), EngineError> {
        check_depth(|| "what all steps of the plan share".to_owned(), plan.shared())?;
        self.check_machines(plan.steps())?;
        let plan = executor::with_versions(self, plan)?;
        let encode =
            |cause: serde_json::Error| EngineError::Encode { what: "the plan", cause: cause.to_string() };
        let stored = serde_json::to_vec(&plan).map_err(encode)?;
        let begun = Event::Begun {
            workflow: plan.workflow().to_owned(),
            plan: Digest::of(&stored),
            session: self.session.clone(),
            key: key.map(str::to_owned),
            shape: Some(Shape::of(&plan).fingerprint()),
        };
        Ok((begun, stored, plan))
    }

    /// Takes a run up where its journal ends. A run that went forward goes forward. A run that was being
    /// rolled back is rolled back. A run that waits goes on if one of its waits is over. Otherwise it is left as
    /// it is, and its ending is [`Phase::Waiting`] again.
    ///
    /// # Errors
    /// When the run is over (completed, rolled back or abandoned), does not fit this program
    /// ([`EngineError::OtherPlan`]), is at work in this process, cannot be read, or cannot
    /// be written.
    pub async fn resume(&self, run: RunId) -> Result<Ending, EngineError> {
        self.check_session()?;
        let (writer, loaded) = self.take_up(run).await?;
        self.refuse_if_over(run, &loaded, "resumed", loaded.is_over())?;
        self.go_on(run, writer, loaded).await
    }

    /// Carries a run on as far as it goes by itself. A run that is over, was paused by a person or needs one is left as
    /// it is.
    #[cfg(feature = "postgres")]
    pub(crate) async fn carry_on(&self, run: RunId) -> Result<Carried, EngineError> {
        self.check_session()?;
        let (writer, loaded) = self.take_up(run).await?;
        let goes_on = match loaded.phase() {
            Phase::Ended(..) => false,
            Phase::Paused { cause, .. } => {
                matches!(cause, PauseCause::Queued | PauseCause::Signal | PauseCause::Above)
            }
            _ => true,
        };
        if !goes_on {
            let phase = loaded.phase().clone();
            return Ok(Carried { phase, waits_for_a_run: false, machines: Vec::new() });
        }
        let phase = self.go_on(run, writer, loaded).await?.phase;
        let Phase::Waiting { .. } = phase else {
            return Ok(Carried { phase, waits_for_a_run: false, machines: Vec::new() });
        };
        let reader = self.journal.reader();
        let waiting = load(&reader, run)?;
        let waits_for_a_run = waiting.waits().any(|(_, wait)| matches!(wait, Wait::Run { .. }));
        let machines = machines(&reader, &waiting, self.clock.now());
        Ok(Carried { phase, waits_for_a_run, machines })
    }

    /// Carries a run on that was taken up. A run that still waits is left as it is: nothing is journalled.
    async fn go_on(&self, run: RunId, writer: RunWriter, loaded: Run) -> Result<Ending, EngineError> {
        let phase = loaded.phase().clone();
        let here = self.session.machine.as_deref();
        let waits = still_waits(&self.journal.reader(), &loaded, self.clock.now(), here);
        let executor = Executor::new(self, run, loaded, Some(writer), false)?;
        if waits {
            return Ok(Ending { run, phase });
        }
        executor.carry_on(vec![self.resumed(run)], None).await
    }

    /// Rolls a run back, whether it completed, paused, crashed or got stuck. If a rollback had begun, it goes
    /// on, for its own reason and in its own mode.
    ///
    /// # Errors
    /// When the run has been rolled back already, was abandoned, does not fit this program, is at work in this
    /// process, cannot be read, or cannot be written.
    pub async fn roll_back(&self, run: RunId, rollback: impl Into<Rollback>) -> Result<Ending, EngineError> {
        self.check_session()?;
        let Rollback { reason, mode } = rollback.into();
        let word = mode.as_deref().unwrap_or_default();
        check_text(|| "the mode of a rollback".to_owned(), word, WORD_BYTES_MAX)?;
        let (writer, loaded) = self.take_up(run).await?;
        let over = loaded.is_rolled_back() || loaded.is_abandoned();
        self.refuse_if_over(run, &loaded, "rolled back", over)?;
        let resumed = self.resumed(run);
        let events = match loaded.rollback() {
            Some(_) => vec![resumed],
            None => vec![Event::RollbackStarted { reason: clip(&reason), mode }, resumed],
        };
        Executor::new(self, run, loaded, Some(writer), true)?.carry_on(events, None).await
    }

    /// Claims the run, then reads it. A call that was dropped may have left a step behind. This waits for
    /// that step.
    pub(crate) async fn take_up(&self, run: RunId) -> Result<(RunWriter, Run), EngineError> {
        let until = Instant::now() + CLAIM_MAX;
        let mut claim_ends = None;
        let writer = loop {
            match self.journal.continue_run(run) {
                Ok(writer) => break writer,
                Err(AppendError::Claimed { .. }) if Instant::now() < until => {
                    tokio::time::sleep(CLAIM_EVERY).await;
                }
                Err(AppendError::Claimed { .. }) => return Err(EngineError::AtWork { run }),
                Err(AppendError::Held { left, .. })
                    if self.is_child
                        && Instant::now() < *claim_ends.get_or_insert(Instant::now() + left + CLAIM_MAX) =>
                {
                    tokio::time::sleep(left.clamp(CLAIM_EVERY, CLAIM_MAX)).await;
                }
                Err(AppendError::Held { run, by, left }) => {
                    return Err(EngineError::AtWorkElsewhere { run, by, left });
                }
                Err(AppendError::Read { source, .. }) => return Err(unread(run, source).into()),
                Err(error) => return Err(error.into()),
            }
        };
        let loaded = load(&self.journal.reader(), run)?;
        Ok((writer, loaded))
    }

    fn resumed(&self, run: RunId) -> Event {
        Event::Resumed { session: self.session.clone(), same_process: here::was_at_work(run) }
    }

    pub(crate) fn check_session(&self) -> Result<(), EngineError> {
        let Session { boot_id, program, role, actor, machine, .. } = &self.session;
        check_text(|| "the boot id of a session".to_owned(), boot_id, WORD_BYTES_MAX)?;
        check_text(|| "the program of a session".to_owned(), program, PROGRAM_BYTES_MAX)?;
        check_text(|| "the role of a session".to_owned(), role.as_str(), WORD_BYTES_MAX)?;
        let machine = machine.as_deref().unwrap_or_default();
        check_text(|| "the machine of a session".to_owned(), machine, WORD_BYTES_MAX)?;
        check_actor(actor)?;
        Ok(())
    }

    pub(crate) fn refuse_if_over(
        &self,
        run: RunId,
        loaded: &Run,
        verb: &'static str,
        over: bool,
    ) -> Result<(), EngineError> {
        if over {
            return Err(EngineError::Over { run, verb, phase: loaded.phase().clone() });
        }
        Ok(())
    }
}
