//! What comes next in a run, and how long the rest usually takes: for the foot of the screen. Pure.

use super::time::took;
use crate::pace::{Pace, Stand};
use fulcrum_engine::state::Timestamp;
use fulcrum_engine::{Event, Plan, StepId};
use fulcrum_steps::step_name::shown;
use std::collections::BTreeMap;
use std::time::Duration;

/// How many of the next kinds of steps are named.
const NAMED_MAX: usize = 2;

/// The plan of the run, how long its steps take, and how far it has come.
#[derive(Debug, Clone)]
pub(crate) struct Forecast {
    plan: Plan,
    pace: Pace,
    stands: BTreeMap<StepId, Seen>,
    is_going_back: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Since(Timestamp),
    Done,
}

impl Forecast {
    /// The forecast for a run of this plan, of which `done` are done already.
    pub(crate) fn new(plan: &Plan, pace: Pace, done: impl IntoIterator<Item = StepId>) -> Self {
        let stands = done.into_iter().map(|step| (step, Seen::Done)).collect();
        Self { plan: plan.clone(), pace, stands, is_going_back: false }
    }

    /// Takes in what has happened.
    pub(super) fn heed(&mut self, time: Timestamp, event: &Event) {
        match event {
            Event::AttemptStarted { step, .. } => {
                self.stands.insert(step.clone(), Seen::Since(time));
            }
            Event::AttemptDone { step, .. } => {
                self.stands.insert(step.clone(), Seen::Done);
            }
            Event::AttemptFailed { step, .. } | Event::AttemptCut { step, .. } => {
                self.stands.remove(step);
            }
            Event::RollbackStarted { .. } => self.is_going_back = true,
            _ => {}
        }
    }

    /// How long the step usually takes, in words: `, usually 4.6 s`. Empty where that is not known or not worth it.
    pub(super) fn usual(&self, step: &StepId) -> String {
        let usual = self.pace.usual(step).filter(|_| !self.is_going_back);
        usual.map(|usual| format!(", usually {}", took(usual))).unwrap_or_default()
    }

    /// What comes next and how long the rest takes, on one line. `None` on the way back, and at the end.
    pub(super) fn line(&self, now: Timestamp) -> Option<String> {
        if self.is_going_back {
            return None;
        }
        // Of steps of one kind, which run side by side, the longest counts.
        let mut kinds: Vec<(String, Option<Duration>)> = Vec::new();
        for spec in self.plan.steps().iter().filter(|spec| !self.stands.contains_key(&spec.id)) {
            let (name, usual) = (shown(&spec.id), self.pace.usual(&spec.id));
            let kind = name.split('/').next().unwrap_or_default();
            match kinds.iter_mut().find(|(known, _)| known == kind) {
                Some((_, longest)) => *longest = usual.max(*longest),
                None => kinds.push((kind.to_owned(), usual)),
            }
        }
        let named = kinds.into_iter().take(NAMED_MAX).map(|(name, usual)| match usual {
            Some(usual) => format!("{name}: usually {}", took(usual)),
            None => name,
        });
        let named: Vec<String> = named.collect();
        let next = if named.is_empty() { String::new() } else { format!("then {}; ", named.join(", ")) };
        let rest = self.rest(now);
        match (rest.is_zero(), next.is_empty()) {
            (true, true) => None,
            (true, false) => Some(format!("{next}soon done")),
            (false, _) => Some(format!("{next}about {} s left", rest.as_secs() + 1)),
        }
    }

    fn rest(&self, now: Timestamp) -> Duration {
        self.pace.rest(&self.plan, |step| match self.stands.get(step) {
            None => Stand::New,
            Some(Seen::Since(time)) => Stand::Since(now.since(*time)),
            Some(Seen::Done) => Stand::Done,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulcrum_engine::StepSpec;
    use serde_json::Value;

    #[test]
    fn the_foot_says_what_comes_and_how_long_the_rest_takes() {
        let step = |name: &str, after: &[&str]| StepSpec::new(name, Value::Null).after(after.iter().copied());
        let plan = Plan::new(
            "pivot",
            vec![
                step("lock", &[]),
                step("switch", &["lock"]),
                step("retire-static/kube-apiserver", &["switch"]),
                step("retire-static/kube-scheduler", &["switch"]),
                step("verify", &["retire-static/kube-apiserver", "retire-static/kube-scheduler"]),
            ],
        )
        .unwrap();
        let pace = Pace::measured(Duration::from_secs(2));
        let mut forecast = Forecast::new(&plan, pace, ["lock".into()]);
        let now = Timestamp::now();
        assert_eq!(
            forecast.line(now).unwrap(),
            "then switch: usually 2.3 s, retire-static: usually 12.0 s; about 16 s left"
        );
        let started = |step: &str| Event::AttemptStarted {
            step: step.into(),
            attempt: 1,
            pre_image: None,
            deadline: None,
        };
        forecast.heed(now, &started("switch"));
        assert_eq!(forecast.usual(&"switch".into()), ", usually 2.3 s");
        assert_eq!(
            forecast.line(now).unwrap(),
            "then retire-static: usually 12.0 s, verify: usually 1.1 s; about 16 s left"
        );
        let reason = "a step failed".to_owned();
        forecast.heed(now, &Event::RollbackStarted { reason, mode: None });
        assert_eq!((forecast.line(now), forecast.usual(&"switch".into())), (None, String::new()));
    }
}
