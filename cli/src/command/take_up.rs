//! The beginning of `resume` and `rollback`: the journal, the run that is meant, and its cluster.

use super::carry_on::nothing_to_do;
use crate::args::Global;
use crate::env::{access, refuse_another_cluster, require_root, site};
use crate::exit::{Exit, Failure};
use crate::journal::{find_run, followers, last_pivot, open_journal};
use crate::shell::Shell;
use fulcrum_engine::Run;
use fulcrum_engine::load::load;
use fulcrum_engine::state::{Journal, RunId};
use fulcrum_steps::run_info::{LockPurpose, RollbackMode, RunInfo};
use fulcrum_steps::settings::Settings;
use fulcrum_steps::site::Site;
use std::path::PathBuf;
use std::sync::Arc;

/// A run that the command will carry on.
pub(super) struct TakenUp {
    pub(super) journal: Journal,
    pub(super) run: RunId,
    pub(super) state: Run,
    pub(super) site: Arc<Site>,
    /// The guard's own runs after it that are unfinished, newest first.
    pub(super) followers: Vec<RunId>,
}

/// Finds the run for `command`. `Err(Exit)` inside if there is none, or it is over already.
pub(super) async fn take_up(
    global: &Global,
    command: LockPurpose,
    said: Option<&str>,
    kubeconfig: Option<&PathBuf>,
    is_over: impl Fn(&Run) -> bool,
    shell: &Shell,
) -> Result<Result<TakenUp, Exit>, Failure> {
    require_root()?;
    let journal = open_journal(&global.state_dir, command)?;
    // A rollback means a pivot: the guard's own runs go with it.
    let meant = match (command, said) {
        (LockPurpose::Rollback, None) => last_pivot(&journal)?,
        _ => find_run(&journal, said)?,
    };
    let Some(run) = meant else {
        return Ok(Err(nothing_to_do(None, "no run has been started here", shell)));
    };
    let state = load(&journal.reader(), run)?;
    if is_over(&state) {
        return Ok(Err(nothing_to_do(Some(run), &format!("run {run} is {}", state.phase()), shell)));
    }
    let followers = followers(&journal, run)?;
    if let (Some(later), true) = (followers.first(), command != LockPurpose::Rollback) {
        let text = format!(
            "run {later} of the guard came after run {run}; `fulcrum resume` without a run goes on with it"
        );
        return Err(Failure::refused(text));
    }
    let settings = settings(&state)?;
    let (access, host) = access(kubeconfig.unwrap_or(&settings.kubeconfig)).await?;
    refuse_another_cluster(&access.cluster, &settings).await?;
    let mut site = site(settings, &access, host, &global.state_dir);
    site.rollback_mode = RollbackMode::of(state.rollback());
    let site = Arc::new(site);
    mend(&site, shell).await;
    Ok(Ok(TakenUp { journal, run, state, site, followers }))
}

/// Ends the redirect that a dead bridge has left. New connections go nowhere, and a person should not have to
/// say yes before that ends. If it is not possible here, the steps look at what is there and do it.
async fn mend(site: &Site, shell: &Shell) {
    match site.mend_redirect().await {
        Ok(None) => {}
        Ok(Some(mended)) => shell.talk(mended),
        Err(error) => tracing::warn!("a redirect that points nowhere could not be looked for: {error}"),
    }
}

/// The settings of the run's plan.
pub(super) fn settings(state: &Run) -> Result<Settings, Failure> {
    RunInfo::of(state.plan()).map(|info| info.settings).map_err(|error| {
        let program = state.session().map_or("?", |session| session.program.as_str());
        let text = format!(
            "the settings stored with the run are not understood ({error}); it was started by {program}"
        );
        Failure::new(Exit::Damaged, anyhow::anyhow!(text))
    })
}
