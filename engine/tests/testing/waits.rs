//! Workflows that wait: for a week, for a person, and for a run of their own that waits.

use fulcrum_engine::state::Timestamp;
use fulcrum_engine::testing::{Broken, Process, World, prefixes_recover};
use fulcrum_engine::{
    ChildRun, ClosureStep, Context, Plan, Policy, ProbeResult, Question, StepError, StepId, StepRegistry,
    StepSpec, Steps, Verdict, step,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// How often each effect is there.
type Counts = Arc<Mutex<BTreeMap<String, u32>>>;

/// What is answered, and which steps there are: `plan`, and `below` for the step `child`.
pub(crate) trait Kind: Send + Sync + 'static {
    const PLAN: &[&str];
    const BELOW: &[&str] = &[];
    const ANSWER: Verdict = Verdict::Approved;
}

pub(crate) struct Order<K>(Counts, PhantomData<K>);

impl<K: Kind> World for Order<K> {
    type Seen = BTreeMap<String, u32>;

    async fn fresh() -> Self {
        Order(Counts::default(), PhantomData)
    }

    fn plan(&self) -> Plan {
        chain(K::PLAN).unwrap()
    }

    fn registry(&self, process: &Process) -> impl StepRegistry + 'static {
        let below = process.engine(steps(&self.0));
        steps(&self.0).with_step("child", ChildRun::new(below, |_| chain(K::BELOW)))
    }

    async fn seen(&self) -> Self::Seen {
        self.0.lock().unwrap().clone()
    }

    fn answer(&self, step: &StepId, question: &str) -> Verdict {
        assert_eq!(question, format!("go on with {step}?"));
        K::ANSWER
    }
}

