//! The state machine of a whole run: events in, actions out. No I/O, no clock.
//!
//! Live running and recovery go through the same [`Run::apply`]. The executor knows more (which probes are in
//! flight, when a pause between attempts is over), none of which must survive a crash.

use crate::event::{Event, Outcome, PauseCause, ProbeResult, Session};
use crate::plan::{Durability, Plan, StepId, StepSpec};
use crate::status::{IllegalEvent, Status, StepState};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A run: its plan and where each step stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    plan: Arc<Plan>,
    states: Vec<StepState>,
    phase: Phase,
    session: Option<Session>,
    rollback: Option<Rollback>,
}

/// Why a run is rolled back, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollback {
    /// Why, for people.
    pub reason: String,
    /// How, in a word of the program's: the engine only keeps it.
    pub mode: Option<String>,
}

/// Whether anything goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Not begun: no event yet.
    New,
    /// A process is at work on it, or died while it was.
    Active,
    /// Stopped at a safe point; says why, and by whom.
    Paused {
        /// For people.
        reason: String,
        /// For programs.
        cause: PauseCause,
    },
    /// Over; says how and why.
    Ended(Outcome, String),
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a run goes on only if its actions are carried out"]
#[expect(missing_docs, reason = "each variant says what its fields are")]
pub enum Action {
    /// Look at the step.
    Probe(StepId),
    /// Start an attempt; `failures` attempts in a row have failed before it.
    Run { step: StepId, attempt: u32, failures: u32 },
    /// Start an undo.
    Undo { step: StepId, attempt: u32, failures: u32 },
    /// Ask what is in flight to stop. The run ends once it has.
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
        Self { plan, states, phase: Phase::New, session: None, rollback: None }
    }

    /// Takes in what happened.
    ///
    /// # Errors
    /// When the event cannot follow; the run is then unchanged.
    pub fn apply(&mut self, event: &Event) -> Result<(), IllegalEvent> {
        match (&self.phase, event) {
            (Phase::New, Event::Begun { session, .. }) => {
                self.session = Some(session.clone());
                self.phase = Phase::Active;
            }
            (
                Phase::Active | Phase::Paused { .. } | Phase::Ended(Outcome::NeedsOperator, _),
                Event::Resumed { session },
            ) => self.resume(session.clone()),
            // A person may ask for a rollback at any time, but once.
            (
                Phase::Active
                | Phase::Paused { .. }
                | Phase::Ended(Outcome::Completed | Outcome::NeedsOperator, _),
                Event::RollbackStarted { reason, mode },
            ) if self.rollback.is_none() => {
                self.roll_back(Rollback { reason: reason.clone(), mode: mode.clone() });
            }
            (Phase::Active, Event::Paused { reason, cause }) if !self.in_flight() => {
                self.phase = Phase::Paused { reason: reason.clone(), cause: *cause };
            }
            (Phase::Active, Event::Ended { outcome, reason }) if self.may_end(*outcome) => {
                self.phase = Phase::Ended(*outcome, reason.clone());
            }
            (Phase::Active, event) => self.apply_to_step(event)?,
            (_, event) => return Err(self.illegal(event)),
        }
        Ok(())
    }

    /// What is to be done next, in the order of the plan. Depends on nothing but the events so far.
    pub fn next_actions(&self) -> Vec<Action> {
        if self.phase != Phase::Active {
            return Vec::new();
        }
        if self.rollback.is_some() { self.actions_back() } else { self.actions_forward() }
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Whether anything goes on.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Completed or rolled back: there is nothing to resume.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ended(Outcome::Completed | Outcome::RolledBack, _))
    }

    /// Every step that was started has been undone.
    pub fn is_rolled_back(&self) -> bool {
        matches!(self.phase, Phase::Ended(Outcome::RolledBack, _))
    }

    /// Why it is being rolled back (or was), if so.
    pub fn rollback(&self) -> Option<&Rollback> {
        self.rollback.as_ref()
    }

    /// The last process that worked on it.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// Where a step stands.
    pub fn state(&self, step: &StepId) -> Option<&StepState> {
        self.plan.place(step).map(|place| &self.states[place])
    }

    /// Every step with its state, in the order of the plan.
    pub fn steps(&self) -> impl Iterator<Item = (&StepSpec, &StepState)> {
        self.plan.steps().iter().zip(&self.states)
    }

    /// What the steps that are done have returned.
    pub fn outputs(&self) -> BTreeMap<StepId, Value> {
        let with_output = self.steps().filter(|(_, state)| !state.output.is_null());
        with_output.map(|(spec, state)| (spec.id.clone(), state.output.clone())).collect()
    }

    fn resume(&mut self, session: Session) {
        let rebooted = self.session.as_ref().is_some_and(|last| last.boot_id != session.boot_id);
        for (spec, state) in self.plan.steps().iter().zip(&mut self.states) {
            let volatile = match spec.durability {
                Durability::Process => true,
                Durability::Boot => rebooted,
                Durability::Durable => false,
            };
            // In a rollback no step builds on the effect: an undo takes back what it finds.
            state.resumed(volatile && self.rollback.is_none());
        }
        self.session = Some(session);
        self.phase = Phase::Active;
    }

    fn roll_back(&mut self, rollback: Rollback) {
        for state in &mut self.states {
            state.rolled_back();
        }
        self.rollback = Some(rollback);
        self.phase = Phase::Active;
    }

    fn apply_to_step(&mut self, event: &Event) -> Result<(), IllegalEvent> {
        let place = event.step().and_then(|step| self.plan.place(step));
        let Some(place) = place.filter(|place| self.allowed(*place, event)) else {
            return Err(self.illegal(event));
        };
        let mut next = self.states[place].next(event, &self.plan.steps()[place])?;
        let settled = matches!(
            event,
            Event::AttemptDone { .. }
                | Event::AttemptFailed { .. }
                | Event::AttemptCut { .. }
                | Event::Probed { .. }
        );
        if self.rollback.is_some() && settled {
            // An undo copes with whatever is there. Only a foreign find stops it.
            if let Event::Probed { result: ProbeResult::Unknown(_), .. } = event {
                next.status = Status::ToUndo;
            }
            next.rolled_back();
        }
        self.states[place] = next;
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

    fn actions_forward(&self) -> Vec<Action> {
        if let Some((step, why)) = self.first(|status| match status {
            Status::Failed(why) => Some(why),
            _ => None,
        }) {
            return vec![Action::RollBack(format!("step {step} failed: {why}"))];
        }
        if let Some(end) = self.stuck() {
            return end;
        }
        if self.states.iter().all(|state| state.status == Status::Done) {
            return vec![Action::End(Outcome::Completed, "every step is done".to_owned())];
        }
        let action = |place: usize| {
            let (step, state) = (|| self.plan.steps()[place].id.clone(), &self.states[place]);
            match state.status {
                Status::NeedsProbe => Some(Action::Probe(step())),
                Status::Waiting if self.may_run(place) => {
                    let step = step();
                    Some(Action::Run { step, attempt: state.attempts + 1, failures: state.failures })
                }
                _ => None,
            }
        };
        (0..self.states.len()).filter_map(action).collect()
    }

    fn actions_back(&self) -> Vec<Action> {
        let actions: Vec<Action> = self.undos().collect();
        if !actions.is_empty() || self.in_flight() {
            return actions;
        }
        let why = self.rollback.as_ref().map(|rollback| rollback.reason.clone()).unwrap_or_default();
        if let Some((step, error)) = self.first(|status| match status {
            Status::UndoFailed(error) | Status::Foreign(error) => Some(error),
            _ => None,
        }) {
            let reason = format!("{why}; and step {step} could not be undone: {error}");
            return vec![Action::End(Outcome::NeedsOperator, reason)];
        }
        vec![Action::End(Outcome::RolledBack, why)]
    }

    /// Undos of steps on which nothing depends any more, and probes before them: last step of the plan first.
    fn undos(&self) -> impl Iterator<Item = Action> + '_ {
        (0..self.states.len()).rev().filter_map(|place| {
            let (step, state) = (|| self.plan.steps()[place].id.clone(), &self.states[place]);
            match state.status {
                Status::NeedsProbe if self.nothing_after(place) => Some(Action::Probe(step())),
                Status::ToUndo if self.may_undo(place) => {
                    let step = step();
                    Some(Action::Undo { step, attempt: state.undos + 1, failures: state.failures })
                }
                _ => None,
            }
        })
    }

    /// A foreign find ends the run, once nothing is in flight any more.
    fn stuck(&self) -> Option<Vec<Action>> {
        let (step, why) = self.first(|status| match status {
            Status::Foreign(why) => Some(why),
            _ => None,
        })?;
        if self.in_flight() {
            return Some(vec![Action::Stop]);
        }
        Some(vec![Action::End(Outcome::NeedsOperator, format!("step {step}: {why}"))])
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

    /// No step that depends on this one has left anything behind.
    fn nothing_after(&self, place: usize) -> bool {
        self.plan.dependents(place).iter().all(|after| {
            let state = &self.states[*after];
            !state.started() || state.status == Status::Undone
        })
    }

    fn in_flight(&self) -> bool {
        self.states.iter().any(|state| matches!(state.status, Status::Running | Status::Undoing))
    }

    fn may_end(&self, outcome: Outcome) -> bool {
        self.next_actions().iter().any(|action| matches!(action, Action::End(due, _) if *due == outcome))
    }

    fn illegal(&self, event: &Event) -> IllegalEvent {
        let back = if self.rollback.is_some() { ", being rolled back" } else { "" };
        let step = event.step().and_then(|step| self.state(step));
        let step = step.map(|state| format!(", the step is {}", state.status)).unwrap_or_default();
        let state = format!("the run is {:?}{back}{step}", self.phase);
        IllegalEvent { event: format!("{event:?}"), state }
    }
}

impl Rollback {
    /// A rollback for this reason, in no particular mode.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), mode: None }
    }

    /// The same in this mode.
    #[must_use]
    pub fn with_mode(mut self, mode: impl Into<String>) -> Self {
        self.mode = Some(mode.into());
        self
    }
}

impl From<&str> for Rollback {
    fn from(reason: &str) -> Self {
        Self::new(reason)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("not begun"),
            Self::Active => f.write_str("unfinished"),
            Self::Paused { reason, .. } => write!(f, "paused ({reason})"),
            Self::Ended(outcome, _) => write!(f, "{outcome}"),
        }
    }
}
