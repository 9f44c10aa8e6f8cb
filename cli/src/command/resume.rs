//! `fulcrum resume`.

use super::carry_on::{check_breakpoints, conclude, engine, nothing_to_do};
use crate::args::{Global, Resume};
use crate::exit::{Exit, Failure};
use crate::shell::Shell;
use crate::world::{
    access, find_run, open_journal, refuse_another_cluster, refuse_if_followed, require_root, site,
};
use fulcrum_engine::load::load;
use fulcrum_engine::run::Run;
use fulcrum_steps::site::Settings;

pub(crate) async fn resume(global: &Global, args: &Resume, shell: &Shell) -> Result<Exit, Failure> {
    require_root()?;
    let journal = open_journal(&global.state_dir, "resume")?;
    let Some(run) = find_run(&journal, args.run.as_deref())? else {
        return Ok(nothing_to_do(None, "no run has been started here", shell));
    };
    let state = load(&journal, run)?;
    if state.is_over() {
        return Ok(nothing_to_do(Some(run), &format!("run {run} is {}", state.phase()), shell));
    }
    refuse_if_followed(&journal, run)?;
    check_breakpoints(state.plan(), &args.pause_after)?;
    let settings = settings(&state)?;
    let (access, host) = access(args.kubeconfig.as_ref().unwrap_or(&settings.kubeconfig)).await?;
    refuse_another_cluster(&access.cluster, &settings).await?;
    if !args.consent.yes {
        let direction = if state.unwinding().is_some() { "undoing" } else { "with" };
        shell.confirm(&format!("Go on {direction} run {run} on node {}?", settings.node))?;
    }
    let site = site(settings, &access, host, &global.state_dir);
    let (engine, progress) = engine(journal, &site, &args.pause_after, shell).await?;
    let rollback = state.unwinding().is_some();
    conclude(engine.resume(run).await, &progress, shell).map(|exit| match exit {
        // Undoing is what was asked for.
        Exit::Undone if rollback => Exit::Done,
        other => other,
    })
}

/// What was decided when the run was planned.
pub(super) fn settings(state: &Run) -> Result<Settings, Failure> {
    serde_json::from_value(state.plan().shared().clone()).map_err(|error| {
        let program = state.session().map_or("?", |session| session.program.as_str());
        let text = format!(
            "the settings stored with the run are not understood ({error}); it was started by {program}"
        );
        Failure::new(Exit::Damaged, anyhow::anyhow!(text))
    })
}
