//! Breaks changes of a self-hosted control plane.

use super::begun::{Begun, is_a_change};
use super::child::Verb;
use super::crash::{FaultRehearsal, Verdict, over};
use super::error::RehearsalError;
use super::point::{Case, Fault, Then};
use super::simulated_site::SimulatedSite;
use super::tour::{outcome, reason};
use fulcrum_engine::load::load;
use fulcrum_engine::state::{Journal, RunId};
use fulcrum_engine::{Outcome, Run, Silent};
use fulcrum_evidence::verify::Standing;
use fulcrum_steps::guard::decide::Next;
use fulcrum_steps::guard::{Intervals, boot, carry_on};
use fulcrum_steps::unit::{HOLD_OFF, PATIENCE};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// After a power cut the guard goes on with the change, and then hands over. More runs than these are not its own.
const RUNS_OF_THE_GUARD: u32 = 4;

impl FaultRehearsal {
    /// Pivots, breaks the change, and brings it to its end; then takes both back.
    pub(super) async fn break_and_mend_change(
        &self,
        world: &SimulatedSite,
        case: &Case,
    ) -> Result<Verdict, RehearsalError> {
        let begun = world.begin(self.story, self.setup.version()).await?;
        let (mut verb, mut change) = (Verb::Change, Some(begun.change.clone()));
        if case.point.when.is_undo() {
            let ending = world.carry_out(&world.journal()?, &begun, Arc::new(Silent)).await?;
            if outcome(&ending) != Some(Outcome::Completed) {
                let seen = format!("before anything was broken: {}", reason(&ending));
                return Err(RehearsalError::Ended(seen));
            }
            (verb, change) = (Verb::Rollback, None);
        }
        let place = Some((&case.point, case.fault, case.then));
        world.inject_fault_in(&self.program, (verb, change), place).await?;
        if case.fault == Fault::Reboot {
            world.guard_goes_on().await?;
        }
        let ended = world.mend_change(&begun, case.then).await?;
        world.goes_back_to_static(&begun).await?;
        match ended {
            Outcome::Completed => Ok(Verdict::Completed),
            _ => Ok(Verdict::RolledBack),
        }
    }
}

impl SimulatedSite {
    /// Brings the change to its end, forward or back, checks what it leaves, and takes it back.
    async fn mend_change(&self, begun: &Begun, then: Then) -> Result<Outcome, RehearsalError> {
        let journal = self.journal()?;
        let (run, state) = last_change(&journal)?;
        let ended = match (then, over(&state)) {
            (Then::Resume, Some(outcome)) | (Then::Rollback, Some(outcome @ Outcome::RolledBack)) => outcome,
            _ => self.take_up(&journal, run, then).await?,
        };
        self.change_stands(begun, ended).await?;
        if ended == Outcome::Completed {
            let back = self.take_up(&journal, run, Then::Rollback).await?;
            self.change_stands(begun, back).await?;
        }
        Ok(ended)
    }

    async fn goes_back_to_static(&self, begun: &Begun) -> Result<(), RehearsalError> {
        let journal = self.journal()?;
        let back = self.take_up(&journal, begun.pivot, Then::Rollback).await?;
        self.ended_well(back).await?;
        self.is_verified(&journal.reader(), Standing::NotChecked).await
    }

    /// What the guard does after its first run of this boot, until nothing is left to do but to watch.
    pub(super) async fn guard_goes_on(&self) -> Result<(), RehearsalError> {
        for _ in 0..RUNS_OF_THE_GUARD {
            let start = boot(self, HOLD_OFF).await?;
            if matches!(start.decision.next, Next::Watch | Next::Rest) {
                return Ok(());
            }
            let intervals = Intervals::new(PATIENCE, HOLD_OFF);
            carry_on(self, &start, &intervals, &CancellationToken::new()).await?;
        }
        Err(RehearsalError::Ended(format!("never: the guard had more than {RUNS_OF_THE_GUARD} runs")))
    }
}

fn last_change(journal: &Journal) -> Result<(RunId, Run), RehearsalError> {
    let header = journal.reader().runs()?.into_iter().rfind(|header| is_a_change(&header.kind));
    let run = header.ok_or_else(|| RehearsalError::Child("it has begun no run".to_owned()))?.run;
    Ok((run, load(&journal.reader(), run)?))
}
