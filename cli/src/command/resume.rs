//! `fulcrum resume`.

use super::carry_on::{check_breakpoints, conclude, engine};
use super::take_up::{TakenUp, take_up};
use crate::args::{Global, Resume};
use crate::exit::{Exit, Failure};
use crate::shell::Shell;
use fulcrum_engine::Run;
use fulcrum_steps::run_info::LockPurpose;

pub(crate) async fn resume(global: &Global, args: &Resume, shell: &Shell) -> Result<Exit, Failure> {
    let (said, kubeconfig) = (args.run.as_deref(), args.kubeconfig.as_ref());
    let taken = take_up(global, LockPurpose::Resume, said, kubeconfig, Run::is_over, shell).await?;
    let TakenUp { journal, run, state, site, .. } = match taken {
        Ok(taken) => taken,
        Err(exit) => return Ok(exit),
    };
    check_breakpoints(state.plan(), &args.pause_after)?;
    let undoing = state.rollback().is_some();
    if !args.consent.yes {
        let direction = if undoing { "undoing" } else { "with" };
        shell.confirm(&format!("Go on {direction} run {run} on node {}?", site.settings.node))?;
    }
    let (engine, progress) = engine(journal, &site, &args.pause_after, shell).await?;
    conclude(engine.resume(run).await, &progress, shell).map(|exit| match exit {
        // The person asked to undo.
        Exit::Undone if undoing => Exit::Done,
        other => other,
    })
}
