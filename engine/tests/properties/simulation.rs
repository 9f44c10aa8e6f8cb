//! An executor without a clock. It carries out the state machine's actions on a world that is a set. A list
//! of numbers gives the order and the luck. Every event is shown to the model.

use crate::model::Model;
use crate::{decision, end_of_wait, wait};
use fulcrum_engine::event::{Failure, FailureKind, PauseCause, Session};
use fulcrum_engine::run::{Action, Phase};
use fulcrum_engine::state::Digest;
use fulcrum_engine::{Durability, Event, Outcome, Plan, ProbeResult, Run, StepId};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The events of a simulation. With them a test can show that something did happen.
pub(crate) type Tally = BTreeMap<&'static str, u32>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flight {
    Probe,
    Run(u32),
    Undo(u32),
}

pub(crate) struct Simulation<'a> {
    plan: Arc<Plan>,
    parallelism: usize,
    run: Run,
    journal: Vec<Event>,
    pub model: Model,
    /// Steps whose effect is there.
    world: BTreeSet<StepId>,
    flights: BTreeMap<StepId, Flight>,
    /// When it is used up, all goes well.
    luck: std::slice::Iter<'a, u8>,
    boots: u32,
    pub tally: &'a mut Tally,
}

type Held = Result<(), String>;

impl<'a> Simulation<'a> {
    pub(crate) fn new(plan: Plan, parallelism: usize, luck: &'a [u8], tally: &'a mut Tally) -> Self {
        let plan = Arc::new(plan);
        Self {
            run: Run::new(Arc::clone(&plan)),
            plan,
            parallelism,
            journal: Vec::new(),
            model: Model::default(),
            world: BTreeSet::new(),
            flights: BTreeMap::new(),
            luck: luck.iter(),
            boots: 0,
            tally,
        }
    }

    /// Carries the run on to an end from which no request continues it.
    pub(crate) fn carry_on(mut self) -> Held {
        let session = self.session();
        self.record(Event::Begun {
            workflow: "random".into(),
            plan: Digest::of(b""),
            session,
            key: None,
            shape: None,
        })?;
        // Each turn uses up luck, or is one of the few that a run without mishaps takes.
        let turns_max = 10 * self.luck.len() + 10 * self.plan.steps().len() + 10;
        for _ in 0..turns_max {
            match self.run.phase().clone() {
                Phase::Ended(outcome, _) => {
                    self.check_end(outcome)?;
                    if !self.goes_on_after(outcome)? {
                        return self.reload();
                    }
                }
                _ => self.turn()?,
            }
        }
        Err(format!("no end after {turns_max} turns: {:#?}", self.journal))
    }

    fn turn(&mut self) -> Held {
        let actions = self.run.next_actions();
        match actions.first() {
            Some(Action::RollBack(reason)) => {
                self.count("a step failed");
                return self.record(Event::RollbackStarted { reason: reason.clone(), mode: None });
            }
            Some(Action::End(outcome, reason)) => {
                return self.record(Event::Ended { outcome: *outcome, reason: reason.clone() });
            }
            _ => {}
        }
        let waits_only = actions.iter().all(|action| matches!(action, Action::Await { .. }));
        if waits_only && !actions.is_empty() && self.flights.is_empty() && self.lucky(2) == Some(0) {
            return self.wait();
        }
        self.check_actions(&actions)?;
        match self.lucky(24) {
            Some(0) => self.crash(),
            Some(1) => self.pause(),
            Some(2) if !self.model.rolling_back => {
                self.record(Event::RollbackStarted { reason: "asked to".into(), mode: None })
            }
            _ => self.start_or_finish(actions),
        }
    }

    /// The state machine asks for nothing that must not be.
    fn check_actions(&self, actions: &[Action]) -> Held {
        let wrong = actions.iter().find(|action| match action {
            Action::Run { step, .. } => !self.model.may_start(step, &self.plan) || self.is_early(step),
            Action::Undo { step, .. } => !self.model.may_undo(step, &self.plan),
            Action::Probe(step) => !self.model.unclear.contains(step) || self.is_early(step),
            Action::Await { step, .. } => !self.model.suspended.contains_key(step) || self.is_early(step),
            _ => false,
        });
        wrong.map_or(Ok(()), |action| Err(format!("{action:?} is asked for, but {:?}", self.model)))
    }

    /// Whether something that goes before the step is not done on the way forward.
    fn is_early(&self, step: &StepId) -> bool {
        !self.model.rolling_back && !self.model.is_reached(step, &self.plan)
    }

