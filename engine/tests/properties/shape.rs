//! Random plans, and how a property is tried.

use fulcrum_engine::{Backoff, Durability, Plan, Policy, StepId, StepSpec};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;
use std::time::Duration;

pub(crate) const STEPS_MAX: usize = 8;

/// A random DAG with policies.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    steps: Vec<StepShape>,
    pub parallelism: usize,
}

#[derive(Debug, Clone)]
struct StepShape {
    /// Bit n: it comes after step n, if that is an earlier one.
    after: u8,
    attempts: u32,
    undo_attempts: u32,
    durability: u8,
}

pub(crate) fn shape() -> impl Strategy<Value = Shape> {
    // Two random masks: of three edges that could be, one is.
    let step = (any::<u8>(), any::<u8>(), 1..=3_u32, 1..=2_u32, 0..8_u8);
    let step = step.prop_map(|(some, others, attempts, undo_attempts, durability)| StepShape {
        after: some & others,
        attempts,
        undo_attempts,
        durability,
    });
    (prop::collection::vec(step, 1..=STEPS_MAX), 1..=4_usize)
        .prop_map(|(steps, parallelism)| Shape { steps, parallelism })
}

pub(crate) fn name(step: usize) -> StepId {
    format!("s{step}").into()
}

impl Shape {
    /// The plan; `timeout` is that of every attempt.
    pub(crate) fn plan(&self, timeout: Duration) -> Plan {
        let backoff = Backoff { initial: Duration::from_micros(10), max: Duration::from_micros(20) };
        let policy = |attempts| Policy::tries(attempts, timeout).with_backoff(backoff.clone());
        let spec = |(n, step): (usize, &StepShape)| {
            let after = (0..n).filter(|before| step.after & (1 << before) != 0).map(name);
            StepSpec::new(name(n), Value::Null)
                .after(after)
                .policy(policy(step.attempts))
                .undo_policy(policy(step.undo_attempts))
                .durability(match step.durability {
                    0 => Durability::Process,
                    1 => Durability::Boot,
                    _ => Durability::Durable,
                })
        };
        Plan::new("random", self.steps.iter().enumerate().map(spec).collect()).unwrap()
    }
}

/// Tries the property on `cases` random values. What fails is made smaller, and is told with its seed.
pub(crate) fn holds<S: Strategy>(cases: u32, of: S, property: impl Fn(S::Value) -> Result<(), String>) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("FULCRUM_PROPERTIES_SEED").unwrap_or_else(|| fastrand::u64(..));
    let cases = number("FULCRUM_PROPERTIES_CASES").map_or(cases, |cases| cases as u32);
    println!("FULCRUM_PROPERTIES_SEED={seed}, {cases} cases");
    let bytes: Vec<u8> = seed.to_le_bytes().repeat(4);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let tried =
        TestRunner::new_with_rng(config, rng).run(&of, |value| property(value).map_err(TestCaseError::fail));
    if let Err(failure) = tried {
        panic!("FULCRUM_PROPERTIES_SEED={seed}: {failure}");
    }
}
