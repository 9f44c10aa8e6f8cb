//! Worlds that are counters: how often each step's effect is there.

use async_trait::async_trait;
use fulcrum_engine::testing::{Process, World};
use fulcrum_engine::{
    Context, Durability, Plan, Policy, ProbeResult, Step, StepError, StepRegistry, StepSpec,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Which steps, and what is wrong with one of them.
pub(crate) trait Kind: Send + Sync + 'static {
    const STEPS: &[(&str, &[&str])];
    const DURABILITY: Durability = Durability::Durable;
    const FLAW: Option<(&str, Flaw)> = None;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    RunCounts,
    UndoTripsOverNothing,
    UndoLeavesSomething,
    ProbeSaysDone,
}

type Counts = Arc<Mutex<BTreeMap<String, u32>>>;

pub(crate) struct Marks<K>(Counts, PhantomData<K>);

impl<K: Kind> World for Marks<K> {
    type Seen = BTreeMap<String, u32>;

    async fn fresh() -> Self {
        Marks(Counts::default(), PhantomData)
    }

    fn plan(&self) -> Plan {
        let policy = Policy::once(Duration::from_secs(5));
        let step = |(name, after): &(&str, &[&str])| {
            let spec = StepSpec::new(*name, Value::Null).after(after.iter().copied());
            spec.durability(K::DURABILITY).policy(policy.clone()).undo_policy(policy.clone())
        };
        Plan::new("marks", K::STEPS.iter().map(step).collect()).unwrap()
    }

    fn registry(&self, _: &Process) -> impl StepRegistry + 'static {
        let counts = Arc::clone(&self.0);
        move |spec: &StepSpec| -> Result<Arc<dyn Step>, String> {
            let flaw = K::FLAW.filter(|(step, _)| *step == spec.id.as_str()).map(|(_, flaw)| flaw);
            Ok(Arc::new(Mark { name: spec.id.to_string(), flaw, counts: Arc::clone(&counts) }))
        }
    }

    async fn seen(&self) -> Self::Seen {
        self.0.lock().unwrap().clone()
    }

    async fn crashed(&self) {
        if K::DURABILITY == Durability::Process {
            self.0.lock().unwrap().clear();
        }
    }
}

struct Mark {
    name: String,
    flaw: Option<Flaw>,
    counts: Counts,
}

#[async_trait]
impl Step for Mark {
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        let there = self.counts.lock().unwrap().contains_key(&self.name);
        let done = there || self.flaw == Some(Flaw::ProbeSaysDone);
        Ok(if done { ProbeResult::Done } else { ProbeResult::Absent })
    }

    async fn run(&self, _cx: &Context) -> Result<Value, StepError> {
        tokio::task::yield_now().await;
        let mut counts = self.counts.lock().unwrap();
        let count = counts.entry(self.name.clone()).or_default();
        *count = if self.flaw == Some(Flaw::RunCounts) { *count + 1 } else { 1 };
        Ok(json!(*count))
    }

    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        tokio::task::yield_now().await;
        let mut counts = self.counts.lock().unwrap();
        match self.flaw {
            Some(Flaw::UndoLeavesSomething) if counts.contains_key(&self.name) => {
                counts.insert("rest".to_owned(), 1);
            }
            Some(Flaw::UndoTripsOverNothing) if !counts.contains_key(&self.name) => {
                return Err(StepError::fatal("it is not there"));
            }
            _ => {}
        }
        counts.remove(&self.name);
        Ok(())
    }
}
