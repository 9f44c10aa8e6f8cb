//! `fulcrum resume`.

use super::all_nodes;
use super::carry_on::{check_breakpoints, conclude, engine};
use super::take_up::{Asked, TakenUp, take_lock, take_up};
use crate::args::{Global, Resume};
use crate::exit::{Exit, Failure};
use crate::shell::Shell;
use fulcrum_engine::Run;
use fulcrum_steps::run_info::LockPurpose;
use std::sync::Arc;

pub(crate) async fn resume(global: &Global, args: &Resume, shell: &Shell) -> Result<Exit, Failure> {
    if args.all.all_nodes {
        return all_nodes::resume(global, args, shell).await;
    }
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
    let (run, undoing) = (meant.run, meant.state.rollback().is_some());
    if !args.consent.yes {
        let direction = if undoing { "undoing" } else { "with" };
        shell.confirm(&format!("Go on {direction} run {run} on node {}?", site.settings.node))?;
    }
    let (journal, _) = asked.open(meant)?;
    take_lock(&site, run, args.lock, shell).await?;
    let site = Arc::new(site);
    let (engine, progress) = engine(journal, &site, &args.pause_after, shell).await?;
    conclude(engine.resume(run).await, &progress, shell).map(|exit| match exit {
        // The person asked to undo.
        Exit::Undone if undoing => Exit::Done,
        other => other,
    })
}
