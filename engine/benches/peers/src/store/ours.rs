//! fulcrum-engine.

use super::{Failed, Store};
use crate::body;
use async_trait::async_trait;
use fulcrum_engine::event::Outcome;
use fulcrum_engine::run::Phase;
use fulcrum_engine::state::{CommitOn, Journal, Options};
use fulcrum_engine::{Context, Engine, Plan, ProbeResult, Session, Step, StepError, StepSpec};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

pub(super) struct Ours {
    journal: Journal,
    engine: Engine,
}

impl Ours {
    /// `alone` says that the process carries out one workflow, and has nothing to do while it waits for the disk.
    pub(super) fn open(dir: &Path, alone: bool) -> Result<Self, Failed> {
        let commit_on = if alone { CommitOn::CallersThread } else { CommitOn::JournalThread };
        let options = Options { commit_on, ..Options::default() };
        let journal = Journal::open_with(dir.join("journal"), "bench", options)?;
        let engine = Engine::new(journal.clone(), trivial, Session::current("bench")?);
        Ok(Self { journal, engine })
    }
}

#[async_trait]
impl Store for Ours {
    async fn run(&self, steps: u64) -> Result<(), Failed> {
        let name = |step: u64| format!("step-{step}");
        let steps = (0..steps).map(|step| {
            let spec = StepSpec::new(name(step), step.into());
            if step == 0 { spec } else { spec.after([name(step - 1)]) }
        });
        match self.engine.start(Plan::new("chain", steps.collect())?).await?.phase {
            Phase::Ended(Outcome::Completed, _) => Ok(()),
            other => Err(format!("the run should have completed, but it is {other}").into()),
        }
    }

    async fn go_on(&self) -> Result<(), Failed> {
        for open in self.journal.open_runs()? {
            let _ending = self.engine.resume(open.run).await?;
        }
        Ok(())
    }
}

fn trivial(spec: &StepSpec) -> Result<Arc<dyn Step>, String> {
    let step = spec.args.as_u64().ok_or_else(|| format!("{} is no number of a step", spec.args))?;
    Ok(Arc::new(Trivial(step)))
}

struct Trivial(u64);

#[async_trait]
impl Step for Trivial {
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }

    async fn run(&self, _cx: &Context) -> Result<Value, StepError> {
        body::run(self.0);
        Ok(Value::Null)
    }

    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Ok(())
    }
}
