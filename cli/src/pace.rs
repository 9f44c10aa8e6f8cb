//! How long the steps of a pivot usually take, and how much of one is left. Pure: values in, values out.

use fulcrum_engine::history::{AttemptResult, Direction, History};
use fulcrum_engine::{Plan, StepId};
use std::collections::BTreeMap;
use std::time::Duration;

/// How many of this node's finished runs count: the last ones.
pub(crate) const RUNS_MAX: usize = 5;

/// What was measured, in tenths of a second: docs/figures.md, "Step by step". The soak comes on top of `switch`.
/// Steps that are not listed take less than a tenth.
const MEASURED: [(&str, u64); 11] = [
    ("preflight", 6),
    ("arm-guard", 8),
    ("await-ready/kube-apiserver", 46),
    ("await-ready/kube-controller-manager", 23),
    ("await-ready/kube-scheduler", 27),
    ("switch", 3),
    ("way-back/lower-bridge", 1),
    ("retire-static/kube-apiserver", 120),
    ("retire-static/kube-controller-manager", 42),
    ("retire-static/kube-scheduler", 42),
    ("verify", 11),
];
/// A step that takes less is not worth a word.
const WORTH_SAYING: Duration = Duration::from_secs(1);

/// The least, the usual and the most that a step has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Span {
    least: Duration,
    usual: Duration,
    most: Duration,
}

/// How long steps take, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pace {
    steps: BTreeMap<StepId, Span>,
    /// How many finished runs of this node say so. With 0 it is what was measured elsewhere.
    runs: usize,
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stand {
    /// It has not begun.
    New,
    /// It has been at work for so long.
    Since(Duration),
    /// It is done.
    Done,
}

impl Pace {
    /// What these runs took. A run counts for the steps that it did at the first attempt.
    pub(crate) fn of_runs(runs: &[History]) -> Option<Self> {
        let mut all: BTreeMap<StepId, Vec<Duration>> = BTreeMap::new();
        for attempt in runs.iter().flat_map(|run| &run.attempts) {
            let counts = attempt.direction == Direction::Run && attempt.result == AttemptResult::Done;
            if let (true, 1, Some(ended)) = (counts, attempt.attempt, attempt.ended) {
                all.entry(attempt.step.clone()).or_default().push(ended.since(attempt.started));
            }
        }
        let steps: BTreeMap<_, _> =
            all.into_iter().filter_map(|(step, took)| Some((step, span(took)?))).collect();
        (!steps.is_empty()).then_some(Self { steps, runs: runs.len() })
    }

    /// What was measured of `steer` with this soak.
    pub(crate) fn measured(soak: Duration) -> Self {
        let span = |tenths: u64, more: Duration| {
            let usual = Duration::from_millis(100 * tenths) + more;
            Span { least: usual, usual, most: usual }
        };
        let more = |step: &str| if step == "switch" { soak } else { Duration::ZERO };
        let steps = MEASURED.map(|(step, tenths)| (StepId::from(step), span(tenths, more(step))));
        Self { steps: steps.into(), runs: 0 }
    }

    /// How many finished runs of this node this is from.
    pub(crate) fn runs(&self) -> usize {
        self.runs
    }

    /// How long the step usually takes, if that is worth a word.
    pub(crate) fn usual(&self, step: &StepId) -> Option<Duration> {
        self.steps.get(step).map(|span| span.usual).filter(|usual| *usual >= WORTH_SAYING)
    }

    /// How long all of the plan takes, from and to, in seconds.
    pub(crate) fn whole(&self, plan: &Plan) -> (u64, u64) {
        let all = |which: fn(&Span) -> Duration| {
            longest(plan, |step| self.steps.get(step).map(which).unwrap_or_default())
        };
        let up = |time: Duration| time.as_secs() + u64::from(time.subsec_nanos() > 0);
        (all(|span| span.least).as_secs(), up(all(|span| span.most)))
    }

    /// How long the rest of the plan usually takes.
    pub(crate) fn rest(&self, plan: &Plan, stand: impl Fn(&StepId) -> Stand) -> Duration {
        let usual = |step: &StepId| self.steps.get(step).map(|span| span.usual).unwrap_or_default();
        longest(plan, |step| match stand(step) {
            Stand::New => usual(step),
            Stand::Since(time) => usual(step).saturating_sub(time),
            Stand::Done => Duration::ZERO,
        })
    }
}

/// The least, the middle and the most of these.
fn span(mut took: Vec<Duration>) -> Option<Span> {
    took.sort_unstable();
    Some(Span { least: *took.first()?, usual: *took.get(took.len() / 2)?, most: *took.last()? })
}

/// The longest way through the plan, where steps that wait for nothing of each other run side by side.
fn longest(plan: &Plan, takes: impl Fn(&StepId) -> Duration) -> Duration {
    let mut ends: BTreeMap<&StepId, Duration> = BTreeMap::new();
    // At most one round for each step of the longest way: a step's end is final once those before it are.
    for _ in plan.steps() {
        let before = ends.clone();
        for spec in plan.steps() {
            let begin =
                spec.after.iter().filter_map(|step| ends.get(step)).max().copied().unwrap_or_default();
            ends.insert(&spec.id, begin + takes(&spec.id));
        }
        if before == ends {
            break;
        }
    }
    ends.into_values().max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulcrum_engine::StepSpec;
    use serde_json::Value;

    const SECOND: Duration = Duration::from_secs(1);

    fn plan() -> Plan {
        let step = |name: &str, after: &[&str]| StepSpec::new(name, Value::Null).after(after.iter().copied());
        // Listed against their order.
        Plan::new(
            "pivot",
            vec![
                step("verify", &["retire-static/kube-apiserver", "retire-static/kube-scheduler"]),
                step("retire-static/kube-apiserver", &["switch"]),
                step("retire-static/kube-scheduler", &["switch"]),
                step("switch", &[]),
            ],
        )
        .unwrap()
    }

    #[test]
    fn what_runs_side_by_side_is_counted_once() {
        let pace = Pace::measured(2 * SECOND);
        // 0.3 + 2 + 12 + 1.1
        assert_eq!(pace.rest(&plan(), |_| Stand::New), Duration::from_millis(15_400));
        assert_eq!((pace.whole(&plan()), pace.runs()), ((15, 16), 0));
        let stand = |step: &StepId| match step.as_str() {
            "switch" | "retire-static/kube-scheduler" => Stand::Done,
            "retire-static/kube-apiserver" => Stand::Since(10 * SECOND),
            _ => Stand::New,
        };
        assert_eq!(pace.rest(&plan(), stand), Duration::from_millis(3_100));
        let late = |_: &StepId| Stand::Since(60 * SECOND);
        assert_eq!(pace.rest(&plan(), late), Duration::ZERO, "what takes longer is not negative");
        assert_eq!(pace.usual(&"switch".into()), Some(Duration::from_millis(2300)));
        assert_eq!(pace.usual(&"lock".into()), None);
    }

    /// The table of the code is that of the page.
    #[test]
    fn what_was_measured_is_on_the_page() {
        let page = include_str!("../../docs/figures.md");
        let table = page
            .split("### Step by step")
            .nth(1)
            .unwrap_or_default()
            .split("\n## ")
            .next()
            .unwrap_or_default();
        for (step, tenths) in MEASURED {
            let shown = fulcrum_steps::step_name::shown(&StepId::from(step));
            let row = format!("| `{shown}` | {}.{} s", tenths / 10, tenths % 10);
            assert!(table.contains(&row), "docs/figures.md lacks {row}");
        }
    }
}
