//! Breaks runs, each case in a world of its own.

use super::Verb;
use super::error::RehearsalError;
use super::load::Answers;
use super::nodes_crash::Clusters;
use super::pace::CASE_WITHIN;
use super::point::{Case, Fault, Then};
use super::setup::Setup;
use super::simulated_site::{SimulatedSite, Steps, last_pivot};
use super::story::Story;
use super::tour::{outcome, reason};
use super::worker_pool::WorkerPool;
use fulcrum_engine::load::load;
use fulcrum_engine::run::Phase;
use fulcrum_engine::state::{Journal, RunId};
use fulcrum_engine::{Outcome, Run, Silent};
use fulcrum_evidence::verify::Standing;
use fulcrum_steps::guard::{Intervals, Start, boot, carry_on};
use fulcrum_steps::unit::{HOLD_OFF, PATIENCE, UNIT};
use futures::stream::Stream;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The program and the manifests for cases.
#[derive(Clone)]
pub struct FaultRehearsal {
    /// The manifests.
    pub setup: Setup,
    /// What is broken.
    pub story: Story,
    /// The program to run as the child that is broken: `fulcrum`.
    pub program: PathBuf,
    /// The directory for the worlds' own directories.
    pub root: PathBuf,
    /// Steps other than the usual ones, for the process that takes runs up.
    pub steps: Option<Steps>,
}

/// A case that has been tried.
#[derive(Debug, Clone, Serialize)]
pub struct Broken {
    /// The case.
    #[serde(flatten)]
    pub case: Case,
    /// Its result.
    pub verdict: Verdict,
    /// What came of the clients' requests. `None` where there are no clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<Answers>,
    /// How long it took, boot and checks included.
    #[serde(rename = "took_ms", serialize_with = "super::pulse::millis")]
    pub took: Duration,
}

/// The result of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The run was completed, everything self-hosted; then it was rolled back, everything as before.
    Completed,
    /// The run was rolled back, everything as before.
    RolledBack,
    /// The run ended otherwise, or never reached its point. The text says what was seen.
    Failed(String),
}

impl Verdict {
    /// Whether the run ended in the way that was chosen.
    pub fn is_pass(&self) -> bool {
        matches!(self, Self::Completed | Self::RolledBack)
    }
}

impl FaultRehearsal {
    /// Tries the cases, at most `side_by_side` at once. Yields each when it is over. Dropping the stream ends
    /// every child and removes every world. Needs a tokio runtime with threads of its own.
    pub fn try_all(&self, cases: Vec<Case>, side_by_side: usize) -> impl Stream<Item = Broken> + use<> {
        let (rehearsal, clusters) = (self.clone(), Clusters::default());
        WorkerPool::start(cases, side_by_side, async move |case| rehearsal.try_one(case, &clusters).await)
    }

    async fn try_one(&self, case: Case, clusters: &Clusters) -> Broken {
        let began = Instant::now();
        let tried = async {
            match self.setup.nodes() {
                0 | 1 => self.break_and_mend(&case).await.map(|verdict| (verdict, None)),
                _ => {
                    let (place, steps) = ((&self.setup, self.root.as_path()), self.steps.as_ref());
                    let break_in = async |site: &SimulatedSite| self.break_in(site, &case).await;
                    let served = clusters.serve(place, steps, &case, break_in).await;
                    served.map(|(verdict, asked)| (verdict, Some(asked)))
                }
            }
        };
        let tried = tokio::time::timeout(CASE_WITHIN, tried).await;
        let (verdict, requests) = match tried.unwrap_or(Err(RehearsalError::TooLong(CASE_WITHIN))) {
            Ok(verdict) => verdict,
            Err(error) => (Verdict::Failed(error.to_string()), None),
        };
        Broken { case, verdict, requests, took: began.elapsed() }
    }

    async fn break_and_mend(&self, case: &Case) -> Result<Verdict, RehearsalError> {
        let mut world = SimulatedSite::boot(&self.setup, &self.root).await?;
        world.set_on_reboot(case.then);
        if let Some(steps) = &self.steps {
            world.steps = Arc::clone(steps);
        }
        if self.story.is_a_change() {
            return self.break_and_mend_change(&world, case).await;
        }
        self.break_in(&world, case).await
    }

    /// Breaks a run on this node, and brings it to its end.
    async fn break_in(&self, world: &SimulatedSite, case: &Case) -> Result<Verdict, RehearsalError> {
        let in_secrets = self.story == Story::Secrets;
        let keys = if in_secrets { Some(world.keys()?) } else { None };
        let lives = async |run| if in_secrets { world.lives_with_secrets(run).await } else { Ok(()) };
        let mut verb = Verb::Pivot;
        if case.point.when.is_undo() {
            let ending = world.pivot(&world.journal()?, Arc::new(Silent)).await?;
            if outcome(&ending) != Some(Outcome::Completed) {
                return Err(RehearsalError::Ended(format!(
                    "before anything was broken: {}",
                    reason(&ending)
                )));
            }
            lives(ending.run).await?;
            verb = Verb::Rollback;
        }
        world.inject_fault(&self.program, verb, Some((&case.point, case.fault, case.then))).await?;
        if case.point.when.is_signing() && case.fault == Fault::Kill {
            world.is_honest_at(case.point.when).await?;
        }
        let (run, mended) = world.mend_after(case.then, lives).await?;
        if let Some(keys) = keys {
            world.keeps_no_secret(&world.journal()?, run, keys).await?;
        }
        if case.point.when.is_signing() {
            world.signs_with_the_next_run().await?;
        }
        match mended {
            Outcome::Completed => Ok(Verdict::Completed),
            _ => Ok(Verdict::RolledBack),
        }
    }
}

