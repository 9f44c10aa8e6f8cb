//! What must be so after a crash, told from the journal's text alone: the engine's own reading of it is not
//! asked.

use crate::workflow::{Files, Verb, after, before};
use fulcrum_engine::{Outcome, Plan};
use serde_json::Value;

/// The entries of a run as JSON.
pub(crate) struct Told(Vec<Value>);

impl Told {
    pub(crate) fn by(bodies: &[String]) -> Self {
        Self(bodies.iter().map(|body| serde_json::from_str(body).unwrap()).collect())
    }

    fn has(&self, event: &str) -> bool {
        self.0.iter().any(|told| told["event"] == event)
    }

    fn has_of(&self, event: &str, step: &str) -> bool {
        self.0.iter().any(|told| told["event"] == event && told["step"] == step)
    }

    fn ended(&self, outcome: Outcome) -> bool {
        self.0.last().is_some_and(|last| last["outcome"] == outcome.to_string())
    }

    /// At the instant of the crash: no effect without its intent, no claim without its effect.
    pub(crate) fn check_effects(&self, plan: &Plan, seen: &Files) -> Result<(), String> {
        let (before, after) = (before(plan), after(plan));
        for spec in plan.steps() {
            let step = spec.id.as_str();
            let own = |files: &Files| -> Files {
                let of_step = files.iter().filter(|(name, _)| name.split_once('.').unwrap().0 == step);
                of_step.map(|(name, text)| (name.clone(), text.clone())).collect()
            };
            let (before, after, seen) = (own(&before), own(&after), own(seen));
            if seen != before && !self.has_of("attempt-started", step) {
                return Err(format!("{step} has changed {seen:?} without a durable intent"));
            }
            if self.has_of("attempt-done", step) && seen != after && !self.has_of("undo-started", step) {
                return Err(format!("{step} is done, and is not being undone, but there is {seen:?}"));
            }
            if self.has_of("undo-done", step) && seen != before {
                return Err(format!("{step} is undone, but there is {seen:?}"));
            }
        }
        self.check_order(plan)
    }

    /// Nothing starts before what it depends on is done, nothing is undone before what depends on it is, and
    /// nothing runs to be undone.
    fn check_order(&self, plan: &Plan) -> Result<(), String> {
        for (at, told) in self.0.iter().enumerate() {
            let so_far = Told(self.0[..at].to_vec());
            let step = told["step"].as_str().unwrap_or_default();
            let after = plan.step(&step.into()).map(|spec| spec.after.clone()).unwrap_or_default();
            let dependents = plan.steps().iter().filter(|spec| spec.after.contains(&step.into()));
            let wrong = match told["event"].as_str().unwrap() {
                "attempt-started" => {
                    so_far.has("unwind-started")
                        || !after.iter().all(|id| {
                            let probed =
                                |told: &Value| told["step"] == id.as_str() && told["finding"] == "done";
                            so_far.has_of("attempt-done", id.as_str()) || so_far.0.iter().any(probed)
                        })
                }
                "undo-started" => dependents
                    .map(|spec| spec.id.as_str())
                    .any(|id| so_far.has_of("attempt-started", id) && !so_far.has_of("undo-done", id)),
                _ => false,
            };
            if wrong {
                return Err(format!("entry {}: {told} cannot come here", at + 1));
            }
        }
        Ok(())
    }

    /// How the run must end when it is now carried on, and what must be there; `None`: there is no run.
    pub(crate) fn must_end(&self, plan: &Plan, verb: Verb) -> (Option<Outcome>, Files) {
        let fails = plan.workflow() == "failing";
        let back = self.has("unwind-started") || verb == Verb::RollBack || fails;
        match (self.0.is_empty() && verb == Verb::RollBack, back) {
            (true, _) => (None, before(plan)),
            (_, true) => (Some(Outcome::RolledBack), before(plan)),
            (_, false) => (Some(Outcome::Completed), after(plan)),
        }
    }

    /// Whether there must be nothing to do.
    pub(crate) fn is_over(&self, verb: Verb) -> bool {
        self.ended(Outcome::RolledBack)
            || (self.ended(Outcome::Completed) && verb != Verb::RollBack)
            || (self.0.is_empty() && verb == Verb::RollBack)
    }
}