    fn start_or_finish(&mut self, actions: Vec<Action>) -> Held {
        let mut startable: Vec<Action> = actions
            .into_iter()
            .filter(|action| match action {
                Action::Run { step, .. }
                | Action::Undo { step, .. }
                | Action::Await { step, .. }
                | Action::Probe(step) => {
                    self.flights.len() < self.parallelism && !self.flights.contains_key(step)
                }
                _ => false,
            })
            .collect();
        let choices = startable.len() + self.flights.len();
        if choices == 0 {
            return Err(format!("nothing is in flight and nothing is asked for: {:#?}", self.journal));
        }
        let choice = self.lucky(choices as u8).map_or(0, usize::from);
        if choice < startable.len() {
            return self.start(startable.swap_remove(choice));
        }
        let step = self.flights.keys().nth(choice - startable.len()).unwrap().clone();
        self.finish(step)
    }

    fn start(&mut self, action: Action) -> Held {
        let (step, flight, intent) = match action {
            Action::Run { step, attempt, .. } => {
                let intent =
                    Event::AttemptStarted { step: step.clone(), attempt, pre_image: None, deadline: None };
                (step, Flight::Run(attempt), Some(intent))
            }
            Action::Undo { step, attempt, .. } => {
                let intent = Event::UndoStarted { step: step.clone(), attempt };
                (step, Flight::Undo(attempt), Some(intent))
            }
            Action::Await { step, .. } => {
                let variant = self.lucky(3).unwrap_or(0);
                match end_of_wait(&self.run, step.clone(), variant, self.session()) {
                    started @ Event::AttemptStarted { attempt, .. } => {
                        (step, Flight::Run(attempt), Some(started))
                    }
                    decided => return self.record(decided),
                }
            }
            Action::Probe(step) => (step, Flight::Probe, None),
            other => return Err(format!("{other:?} is not to be started")),
        };
        self.flights.insert(step, flight);
        intent.map_or(Ok(()), |intent| self.record(intent))
    }

    fn finish(&mut self, step: StepId) -> Held {
        let flight = self.flights.remove(&step).unwrap();
        let luck = self.lucky(12).unwrap_or(11);
        let fatal = if luck.is_multiple_of(2) { FailureKind::Fatal } else { FailureKind::Retry };
        let failure = Failure { kind: fatal, error: "as told".into() };
        if luck < 4 && self.model.rolling_back {
            self.count("a failure on the way back");
        }
        let result = match flight {
            Flight::Probe => Event::Probed {
                result: self.result(&step, luck),
                output: Value::Null,
                step,
                facts: Vec::new(),
            },
            Flight::Run(attempt) => {
                // 2, 3: an attempt that fails, or runs out of time, when its effect is there.
                if luck > 1 {
                    self.world.insert(step.clone());
                }
                match luck {
                    0..=3 => Event::AttemptFailed { step, attempt, failure, facts: Vec::new() },
                    4 => Event::AttemptCut { step, attempt, facts: Vec::new() },
                    5 | 6 => {
                        self.count("a step waits");
                        Event::AttemptWaits {
                            step,
                            attempt,
                            wait: wait(self.lucky(3).unwrap_or(0)),
                            facts: Vec::new(),
                        }
                    }
                    _ => Event::AttemptDone { step, attempt, output: Value::Null, facts: Vec::new() },
                }
            }
            Flight::Undo(attempt) => {
                if luck > 1 {
                    self.world.remove(&step);
                }
                match luck {
                    0..=3 => Event::UndoFailed { step, attempt, failure, facts: Vec::new() },
                    4 => Event::UndoCut { step, attempt, facts: Vec::new() },
                    _ => Event::UndoDone { step, attempt, facts: Vec::new() },
                }
            }
        };
        self.record(result)?;
        if self.model.failed.len() > 1 {
            self.count("two failures at once");
        }
        Ok(())
    }

    fn result(&mut self, step: &StepId, luck: u8) -> ProbeResult {
        match (luck, self.world.contains(step)) {
            (0, _) => ProbeResult::Foreign("not ours".into()),
            (1, _) => ProbeResult::Unknown("no answer".into()),
            (2, _) => ProbeResult::Partial("half of it".into()),
            (_, true) => ProbeResult::Done,
            (_, false) => ProbeResult::Absent,
        }
    }

    /// Whatever was in flight is half done or not; another process reads the journal.
    fn crash(&mut self) -> Held {
        self.count("a crash");
        for (step, flight) in std::mem::take(&mut self.flights) {
            match (flight, self.lucky(2)) {
                (Flight::Run(_), Some(1)) => _ = self.world.insert(step),
                (Flight::Undo(_), Some(1)) => _ = self.world.remove(&step),
                _ => {}
            }
        }
        self.reload()?;
        self.next_process()
    }