/// The steps one after the other. Each has the week's end as its argument.
fn chain(names: &[&'static str]) -> Result<Plan, StepError> {
    let policy = Policy::once(Duration::from_secs(5));
    let now = Timestamp::now().as_micros();
    let week = Timestamp::from_micros(now + u64::try_from(WEEK.as_micros()).map_err(StepError::fatal)?);
    let mut specs: Vec<StepSpec> = Vec::new();
    for name in names {
        let spec = StepSpec::with_args(*name, &week).map_err(StepError::fatal)?;
        let after = specs.last().map(|before| before.id.clone());
        specs.push(spec.after(after).policy(policy.clone()).undo_policy(policy.clone()));
    }
    Plan::new("order", specs).map_err(StepError::fatal)
}

fn put(counts: &Counts, cx: &Context) {
    counts.lock().unwrap().insert(cx.step().to_string(), 1);
}

/// A step with an effect that can be seen and taken back, once `wait` lets it.
fn mark(
    counts: &Counts,
    name: &str,
    wait: impl Fn(&Context, &Counts) -> Result<(), StepError> + Send + Sync + 'static,
) -> ClosureStep {
    let (run, probe, undo) = (Arc::clone(counts), Arc::clone(counts), Arc::clone(counts));
    step(name)
        .run(move |cx| {
            let done = wait(&cx, &run).map(|()| put(&run, &cx));
            async { done }
        })
        .probe(move |cx| {
            let there = probe.lock().unwrap().contains_key(cx.step().as_str());
            async move { Ok(if there { ProbeResult::Done } else { ProbeResult::Absent }) }
        })
        .undo(move |cx| {
            undo.lock().unwrap().remove(cx.step().as_str());
            async { Ok(()) }
        })
}

fn question(cx: &Context) -> Question {
    Question::new(format!("go on with {}?", cx.step()))
}

fn steps(counts: &Counts) -> Steps {
    let until = |cx: &Context, _: &Counts| cx.sleep_until(cx.args()?);
    let asks = |cx: &Context, _: &Counts| cx.approval(&question(cx).expires_in(WEEK)).map(|_| ());
    let asks_for_ever = |cx: &Context, _: &Counts| cx.approval(&question(cx)).map(|_| ());
    let decides = |cx: &Context, counts: &Counts| {
        let verdict = cx.decision(&question(cx).expires_in(WEEK))?.verdict;
        counts.lock().unwrap().insert(cx.step().to_string(), 1);
        if verdict == Verdict::Expired { cx.sleep_until(cx.args()?) } else { Ok(()) }
    };
    // What comes before a wait is done again after it: this is counted twice.
    let counts_first = |cx: &Context, counts: &Counts| {
        *counts.lock().unwrap().entry("before the wait".to_owned()).or_default() += 1;
        cx.sleep(WEEK)
    };
    Steps::new()
        .with(mark(counts, "reserve", |_, _| Ok(())))
        .with(mark(counts, "ship", |_, _| Ok(())))
        .with(mark(counts, "until", until))
        .with(mark(counts, "asks", asks))
        .with(mark(counts, "asks-for-ever", asks_for_ever))
        .with(mark(counts, "decides", decides))
        .with(mark(counts, "counts-first", counts_first))
        // It forgets what it has done when it is undone.
        .with(step("leaves").run({
            let counts = Arc::clone(counts);
            move |cx| {
                put(&counts, &cx);
                async { Ok(Value::Null) }
            }
        }))
}

macro_rules! order {
    ($name:ident, $plan:expr, $below:expr, $answer:expr) => {
        struct $name;
        impl Kind for $name {
            const PLAN: &[&str] = &$plan;
            const BELOW: &[&str] = &$below;
            const ANSWER: Verdict = $answer;
        }
    };
}

order!(Approved, ["reserve", "asks", "until", "ship"], [], Verdict::Approved);

#[tokio::test]
async fn a_workflow_that_sleeps_and_is_approved_holds() {
    crate::holds::<Order<Approved>>().await;
    prefixes_recover::<Order<Approved>>(1).await.unwrap();
}

order!(Rejected, ["reserve", "asks", "ship"], [], Verdict::Rejected);
order!(Expired, ["reserve", "asks", "ship"], [], Verdict::Expired);
order!(GoesOnAnyway, ["decides", "ship"], [], Verdict::Expired);

#[tokio::test]
async fn a_workflow_whose_question_is_rejected_or_expires_holds() {
    crate::holds::<Order<Rejected>>().await;
    prefixes_recover::<Order<Rejected>>(1).await.unwrap();
    prefixes_recover::<Order<Expired>>(1).await.unwrap();
    prefixes_recover::<Order<GoesOnAnyway>>(1).await.unwrap();
}

order!(Child, ["reserve", "child"], ["asks", "until"], Verdict::Approved);
order!(ChildExpired, ["reserve", "child"], ["until", "asks"], Verdict::Expired);

#[tokio::test]
async fn a_workflow_whose_child_waits_holds() {
    crate::holds::<Order<Child>>().await;
    prefixes_recover::<Order<Child>>(1).await.unwrap();
    prefixes_recover::<Order<ChildExpired>>(5).await.unwrap();
}

order!(CountsFirst, ["counts-first", "ship"], [], Verdict::Approved);
order!(ChildLeaves, ["reserve", "child"], ["asks", "leaves"], Verdict::Approved);
order!(Unanswered, ["asks-for-ever"], [], Verdict::Expired);

#[tokio::test]
async fn a_workflow_that_waits_and_does_not_hold_is_named() {
    for (error, expected) in [
        (prefixes_recover::<Order<CountsFirst>>(1).await, "cut after entry 2 (AttemptStarted"),
        (prefixes_recover::<Order<ChildLeaves>>(1).await, "undone: the world should look like"),
        (
            prefixes_recover::<Order<Unanswered>>(1).await,
            "nothing ends its waits: step asks-for-ever waits for a decision: go on with asks-for-ever?",
        ),
    ] {
        let error = error.unwrap_err();
        assert!(matches!(error, Broken::Differs { .. } | Broken::WaitsForEver { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}
