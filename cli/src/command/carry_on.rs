//! The common parts of `pivot`, `resume` and `rollback`: signals, progress, and the meaning of a run's end.

use crate::env::PROGRAM;
use crate::exit::{Exit, Failure};
use crate::render::{Forecast, Progress};
use crate::shell::Shell;
use fulcrum_engine::Control;
use fulcrum_engine::run::Phase;
use fulcrum_engine::state::{Journal, RunId};
use fulcrum_engine::{Ending, Engine, EngineError, Observer, Outcome, PauseCause};
use fulcrum_steps::sealer::Sealer;
use fulcrum_steps::site::Site;
use fulcrum_steps::step::library;
use fulcrum_steps::step_name::{reworded, shown, stored};
use std::io::Write;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The exit code after a second signal: the one of a shell for SIGINT.
const LEAVE_AT_ONCE: i32 = Exit::Interrupted as i32;

/// An engine on `site`, which signals pause, and the display of its progress. While it is there, the API is
/// asked how it answers.
pub(super) async fn engine(
    journal: Journal,
    site: &Arc<Site>,
    pause_after: &[String],
    forecast: Option<Forecast>,
    shell: &Shell,
) -> Result<(Engine, Arc<Progress>), Failure> {
    let session = crate::env::session(site.node.host.as_ref()).await?;
    let progress = Arc::new(Progress::new(shell, forecast));
    progress.watch_api(&site.cluster);
    let watching: Arc<dyn Observer> = Arc::clone(&progress) as _;
    let sealer = Sealer::new(Arc::clone(site), PROGRAM, |line| {
        // As all talk: a terminal that has gone away is no reason to stop.
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    });
    let engine = sealer
        .attached(Engine::new(journal, library(Arc::clone(site)), session).observer(watching))
        .pause_after(pause_after.iter().map(|step| stored(step)));
    pause_on_signals(engine.control())?;
    Ok((engine, progress))
}

/// Checks that breakpoints name steps that the plan has.
pub(super) fn check_breakpoints(plan: &fulcrum_engine::Plan, pause_after: &[String]) -> Result<(), Failure> {
    match pause_after.iter().find(|step| plan.step(&stored(step)).is_none()) {
        None => Ok(()),
        Some(step) => {
            let known: Vec<String> = plan.steps().iter().map(|step| shown(&step.id)).collect();
            Err(Failure::refused(format!(
                "--pause-after {step}: no such step; there are {}",
                known.join(", ")
            )))
        }
    }
}

/// Says how the run ended; the exit code says it too.
pub(super) fn conclude(
    ending: Result<Ending, EngineError>,
    progress: &Progress,
    shell: &Shell,
) -> Result<Exit, Failure> {
    conclude_at(ending.map(|ending| (ending.run, ending.phase)), progress, shell)
}

/// Says where this run stands now, as [`conclude`] does.
pub(super) fn conclude_at(
    ending: Result<(RunId, Phase), EngineError>,
    progress: &Progress,
    shell: &Shell,
) -> Result<Exit, Failure> {
    progress.finish();
    let (run, phase) = ending?;
    let (exit, outcome, reason) = match &phase {
        Phase::Ended(Outcome::Completed, reason) => (Exit::Done, "completed", reworded(reason)),
        Phase::Ended(Outcome::RolledBack, reason) => (Exit::Undone, "rolled-back", reworded(reason)),
        Phase::Ended(Outcome::NeedsOperator, reason) => {
            (Exit::NeedsOperator, "needs-operator", reworded(reason))
        }
        Phase::Paused { reason, .. } => (Exit::Paused, "paused", reworded(reason)),
        other => (Exit::Other, "unfinished", other.to_string()),
    };
    let api = progress.api();
    if shell.json() {
        let api = api.as_ref().map(|api| {
            let slowest = u64::try_from(api.slowest.as_millis()).unwrap_or(u64::MAX);
            serde_json::json!({ "asked": api.asked, "answered": api.answered, "slowest_ms": slowest })
        });
        shell.data_json(
            &serde_json::json!({ "event": "finished", "run": run, "outcome": outcome, "reason": reason, "api": api }),
        );
    }
    if let Some(api) = api {
        shell.talk(format_args!("  {}", api.words()));
    }
    shell.talk(format_args!("run {run}: {outcome}: {reason}"));
    match exit {
        // Without a run, a rollback means the last pivot.
        Exit::Paused => {
            shell.talk(format_args!("`fulcrum resume` goes on, `fulcrum rollback {run}` undoes it"));
        }
        Exit::Undone => shell.talk(format_args!(
            "`fulcrum history {run}` says what was done, and `fulcrum doctor` whether all is well again"
        )),
        Exit::NeedsOperator => shell.talk(
            "settle what the message names, then `fulcrum resume` tries again; `fulcrum history` shows what was done",
        ),
        _ => {}
    }
    Ok(exit)
}

/// Says that nothing is left to do, in words and to programs.
pub(super) fn nothing_to_do(run: Option<RunId>, why: &str, shell: &Shell) -> Exit {
    if shell.json() {
        shell.data_json(&serde_json::json!({ "event": "nothing-to-do", "run": run, "reason": why }));
    }
    shell.talk(format_args!("nothing to do: {why}"));
    Exit::Done
}

/// The first SIGINT or SIGTERM pauses at a safe point, the second leaves at once. SIGHUP is no reason to
/// stop: the connection of the person who started this has gone, and the run goes on without them.
fn pause_on_signals(control: Control) -> Result<(), Failure> {
    let [mut interrupt, mut terminate, mut hangup] = signals()?;
    tokio::spawn(async move {
        let mut asked = false;
        loop {
            let (name, cause) = tokio::select! {
                Some(()) = interrupt.recv() => ("SIGINT", PauseCause::Person),
                Some(()) = terminate.recv() => ("SIGTERM", PauseCause::Signal),
                Some(()) = hangup.recv() => continue,
                else => return,
            };
            if asked {
                std::process::exit(LEAVE_AT_ONCE);
            }
            asked = true;
            control.pause(name, cause);
        }
    });
    Ok(())
}

/// SIGINT, SIGTERM, SIGHUP.
pub(super) fn signals() -> std::io::Result<[Signal; 3]> {
    Ok([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?])
}
