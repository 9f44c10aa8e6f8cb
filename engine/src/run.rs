//! The state machine of a whole run: events in, actions out. No I/O, no clock.
//!
//! Live running and recovery go through one [`Run::apply`]. The executor knows more (which probes are in
//! flight, when a pause between attempts is over). None of that must survive a crash.

mod actions;
mod adopt;
mod machines;
mod states;
mod waits;
mod words;

use crate::event::{Event, Outcome, PauseCause, ProbeResult, Session};
use crate::plan::{Durability, Plan, StepId, StepSpec};
use crate::status::{IllegalEvent, Status, StepState};
use fulcrum_state::{Digest, Timestamp};
use serde_json::Value;
use states::States;
use std::sync::Arc;

/// A run: its plan and the state of each step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    plan: Arc<Plan>,
    stored_plan: Option<Digest>,
    states: States,
    phase: Phase,
    session: Option<Session>,
    rollback: Option<Rollback>,
    /// Processes in a row that died while no step was known to be in flight: saving a pre-image, for example.
    deaths: u32,
    /// Whether a process is at work on it, or died at work.
    in_session: bool,
}

/// A run without its plan, borrowed.
pub(crate) struct Kept<'a> {
    pub(crate) stored_plan: Option<Digest>,
    pub(crate) phase: &'a Phase,
    pub(crate) session: Option<&'a Session>,
    pub(crate) rollback: Option<&'a Rollback>,
    pub(crate) deaths: u32,
    pub(crate) in_session: bool,
    pub(crate) states: &'a [StepState],
}

/// Why and how a run is rolled back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rollback {
    /// The reason, for people.
    pub reason: String,
    /// The mode, in a word of the program's: the engine only keeps it.
    pub mode: Option<String>,
}

/// Whether the run goes on. Its direction is apart from this: a run that is paused, or at work, is being rolled
/// back if [`Run::rollback`] says so.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Not begun: no event yet.
    New,
    /// A process is at work on it, or died at work.
    Active,
    /// Stopped at a safe point.
    Paused {
        /// The reason, for people.
        reason: String,
        /// The cause, for programs.
        cause: PauseCause,
    },
    /// Nothing of it can go on before a wait is over, at the latest at this time. A person's decision, or another
    /// run, may end the wait earlier. A step that is bound to another machine goes on there ([`Run::machines`]). No
    /// process is at work on it: [`Engine::resume`](crate::Engine::resume) goes on.
    Waiting {
        /// When the first wait ends by itself, by the wall clock. `None` if none does.
        until: Option<Timestamp>,
    },
    /// Over, with the outcome and the reason.
    Ended(Outcome, String),
}

/// The next thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a run goes on only if its actions are carried out"]
#[expect(missing_docs, reason = "each variant says what its fields are")]
pub enum Action {
    /// Probe the step.
    Probe(StepId),
    /// Start an attempt. `failures` attempts in a row have failed before it.
    Run { step: StepId, attempt: u32, failures: u32 },
    /// The step waits, without a process. At `until` the wait ends by itself.
    Await { step: StepId, until: Option<Timestamp> },
    /// Start an undo.
    Undo { step: StepId, attempt: u32, failures: u32 },
    /// Ask the steps in flight to stop. The run ends once they have.
    Stop,
    /// Journal that the run is being rolled back.
    RollBack(String),
    /// Journal that the run has ended.
    End(Outcome, String),
}

impl Run {
    /// A run of `plan` to which nothing has happened.
    pub fn new(plan: Arc<Plan>) -> Self {
        let states = vec![StepState::default(); plan.steps().len()];
        Self {
            states: States::new(&plan, states),
            plan,
            stored_plan: None,
            phase: Phase::New,
            session: None,
            rollback: None,
            deaths: 0,
            in_session: false,
        }
    }

