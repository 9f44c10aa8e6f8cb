//! `fulcrum rollback`.

use super::carry_on::{conclude, engine, nothing_to_do};
use super::resume::settings;
use crate::args::{Global, Rollback};
use crate::exit::{Exit, Failure};
use crate::shell::Shell;
use crate::world::{
    access, find_run, open_journal, refuse_another_cluster, refuse_if_followed, require_root, site,
};
use fulcrum_engine::load::load;

pub(crate) async fn rollback(global: &Global, args: &Rollback, shell: &Shell) -> Result<Exit, Failure> {
    require_root()?;
    let journal = open_journal(&global.state_dir, "rollback")?;
    let Some(run) = find_run(&journal, args.run.as_deref())? else {
        return Ok(nothing_to_do(None, "no run has been started here", shell));
    };
    let state = load(&journal, run)?;
    if state.is_rolled_back() {
        return Ok(nothing_to_do(Some(run), &format!("run {run} is {}", state.phase()), shell));
    }
    refuse_if_followed(&journal, run)?;
    let settings = settings(&state)?;
    let (access, host) = access(args.kubeconfig.as_ref().unwrap_or(&settings.kubeconfig)).await?;
    refuse_another_cluster(&access.cluster, &settings).await?;
    if !args.consent.yes {
        shell.confirm(&format!("Undo run {run} ({}) on node {}?", state.phase(), settings.node))?;
    }
    let site = site(settings, &access, host, &global.state_dir);
    let (engine, progress) = engine(journal, &site, &[], shell).await?;
    if let Some(limit) = args.timeout {
        let control = engine.control();
        tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            control.pause(format!("not done within {limit:?}"));
        });
    }
    conclude(engine.unwind(run, "rollback was asked for").await, &progress, shell).map(|exit| match exit {
        Exit::Undone => Exit::Done,
        other => other,
    })
}