    fn pause(&mut self) -> Held {
        for (step, flight) in std::mem::take(&mut self.flights) {
            match flight {
                Flight::Probe => {}
                Flight::Run(attempt) => {
                    self.record(Event::AttemptCut { step, attempt, facts: Vec::new() })?;
                }
                Flight::Undo(attempt) => self.record(Event::UndoCut { step, attempt, facts: Vec::new() })?,
            }
        }
        self.record(Event::Paused { reason: "asked to".into(), cause: PauseCause::Person })?;
        if !self.run.next_actions().is_empty() {
            return Err("a paused run asks for something".to_owned());
        }
        self.reload()?;
        self.next_process()
    }

    /// No process is at work. Somebody may decide before the next one is.
    fn wait(&mut self) -> Held {
        self.count("a run waits");
        self.record(Event::Waiting { until: None })?;
        if !self.run.next_actions().is_empty() {
            return Err("a run that waits asks for something".to_owned());
        }
        self.reload()?;
        let asking: Vec<StepId> = self
            .run
            .waits()
            .filter(|(_, wait)| wait.is_for_a_decision())
            .map(|(step, _)| step.clone())
            .collect();
        if let (Some(step), Some(luck @ 0..=2)) = (asking.first(), self.lucky(4)) {
            self.count("a decision on a run that waits");
            let (step, session) = (step.clone(), self.session());
            self.record(Event::Decided { step, decision: decision(luck), session })?;
        }
        self.next_process()?;
        if self.model.rolling_back {
            self.count("a run that waits is rolled back");
        }
        Ok(())
    }

    /// Takes the run up, forward or back, perhaps after a reboot.
    fn next_process(&mut self) -> Held {
        if self.lucky(4) == Some(0) && !self.model.rolling_back {
            self.record(Event::RollbackStarted { reason: "asked to".into(), mode: None })?;
        }
        let rebooted = self.lucky(2) == Some(1);
        self.boots += u32::from(rebooted);
        for spec in self.plan.steps() {
            let gone = match spec.durability {
                Durability::Process => true,
                Durability::Boot => rebooted,
                Durability::Durable => false,
            };
            if gone && self.world.remove(&spec.id) {
                *self.tally.entry("a volatile effect lost").or_default() += 1;
            }
        }
        let same_process = !rebooted && self.lucky(3) == Some(0);
        let session = self.session();
        self.record(Event::Resumed { session, same_process })
    }

    fn goes_on_after(&mut self, outcome: Outcome) -> Result<bool, String> {
        self.count(match outcome {
            Outcome::Completed => "completed",
            Outcome::RolledBack => "rolled back",
            Outcome::NeedsOperator => "needs a person",
            other => return Err(format!("nobody has ended the run as {other}")),
        });
        self.flights.clear();
        match (outcome, self.lucky(2)) {
            (Outcome::RolledBack, _) | (_, None) | (Outcome::Completed, Some(0)) => return Ok(false),
            (Outcome::Completed, _) => {
                self.record(Event::RollbackStarted { reason: "asked to".into(), mode: None })?;
            }
            _ => {}
        }
        self.next_process().map(|()| true)
    }

    fn check_end(&self, outcome: Outcome) -> Held {
        let all = self.plan.steps().len();
        let right = match outcome {
            Outcome::Completed => self.world.len() == all,
            Outcome::RolledBack => self.world.is_empty(),
            // A look changes nothing: the end does not wait for it.
            Outcome::NeedsOperator => self.flights.values().all(|flight| *flight == Flight::Probe),
            _ => false,
        };
        if right { Ok(()) } else { Err(format!("{outcome} with {:?}: {:#?}", self.world, self.journal)) }
    }

    /// What is read back is what is in memory.
    fn reload(&mut self) -> Held {
        let mut read = Run::new(Arc::clone(&self.plan));
        for event in &self.journal {
            read.apply(event).map_err(|error| format!("the journal cannot be read back: {error}"))?;
        }
        if read != self.run {
            return Err(format!("read back as {read:#?}, but was {:#?}", self.run));
        }
        self.run = read;
        Ok(())
    }

    fn record(&mut self, event: Event) -> Held {
        self.run.apply(&event).map_err(|error| format!("refused: {error}; {:#?}", self.journal))?;
        self.model.take(&event, &self.plan).map_err(|why| format!("{why}; {:#?}", self.journal))?;
        self.journal.push(event);
        Ok(())
    }

    fn session(&self) -> Session {
        Session::new(self.boots.to_string(), 1, "simulation")
    }

    /// A number below `bound`, or nothing if luck is used up.
    fn lucky(&mut self, bound: u8) -> Option<u8> {
        self.luck.next().map(|number| number % bound)
    }

    fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }
}
