//! The checks themselves.

use super::crash::Death;
use super::meddler::Meddling;
use super::stage::{Broken, Go, Stage, World};
use crate::event::{Event, Outcome};
use crate::plan::StepId;

/// Runs each step twice in a row, one at a time, each in a fresh world. The run ends, and the world looks, as
/// after running each step once. Both runs share the timeout of one attempt.
///
/// # Errors
/// [`Broken`], with the step.
pub async fn every_run_twice_is_as_once<W: World>() -> Result<(), Broken> {
    let alone = Alone::<W>::seen().await?;
    for step in steps::<W>().await {
        let at = format!("step {step} run twice");
        let stage = Stage::<W>::new(Some((step, Meddling::RunTwice))).await;
        stage.process(&at, Go::Forward, None).await?;
        stage.check(&at, alone.outcome, &alone.seen).await?;
    }
    Ok(())
}

/// Has each step fail for good, before its effect and after it, each in a fresh world. The run is rolled
/// back, and the world looks as before.
///
/// # Errors
/// [`Broken`], with the step.
pub async fn failure_at_every_step_rolls_back_to_nothing<W: World>() -> Result<(), Broken> {
    for step in steps::<W>().await {
        for (how, when) in [(Meddling::FailBefore, "before"), (Meddling::FailAfter, "after")] {
            let at = format!("step {step} failing {when} its effect");
            let stage = Stage::<W>::new(Some((step.clone(), how))).await;
            stage.process(&at, Go::Forward, None).await?;
            stage.check(&at, Outcome::RolledBack, &stage.before).await?;
        }
    }
    Ok(())
}

/// Completes the run and undoes it, with each step's undo twice in a row, one at a time, each in a fresh
/// world. The world looks as before. Both undos share the timeout of one.
///
/// # Errors
/// [`Broken`], with the step.
pub async fn every_undo_twice_is_as_once<W: World>() -> Result<(), Broken> {
    for step in steps::<W>().await {
        let at = format!("step {step} undone twice");
        let stage = Stage::<W>::new(Some((step, Meddling::UndoTwice))).await;
        stage.process(&at, Go::Forward, None).await?;
        stage.process(&at, Go::Back, None).await?;
        stage.check(&at, Outcome::RolledBack, &stage.before).await?;
    }
    Ok(())
}

/// Cuts two runs after every `stride`-th entry of their journals (1: after every one): one run that completes
/// and is then undone, and one whose last step fails. Each cut has a fresh world, in which everything was
/// done that the entries say. Where the last entry is an intent, there is a case without its effect and one
/// with it. From there the run is resumed, and it is undone: once to the end, and once dying after the first
/// entry and going on from there. The run ends as its entries say, and the world looks as it should.
///
/// A run may wait. Then its process ends. What a step asks is answered by [`World::answer`], and while a run waits
/// for a time, the clock is set forward. The entries of child runs are cut like those of the run itself, and so
/// are decisions.
///
/// That is some 10 runs for each entry. In a slow world, a larger stride makes fewer runs.
///
/// # Errors
/// [`Broken`], with the entry, the state of the world, and the actions from there.
pub async fn prefixes_recover<W: World>(stride: usize) -> Result<(), Broken> {
    let alone = Alone::<W>::seen().await?;
    let last = steps::<W>().await.pop().map(|step| (step, Meddling::FailAfter));
    for (with, which) in [(None, "there and back"), (last, "failing in its last step")] {
        let stage = Stage::<W>::new(with.clone()).await;
        history(&stage, which, None).await?;
        for (entry, (_, event)) in (1..).zip(stage.entries()).step_by(stride.max(1)) {
            let intent = matches!(event, Event::AttemptStarted { .. } | Event::UndoStarted { .. });
            for late in [false, true] {
                if intent || !late {
                    let death = Death { entry, late };
                    prefix_recovers::<W>(death, with.as_ref(), which, &alone).await?;
                }
            }
        }
    }
    Ok(())
}

async fn prefix_recovers<W: World>(
    death: Death,
    with: Option<&(StepId, Meddling)>,
    which: &str,
    alone: &Alone<W>,
) -> Result<(), Broken> {
    for (go, verb) in [(Go::Forward, "resumed"), (Go::Back, "undone")] {
        for dies_again in [false, true] {
            let stage = Stage::<W>::new(with.cloned()).await;
            let Death { entry, late } = death;
            history(&stage, which, Some(death)).await?;
            let (entries, cut_off) = (stage.entries(), stage.events());
            let newest = entries.last().map(|(_, event)| format!("{event:?}")).unwrap_or_default();
            let effect = if late { " and what follows from it" } else { "" };
            let again = if dies_again { " dying once more" } else { "" };
            let at = format!("the run {which}, cut after entry {entry} ({newest}){effect}, {verb}{again}");
            if dies_again {
                let next = Death { entry: entries.len() + 1, late: false };
                stage.process(&at, go, Some(next)).await?;
            }
            stage.process(&at, go, None).await?;
            let back = cut_off
                .iter()
                .any(|event| matches!(event, Event::RollbackStarted { .. } | Event::AttemptFailed { .. }));
            let over = matches!(cut_off.last(), Some(Event::Ended { .. })) && go == Go::Forward;
            // A step that fails after its effect, and dies before it could say so, is found to be done.
            if back || go == Go::Back || (with.is_some() && stage.outcome() == Some(Outcome::RolledBack)) {
                stage.check(&at, Outcome::RolledBack, &stage.before).await?;
            } else if !over {
                // After a completed run, what lived in the process is gone. That is allowed.
                stage.check(&at, alone.outcome, &alone.seen).await?;
            }
            let entries = stage.entries().len();
            stage.process(&at, Go::Forward, None).await?;
            if stage.entries().len() > entries {
                return Err(Broken::GoesOn { at });
            }
        }
    }
    Ok(())
}

/// Runs the plan, and undoes it if it completed, up to the death.
async fn history<W: World>(stage: &Stage<W>, which: &str, death: Option<Death>) -> Result<(), Broken> {
    let at = format!("the run {which}");
    if stage.process(&at, Go::Forward, death).await? && stage.outcome() != Some(Outcome::RolledBack) {
        stage.process(&at, Go::Back, death).await?;
    }
    Ok(())
}

/// How the run ends if no test meddles with it, and what the world then looks like.
struct Alone<W: World> {
    outcome: Outcome,
    seen: W::Seen,
}

impl<W: World> Alone<W> {
    async fn seen() -> Result<Self, Broken> {
        let stage = Stage::<W>::new(None).await;
        let at = "the run, left alone";
        stage.process(at, Go::Forward, None).await?;
        let seen = stage.world.seen().await;
        match stage.outcome() {
            // An answer of the world may have it rolled back.
            Some(outcome @ Outcome::RolledBack) if stage.was_refused() => {
                stage.check(at, outcome, &stage.before).await?;
                Ok(Self { outcome, seen })
            }
            _ => {
                stage.check(at, Outcome::Completed, &seen).await?;
                Ok(Self { outcome: Outcome::Completed, seen })
            }
        }
    }
}

async fn steps<W: World>() -> Vec<StepId> {
    W::fresh().await.plan().steps().iter().map(|spec| spec.id.clone()).collect()
}