    /// Takes in an event. [`Event::Adopted`] comes with its plan: see [`Run::adopt`].
    ///
    /// # Errors
    /// When the event cannot follow. The run is then unchanged.
    pub fn apply(&mut self, event: &Event) -> Result<(), IllegalEvent> {
        match (&self.phase, event) {
            (Phase::New, Event::Begun { session, plan, .. }) => {
                self.stored_plan = Some(*plan);
                self.session = Some(session.clone());
                self.phase = Phase::Active;
                self.in_session = true;
            }
            (
                Phase::Active
                | Phase::Paused { .. }
                | Phase::Waiting { .. }
                | Phase::Ended(Outcome::NeedsOperator, _),
                Event::Resumed { session, same_process },
            ) => self.resume(session.clone(), *same_process),
            // A person may ask for a rollback at any time, but only once.
            (
                Phase::Active
                | Phase::Paused { .. }
                | Phase::Waiting { .. }
                | Phase::Ended(Outcome::Completed | Outcome::NeedsOperator, _),
                Event::RollbackStarted { reason, mode },
            ) if self.rollback.is_none() => {
                self.roll_back(Rollback { reason: reason.clone(), mode: mode.clone() });
            }
            (
                Phase::Active
                | Phase::Paused { .. }
                | Phase::Waiting { .. }
                | Phase::Ended(Outcome::NeedsOperator, _),
                Event::Abandoned { reason, .. },
            ) => {
                self.phase = Phase::Ended(Outcome::Abandoned, reason.clone());
                self.in_session = false;
            }
            (Phase::Active, Event::Paused { reason, cause }) if !self.in_flight() => {
                self.phase = Phase::Paused { reason: reason.clone(), cause: *cause };
                self.in_session = false;
            }
            (Phase::Active, Event::Waiting { until }) if self.may_wait() => {
                self.phase = Phase::Waiting { until: *until };
                self.in_session = false;
            }
            (Phase::Paused { .. } | Phase::Waiting { .. }, Event::Decided { .. }) => {
                self.apply_to_step(event)?;
            }
            (Phase::Active, Event::Ended { outcome, reason }) if self.may_end(*outcome) => {
                self.phase = Phase::Ended(*outcome, reason.clone());
                self.in_session = false;
            }
            (Phase::Active, event) => self.apply_to_step(event)?,
            (_, event) => return Err(self.illegal(event)),
        }
        Ok(())
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Whether the run goes on.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Whether the run is completed, rolled back or abandoned. Then there is nothing to resume.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ended(Outcome::Completed | Outcome::RolledBack | Outcome::Abandoned, _))
    }

    /// Whether every step that was started has been undone.
    pub fn is_rolled_back(&self) -> bool {
        matches!(self.phase, Phase::Ended(Outcome::RolledBack, _))
    }

    /// Whether the run was given up as it was.
    pub fn is_abandoned(&self) -> bool {
        matches!(self.phase, Phase::Ended(Outcome::Abandoned, _))
    }

    /// Why and how it is being (or was) rolled back, if so.
    pub fn rollback(&self) -> Option<&Rollback> {
        self.rollback.as_ref()
    }

    /// The last process that worked on it.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// The state of a step.
    pub fn state(&self, step: &StepId) -> Option<&StepState> {
        self.plan.place(step.as_str()).map(|place| &self.states[place])
    }

    /// Every step with its state, in the order of the plan.
    pub fn steps(&self) -> impl Iterator<Item = (&StepSpec, &StepState)> {
        self.plan.steps().iter().zip(self.states.iter())
    }

    pub(crate) fn into_plan(self) -> Arc<Plan> {
        self.plan
    }

    /// Everything that is known of the run, apart from its plan.
    pub(crate) fn kept(&self) -> Kept<'_> {
        Kept {
            stored_plan: self.stored_plan,
            phase: &self.phase,
            session: self.session.as_ref(),
            rollback: self.rollback.as_ref(),
            deaths: self.deaths,
            in_session: self.in_session,
            states: &self.states,
        }
    }

    /// The run of this plan whose state was [`kept`](Run::kept).
    pub(crate) fn from_kept(plan: Arc<Plan>, kept: &Kept<'_>) -> Self {
        Self {
            states: States::new(&plan, kept.states.to_vec()),
            plan,
            stored_plan: kept.stored_plan,
            phase: kept.phase.clone(),
            session: kept.session.cloned(),
            rollback: kept.rollback.cloned(),
            deaths: kept.deaths,
            in_session: kept.in_session,
        }
    }

    /// Restores a step's earlier state, as if its attempt had never begun. A rollback that began meanwhile
    /// applies to that state, too.
    pub(crate) fn restore(&mut self, step: &StepId, mut state: StepState) {
        if self.rollback.is_some() {
            state.rolled_back();
        }
        if let Some(place) = self.plan.place(step.as_str()) {
            self.states.set(&self.plan, place, state);
        }
    }

    /// The value that a step has returned, unless that is null.
    pub fn output(&self, step: &StepId) -> Option<&Value> {
        self.state(step)?.output.as_deref()
    }

    /// The states in the order of the plan.
    pub(crate) fn states(&self) -> &[StepState] {
        &self.states
    }

    fn resume(&mut self, session: Session, same_process: bool) {
        match (self.in_session, same_process) {
            (true, true) => {}
            (true, false) => self.count_death(),
            (false, _) => self.forget_deaths(),
        }
        self.in_session = true;
        let rebooted = self.session.as_ref().is_some_and(|last| last.boot_id != session.boot_id);
        self.states.change(&self.plan, |all| {
            for (spec, state) in self.plan.steps().iter().zip(all) {
                let volatile = match spec.durability {
                    Durability::Process => true,
                    Durability::Boot => rebooted,
                    Durability::Durable => false,
                };
                // In a rollback no step builds on the effect: an undo takes back what it finds.
                // Nor is it looked at where it cannot be.
                let is_here = !spec.is_elsewhere(session.machine.as_deref());
                state.resumed(volatile && is_here && self.rollback.is_none());
            }
        });
        self.session = Some(session);
        self.phase = Phase::Active;
    }

    fn roll_back(&mut self, rollback: Rollback) {
        self.states.change(&self.plan, |all| {
            for state in all {
                state.rolled_back();
                state.deaths = 0;
            }
        });
        self.rollback = Some(rollback);
        self.deaths = 0;
        self.phase = Phase::Active;
    }

    fn apply_to_step(&mut self, event: &Event) -> Result<(), IllegalEvent> {
        let place = event.step().and_then(|step| self.plan.place(step.as_str()));
        let Some(place) = place.filter(|place| self.allowed(*place, event)) else {
            return Err(self.illegal(event));
        };
        let mut next = self.states[place].next(event, &self.plan.steps()[place])?;
        if matches!(event, Event::AttemptDone { .. } | Event::UndoDone { .. }) {
            self.deaths = 0;
        }
        let settled = matches!(
            event,
            Event::AttemptDone { .. }
                | Event::AttemptFailed { .. }
                | Event::AttemptCut { .. }
                | Event::AttemptWaits { .. }
                | Event::Probed { .. }
        );
        if self.rollback.is_some() && settled {
            // An undo copes with whatever is there. Only a foreign finding stops it.
            if let Event::Probed { result: ProbeResult::Unknown(_), .. } = event {
                next.status = Status::ToUndo;
            }
            next.rolled_back();
        }
        self.states.set(&self.plan, place, next);
        Ok(())
    }

    /// Whether the DAG allows `event` to happen to the step at `place`.
    fn allowed(&self, place: usize, event: &Event) -> bool {
        match event {
            Event::AttemptStarted { .. } => self.rollback.is_none() && self.may_run(place),
            Event::UndoStarted { .. } => self.rollback.is_some() && self.may_undo(place),
            _ => true,
        }
    }

    fn first<'a>(&'a self, pick: impl Fn(&'a Status) -> Option<&'a String>) -> Option<(&'a StepId, &'a str)> {
        self.steps().find_map(|(spec, state)| Some((&spec.id, pick(&state.status)?.as_str())))
    }

    fn may_run(&self, place: usize) -> bool {
        self.plan.dependencies(place).all(|before| self.states[before].status == Status::Done)
    }

    fn may_undo(&self, place: usize) -> bool {
        self.states[place].status == Status::ToUndo && self.nothing_after(place)
    }

    /// Whether no step that depends on this one has left anything behind.
    fn nothing_after(&self, place: usize) -> bool {
        self.plan.dependents(place).iter().all(|after| {
            let state = &self.states[*after];
            !state.started() || state.status == Status::Undone
        })
    }

    fn in_flight(&self) -> bool {
        self.states
            .awake()
            .any(|place| matches!(self.states[place].status, Status::Running | Status::Undoing))
    }

    /// Whether the run may end like this. Why a person is needed is the engine's decision: earlier versions
    /// counted deaths in another way.
    fn may_end(&self, outcome: Outcome) -> bool {
        if outcome == Outcome::NeedsOperator {
            return !self.in_flight();
        }
        self.due().iter().any(|action| matches!(action, Action::End(due, _) if *due == outcome))
    }

    fn illegal(&self, event: &Event) -> IllegalEvent {
        let back = if self.rollback.is_some() { ", being rolled back" } else { "" };
        let step = event.step().and_then(|step| self.state(step));
        let step = step.map(|state| format!(", the step is {}", state.status)).unwrap_or_default();
        let state = format!("the run is {:?}{back}{step}", self.phase);
        IllegalEvent { event: format!("{event:?}"), state }
    }
}
