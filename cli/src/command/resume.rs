//! `fulcrum resume`.

use super::all_nodes;
use super::carry_on::{check_breakpoints, conclude_at, engine};
use super::step_by_step::{Begin, ask, require_terminal, step_by_step};
use super::take_up::{Asked, Meant, TakenUp, take_lock, take_up};
use crate::args::{Global, Resume};
use crate::exit::{Exit, Failure};
use crate::journal::{pace, read_journal};
use crate::render::Forecast;
use crate::shell::Shell;
use fulcrum_engine::{Run, Status, StepId};
use fulcrum_steps::plan::PIVOT;
use fulcrum_steps::run_info::LockPurpose;
use fulcrum_steps::settings::Settings;
use std::path::Path;
use std::sync::Arc;

pub(crate) async fn resume(global: &Global, args: &Resume, shell: &Shell) -> Result<Exit, Failure> {
    if args.all.all_nodes {
        return all_nodes::resume(global, args, shell).await;
    }
    require_terminal(args.step_by_step)?;
    let asked = Asked {
        state_dir: &global.state_dir,
        command: LockPurpose::Resume,
        run: args.run.as_deref(),
        is_over: Run::is_over,
    };
    let TakenUp { meant, site } = match take_up(asked, args.kubeconfig.as_ref(), shell).await? {
        Ok(taken) => taken,
        Err(exit) => return Ok(exit),
    };
    check_breakpoints(meant.state.plan(), &args.pause_after)?;
    let forecast = forecast(&meant, &site.settings, &global.state_dir);
    let (run, undoing) = (meant.run, meant.state.rollback().is_some());
    if !args.consent.yes {
        let direction = if undoing { "undoing" } else { "with" };
        shell.confirm(&format!("Go on {direction} run {run} on node {}?", site.settings.node))?;
    }
    let (journal, _) = asked.open(meant)?;
    take_lock(&site, run, args.lock, shell).await?;
    let (site, reader) = (Arc::new(site), journal.reader());
    let (engine, progress) = engine(journal, &site, &args.pause_after, forecast, shell).await?;
    let ending = match args.step_by_step {
        true => {
            let ask = async |next: &[StepId]| ask(site.settings.handover, next, &progress, shell).await;
            step_by_step(engine, Begin::Resume(run), &reader, ask).await
        }
        false => engine.resume(run).await.map(|ending| (ending.run, ending.phase)),
    };
    conclude_at(ending, &progress, shell).map(|exit| match exit {
        // The person asked to undo.
        Exit::Undone if undoing => Exit::Done,
        other => other,
    })
}

/// What is left of a pivot that goes forward.
fn forecast(meant: &Meant, settings: &Settings, state_dir: &Path) -> Option<Forecast> {
    if meant.state.plan().workflow() != PIVOT || meant.state.rollback().is_some() {
        return None;
    }
    let pace = pace(read_journal(state_dir, LockPurpose::Resume).ok().as_ref(), settings)?;
    let done = meant.state.steps().filter(|(_, state)| state.status == Status::Done);
    Some(Forecast::new(meant.state.plan(), pace, done.map(|(spec, _)| spec.id.clone())))
}
