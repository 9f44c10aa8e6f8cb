//! `--step-by-step`: the run pauses before each cut, and goes on with a person's yes.
//!
//! The pause is in the journal. If the command is killed while a person thinks, the run is paused, and
//! `fulcrum resume` goes on with it.

use super::carry_on::signals;
use crate::exit::Failure;
use crate::render::Progress;
use crate::shell::Shell;
use fulcrum_engine::load::load;
use fulcrum_engine::run::Phase;
use fulcrum_engine::state::{Reader, RunId};
use fulcrum_engine::{
    Ending, Engine, EngineError, PauseCause, Plan, Run, Status, StepId, StepSpec, StepState,
};
use fulcrum_steps::plan::{before, cuts, story};
use fulcrum_steps::settings::HandoverMode;
use fulcrum_steps::step_name::{StepName, shown};
use std::collections::BTreeSet;
use std::io::{BufRead, IsTerminal};

/// The run that is carried on.
pub(super) enum Begin {
    /// A new one.
    Start(Plan),
    /// One that the journal has.
    Resume(RunId),
}

/// Refuses before anything begins if no person can be asked.
pub(super) fn require_terminal(step_by_step: bool) -> Result<(), Failure> {
    match step_by_step && !std::io::stdin().is_terminal() {
        true => Err(Failure::refused(
            "--step-by-step asks on a terminal, and stdin is none; --pause-after STEP pauses without a question",
        )),
        false => Ok(()),
    }
}

/// Carries the run on until it ends, or a person says no before a cut. It is then paused.
pub(super) async fn step_by_step(
    mut engine: Engine,
    begin: Begin,
    journal: &Reader,
    mut ask: impl AsyncFnMut(&[StepId]) -> bool,
) -> Result<(RunId, Phase), EngineError> {
    let run = match begin {
        Begin::Start(plan) => {
            engine = engine.pause_after(before(&plan, cuts(&plan)));
            let ending = engine.start(plan).await?;
            if !is_breakpoint(&ending) {
                return Ok((ending.run, ending.phase));
            }
            ending.run
        }
        Begin::Resume(run) => run,
    };
    let mut allowed = BTreeSet::new();
    loop {
        let state = load(journal, run)?;
        let next: Vec<StepId> = next_cuts(&state).filter(|cut| !allowed.contains(cut)).collect();
        if !next.is_empty() && !ask(&next).await {
            let reason = format!("before {}: not confirmed", names(&next));
            return Ok((run, Phase::Paused { reason, cause: PauseCause::Person }));
        }
        allowed.extend(next);
        let others = cuts(state.plan()).filter(|cut| !allowed.contains(&cut.id));
        engine = engine.pause_after(before(state.plan(), others));
        let ending = engine.resume(run).await?;
        if !is_breakpoint(&ending) {
            return Ok((run, ending.phase));
        }
    }
}

fn is_breakpoint(ending: &Ending) -> bool {
    matches!(ending.phase, Phase::Paused { cause: PauseCause::Breakpoint, .. })
}

/// The cuts that begin if the run goes on. On the way back there are none.
fn next_cuts(run: &Run) -> impl Iterator<Item = StepId> {
    let is_done = |step: &StepId| {
        run.state(step).is_some_and(|state| matches!(state.status, Status::Done | Status::NeedsProbe))
    };
    let is_new = |cut: &StepSpec| !run.state(&cut.id).is_some_and(StepState::started);
    let is_next = move |cut: &&StepSpec| is_new(cut) && cut.after.iter().all(is_done);
    cuts(run.plan()).filter(is_next).filter(|_| run.rollback().is_none()).map(|cut| cut.id.clone())
}

fn names(steps: &[StepId]) -> String {
    steps.iter().map(shown).collect::<Vec<_>>().join(", ")
}

/// Asks a person on the terminal. A signal is a no: the run stays paused.
pub(super) async fn ask(handover: HandoverMode, next: &[StepId], progress: &Progress, shell: &Shell) -> bool {
    let _room = progress.question();
    for step in next {
        let kind = StepName::parse(step.as_str()).map(StepName::kind);
        let Some(story) = kind.and_then(|kind| story(kind, handover)) else { continue };
        shell.talk(format_args!("next: {}: {}", shown(step), story.does));
        shell.talk(format_args!("      cost: {}; undo: {}", story.costs, story.undone));
    }
    shell.ask("Go on? [y/N] ");
    let (tell, told) = tokio::sync::oneshot::channel();
    // A thread of its own: a read of the terminal cannot be taken back, and must not hold up the end.
    let reading = std::thread::Builder::new().name("question".into()).spawn(move || {
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer);
        let _ = tell.send(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"));
    });
    let (Ok(_), Ok([mut interrupt, mut terminate, _])) = (reading, signals()) else { return false };
    tokio::select! {
        answer = told => answer.unwrap_or(false),
        _ = interrupt.recv() => false,
        _ = terminate.recv() => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulcrum_engine::Outcome;
    use fulcrum_simulator::rehearsal::{SOON, Setup, SimulatedSite, Version};
    use fulcrum_steps::plan;

    async fn boot(root: &std::path::Path) -> SimulatedSite {
        let world = SimulatedSite::boot(&Setup::built_in(Version::DEFAULT).unwrap(), root).await.unwrap();
        world.settle().await.unwrap();
        world
    }

    /// Asked before each cut and at no other step; a no leaves the run paused before that cut, and a later
    /// command goes on there, asking for what is left.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_person_is_asked_before_each_cut_and_a_no_pauses() {
        let dir = tempfile::tempdir().unwrap();
        let world = boot(dir.path()).await;
        let settings = world.preflight().await.unwrap().settings;
        let plan = plan::pivot(&settings, SOON).unwrap();
        let journal = world.journal().unwrap();
        let reader = journal.reader();
        let engine = world.engine(&journal, settings.clone()).await.unwrap();
        let mut asked: Vec<String> = Vec::new();
        let say = |asked: &mut Vec<String>, next: &[StepId]| asked.extend(next.iter().map(shown));
        let ending = step_by_step(engine, Begin::Start(plan), &reader, async |next: &[StepId]| {
            say(&mut asked, next);
            next.iter().all(|step| step.as_str() == "switch")
        });
        let (run, phase) = ending.await.unwrap();
        assert!(matches!(phase, Phase::Paused { .. }), "{phase}");
        assert_eq!(asked[0], "switch");
        let state = load(&reader, run).unwrap();
        assert!(matches!(state.phase(), Phase::Paused { .. }), "{}", state.phase());
        let retired = |state: &Run| {
            state
                .steps()
                .filter(|(spec, state)| shown(&spec.id).starts_with("retire") && state.started())
                .count()
        };
        assert_eq!(
            (state.state(&"switch".into()).unwrap().status.clone(), retired(&state)),
            (Status::Done, 0)
        );
        let engine = world.engine(&journal, settings).await.unwrap();
        asked.clear();
        let resumed = step_by_step(engine, Begin::Resume(run), &reader, async |next: &[StepId]| {
            say(&mut asked, next);
            true
        });
        let (_, phase) = resumed.await.unwrap();
        assert!(matches!(phase, Phase::Ended(Outcome::Completed, _)), "{phase}");
        asked.sort();
        let retire =
            ["apiserver", "controller-manager", "scheduler"].map(|c| format!("retire-static/kube-{c}"));
        assert_eq!(asked, retire);
    }
}
