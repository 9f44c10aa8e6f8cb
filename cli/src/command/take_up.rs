//! The beginning of `resume` and `rollback`: the journal, the run that is meant, and its cluster.

use super::carry_on::nothing_to_do;
use crate::args::LockArg;
use crate::env::{access, refuse_another_cluster, require_root, site};
use crate::exit::{Exit, Failure};
use crate::journal::{
    find_run, followers, gone_on_meanwhile, last_pivot, open_journal, read_before_writing,
    unfinished_adoption,
};
use crate::shell::Shell;
use fulcrum_engine::Run;
use fulcrum_engine::load::load;
use fulcrum_engine::state::{Journal, Reader, RunHeader, RunId};
use fulcrum_steps::cluster::{Lock, LockError};
use fulcrum_steps::roll_call::tell_the_end;
use fulcrum_steps::run_info::{LockPurpose, RollbackMode, RunInfo};
use fulcrum_steps::settings::Settings;
use fulcrum_steps::site::Site;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest that the API may take to be told what it should know already.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// What a person has asked for.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) state_dir: &'a Path,
    pub(super) command: LockPurpose,
    /// The run, or the beginning of its id.
    pub(super) run: Option<&'a str>,
    /// Whether nothing is left to do for such a run.
    pub(super) is_over: fn(&Run) -> bool,
}

/// A run that the command will carry on.
pub(super) struct Meant {
    pub(super) run: RunId,
    pub(super) state: Run,
    /// The guard's own runs after it that are unfinished, newest first.
    pub(super) followers: Vec<(RunId, Run)>,
    /// The heads of the journal's runs before any of these was read.
    heads: Vec<RunHeader>,
}

/// A run that the command will carry on, and its site.
pub(super) struct TakenUp {
    pub(super) meant: Meant,
    pub(super) site: Site,
}

/// Finds the run. `Err(Exit)` inside if there is none, or it is over already. Opens no journal for writing yet:
/// a person is asked first.
pub(super) async fn take_up(
    asked: Asked<'_>,
    kubeconfig: Option<&PathBuf>,
    shell: &Shell,
) -> Result<Result<TakenUp, Exit>, Failure> {
    require_root()?;
    let journal = read_before_writing(asked.state_dir, asked.command)?;
    let meant = match asked.find(&journal)? {
        Found::Run(meant) => *meant,
        Found::Nothing(run, why) => {
            if let Some(run) = run {
                tell_again(&journal, run, kubeconfig).await;
            }
            return Ok(Err(nothing_to_do(run, &why, shell)));
        }
    };
    let settings = settings(&meant.state)?;
    let (access, host) = access(kubeconfig.unwrap_or(&settings.kubeconfig)).await?;
    refuse_another_cluster(&access.cluster, &settings).await?;
    let mut site = site(settings, &access, host, asked.state_dir);
    site.rollback_mode = RollbackMode::of(meant.state.rollback());
    mend(&site, shell).await;
    Ok(Ok(TakenUp { meant, site }))
}

/// Says in the cluster's roll call how the run has ended, where that is not known: `status --cluster` and `--all-nodes`
/// take the run for one that is unfinished. Best effort: the way back may have nothing to do with the API down.
async fn tell_again(journal: &Reader, run: RunId, kubeconfig: Option<&PathBuf>) {
    let told = async {
        let state = load(journal, run)?;
        let settings = settings(&state)?;
        let (access, _) = access(kubeconfig.unwrap_or(&settings.kubeconfig)).await?;
        refuse_another_cluster(&access.cluster, &settings).await?;
        let (node, phase) = (&settings.node, state.phase());
        let told = tell_the_end(&access.cluster, node, run, phase).await;
        told.map_err(|error| Failure::new(Exit::Other, error))
    };
    match tokio::time::timeout(TOLD_WITHIN, told).await {
        Ok(Ok(())) => {}
        Ok(Err(failure)) => {
            tracing::debug!("the roll call was not told of the end of run {run}: {failure:?}");
        }
        Err(_) => {
            tracing::debug!("the roll call was not told of the end of run {run} within {TOLD_WITHIN:?}");
        }
    }
}

/// What the journal has.
enum Found {
    Run(Box<Meant>),
    /// There is nothing to do: the run, if there is one, and the reason.
    Nothing(Option<RunId>, String),
}

impl Asked<'_> {
    fn find(&self, journal: &Reader) -> Result<Found, Failure> {
        let heads = journal.runs()?;
        // A rollback means a pivot: the guard's own runs go with it. An adoption that is half-way comes before one.
        let run = match (self.command, self.run) {
            (LockPurpose::Rollback, None) => match unfinished_adoption(journal)? {
                None => last_pivot(journal)?,
                run => run,
            },
            _ => find_run(journal, self.run)?,
        };
        let Some(run) = run else {
            return Ok(Found::Nothing(None, "no run has been started here".to_owned()));
        };
        let state = load(journal, run)?;
        if (self.is_over)(&state) {
            return Ok(Found::Nothing(Some(run), format!("run {run} is {}", state.phase())));
        }
        let followers = followers(journal, run)?;
        if let (Some((later, _)), true) = (followers.first(), self.command != LockPurpose::Rollback) {
            let text = format!(
                "run {later} of the guard came after run {run}; `fulcrum resume` without a run goes on with it"
            );
            return Err(Failure::refused(text));
        }
        Ok(Found::Run(Box::new(Meant { run, state, followers, heads })))
    }

    /// Opens the journal for writing. The guard may have worked on the node while a person was asked about the
    /// run as it was `before`. If a run has grown since then, this finds the run once more.
    pub(super) fn open(&self, before: Meant) -> Result<(Journal, Meant), Failure> {
        let journal = open_journal(self.state_dir, self.command)?;
        if journal.reader().runs()? == before.heads {
            return Ok((journal, before));
        }
        match self.find(&journal.reader())? {
            Found::Run(now)
                if now.run == before.run
                    && now.state.rollback().is_some() == before.state.rollback().is_some() =>
            {
                Ok((journal, *now))
            }
            _ => Err(gone_on_meanwhile(before.run)),
        }
    }
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

/// Takes the lock on the cluster's control plane for this run from another one, if a person says so.
pub(super) async fn take_lock(site: &Site, run: RunId, said: LockArg, shell: &Shell) -> Result<(), Failure> {
    if !said.take_lock {
        return Ok(());
    }
    let refused = |error: LockError| Failure::refused(format!("the lock was not taken: {error}"));
    let lock = Lock::of(&site.settings.node, run);
    let holder = site.cluster.lock_holder().await.map_err(|error| refused(error.into()))?;
    match holder.filter(|holder| !lock.is(holder)) {
        None => lock.take(&site.cluster).await.map_err(refused),
        Some(holder) => {
            lock.take_from(&site.cluster, &holder).await.map_err(refused)?;
            shell.talk(format_args!("the lock was taken from {holder}"));
            Ok(())
        }
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