impl SimulatedSite {
    /// Brings the run to its end, forward or back, and checks what it leaves. Then leaves everything as it
    /// was before. Returns how the run ended first.
    ///
    /// # Errors
    /// When the run ends otherwise than it must.
    pub async fn mend(&self, then: Then) -> Result<Outcome, RehearsalError> {
        Ok(self.mend_after(then, async |_| Ok(())).await?.1)
    }

    /// As [`Self::mend`], with something else between a run that is completed and its way back. Returns the run, too.
    async fn mend_after(
        &self,
        then: Then,
        between: impl AsyncFn(RunId) -> Result<(), RehearsalError>,
    ) -> Result<(RunId, Outcome), RehearsalError> {
        let journal = self.journal()?;
        let (run, state) = pivot_in(&journal)?;
        let ended = match (then, over(&state)) {
            (Then::Resume, Some(outcome)) | (Then::Rollback, Some(outcome @ Outcome::RolledBack)) => outcome,
            _ => self.take_up(&journal, run, then).await?,
        };
        drop(journal);
        self.ended_well(ended).await?;
        if ended == Outcome::Completed {
            between(run).await?;
            let back = self.take_up(&self.journal()?, run, Then::Rollback).await?;
            self.ended_well(back).await?;
        }
        self.is_verified(&self.journal()?.reader(), Standing::NotChecked).await?;
        Ok((run, ended))
    }

    /// Another pivot and its way back. The end of each signs all records, also those that an earlier process has
    /// left unsigned.
    async fn signs_with_the_next_run(&self) -> Result<(), RehearsalError> {
        let journal = self.journal()?;
        let pivoted = self.pivot(&journal, Arc::new(Silent)).await?;
        let back = self.rollback(&journal, pivoted.run, Arc::new(Silent)).await?;
        if outcome(&back) != Some(Outcome::RolledBack) {
            return Err(RehearsalError::Ended(format!("otherwise, the next one: {}", reason(&back))));
        }
        self.is_verified(&journal.reader(), Standing::Verified).await
    }

    /// Turns the power off and on. The guard, if it is armed, starts before the kubelet and does its work to
    /// the end.
    ///
    /// # Errors
    /// When the guard cannot do it.
    pub async fn reboot(&self) -> Result<(), RehearsalError> {
        let start = self.loses_power().await?;
        self.has_power_again(start).await
    }

    /// Turns the power off. The guard, if it is armed, starts before the kubelet does.
    pub(super) async fn loses_power(&self) -> Result<Option<Start>, RehearsalError> {
        self.goes_away();
        self.machine().power_off();
        Ok(match self.units.starts(UNIT) {
            true => Some(boot(self, HOLD_OFF).await?),
            false => None,
        })
    }

    /// The kubelet starts, and the guard does the rest of its work.
    pub(super) async fn has_power_again(&self, start: Option<Start>) -> Result<(), RehearsalError> {
        self.machine().power_on();
        self.may_be_back();
        if let Some(start) = start {
            carry_on(self, &start, &Intervals::new(PATIENCE, HOLD_OFF), &CancellationToken::new()).await?;
        }
        Ok(())
    }

    /// Another session on the run, to its end.
    pub(super) async fn take_up(
        &self,
        journal: &Journal,
        run: RunId,
        then: Then,
    ) -> Result<Outcome, RehearsalError> {
        journal.reader().verify(run)?;
        let ending = match then {
            Then::Resume => self.resume(journal, run).await?,
            Then::Rollback => self.rollback(journal, run, Arc::new(Silent)).await?,
        };
        match outcome(&ending) {
            Some(Outcome::NeedsOperator) | None => {
                Err(RehearsalError::Ended(format!("otherwise: {}", reason(&ending))))
            }
            Some(outcome) if then == Then::Rollback && outcome != Outcome::RolledBack => {
                Err(RehearsalError::Ended(format!("as {outcome} when it was to be rolled back")))
            }
            Some(outcome) => Ok(outcome),
        }
    }
}

fn pivot_in(journal: &Journal) -> Result<(RunId, Run), RehearsalError> {
    let run = last_pivot(journal)?;
    let run = run.ok_or_else(|| RehearsalError::Child("it has begun no run".to_owned()))?;
    Ok((run, load(&journal.reader(), run)?))
}

pub(super) fn over(state: &Run) -> Option<Outcome> {
    match state.phase() {
        Phase::Ended(outcome @ (Outcome::Completed | Outcome::RolledBack), _) => Some(*outcome),
        _ => None,
    }
}
