//! `fulcrum rehearse`: the real pivot and the way back on a simulated cluster, in a private directory.

use super::carry_on::signals;
use super::refused::{from_rehearsal, refuse};
use super::rehearse_crash::crash;
use super::rehearse_nodes::rehearse_nodes;
use super::rehearse_story::{self, exit_of};
use crate::args::Rehearse;
use crate::exit::{Exit, Failure};
use crate::render::{Progress, plan_talk, show_tour};
use crate::shell::Shell;
use fulcrum_engine::Observer;
use fulcrum_simulator::rehearsal::{
    SOON, Setup, SetupError, SimulatedSite, Story, Version, run_child, secrets_and_back, there_and_back,
};
use fulcrum_steps::check::Check;
use fulcrum_steps::plan;
use fulcrum_steps::preflight::Level;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The manifests directory if the person names none.
const USUAL_DIR: &str = "/etc/kubernetes/manifests";
/// How often the private directory is emptied, in case a file appears in it meanwhile.
const CLEANINGS: u32 = 5;

pub(crate) async fn rehearse(args: &Rehearse, shell: &Shell) -> Result<Exit, Failure> {
    if args.nodes > 1 && args.story() != Story::Pivot {
        let why =
            anyhow::anyhow!("only the pivot is rehearsed on several nodes: leave --story or --nodes out");
        return Err(Failure::refused(why));
    }
    let setup = args.story().setup(find_setup(args, shell)?);
    let scratch = Scratch::new()?;
    let mut signals = signals()?;
    let interrupted = async {
        let [interrupt, terminate, hangup] = &mut signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    };
    let work = async {
        match &args.crash {
            None if args.nodes > 1 => rehearse_nodes(&setup, &scratch.path, shell).await,
            None if args.story().is_a_change() => {
                rehearse_story::tour(args.story(), &setup, &scratch.path, shell).await
            }
            None => tour(args.story(), &setup, &scratch.path, shell).await,
            Some(what) => crash(args, what, setup.clone(), &scratch.path, shell).await,
        }
    };
    // The future that ends first drops the other, and with it every world, thread and child of it.
    let exit = tokio::select! {
        exit = work => exit,
        () = interrupted => Err(Failure::new(Exit::Interrupted, anyhow::anyhow!("interrupted; nothing is left behind"))),
    };
    match args.keep {
        true => scratch.keep(shell),
        false => scratch.clean()?,
    }
    exit
}

/// The work of a child of `rehearse --crash`.
pub(crate) async fn rehearsal_child(orders: &str) -> Result<Exit, Failure> {
    run_child(orders).await.map_err(|error| Failure::new(Exit::Other, error))?;
    Ok(Exit::Done)
}

fn find_setup(args: &Rehearse, shell: &Shell) -> Result<Setup, Failure> {
    let setup = match &args.manifests_dir {
        Some(dir) => Setup::own(&std::path::absolute(dir)?, args.kubernetes),
        None => Setup::found_in(Path::new(USUAL_DIR), args.kubernetes),
    };
    let setup =
        setup.map(|setup| setup.with_handover(args.handover.into()).with_nodes(args.nodes).kept(args.keep));
    let setup = setup.map_err(|error| match error {
        SetupError::Refused(refused) => refuse(refused, shell),
        SetupError::NoVersion { .. } => Failure::new(Exit::Refused, error),
        SetupError::Disk(_) => Failure::new(Exit::Other, error),
    })?;
    for warning in setup.results().iter().filter(|verdict| verdict.level == Level::Warn) {
        shell.talk(format_args!("warning: {warning}"));
    }
    let version: Version = setup.version();
    let on = if args.nodes > 1 { format!(" on {} nodes", args.nodes) } else { String::new() };
    match setup.from() {
        Some(dir) => {
            shell.talk(format_args!("rehearsing Kubernetes {version}{on} with copies of {}", dir.display()));
        }
        None => shell.talk(format_args!("rehearsing Kubernetes {version}{on} with what its kubeadm writes")),
    }
    Ok(setup)
}

async fn tour(story: Story, setup: &Setup, root: &Path, shell: &Shell) -> Result<Exit, Failure> {
    let from_rehearsal = |error| from_rehearsal(error, shell);
    let world = SimulatedSite::boot(setup, root).await.map_err(from_rehearsal)?;
    let checked = world.preflight().await;
    let mut report =
        checked.map_err(|refused| refuse(setup.of_originals(refused, &world.manifests()), shell))?;
    // The checks say this again of the copies, by another path.
    let is_said =
        |check: Check| setup.results().iter().any(|said| (said.check, said.level) == (check, Level::Warn));
    report.results.retain(|verdict| verdict.level != Level::Warn || !is_said(verdict.check));
    let plan = plan::pivot(&report.settings, SOON).map_err(|error| Failure::new(Exit::Other, error))?;
    plan_talk(&report, &plan, None, shell);
    let progress = Arc::new(Progress::new(shell, None));
    let watching: Arc<dyn Observer> = Arc::clone(&progress) as _;
    let summary = match story {
        Story::Secrets => secrets_and_back(&world, setup, watching).await,
        _ => there_and_back(&world, setup, watching).await,
    };
    progress.finish();
    let summary = summary.map_err(from_rehearsal)?;
    show_tour(&summary, shell);
    Ok(exit_of(&summary))
}

/// The private directory.
struct Scratch {
    path: PathBuf,
    dir: tempfile::TempDir,
}

impl Scratch {
    fn new() -> Result<Self, Failure> {
        let private = std::fs::Permissions::from_mode(0o700);
        let dir = tempfile::Builder::new().prefix("fulcrum-rehearsal-").permissions(private).tempdir()?;
        Ok(Self { path: dir.path().to_owned(), dir })
    }

    fn keep(self, shell: &Shell) {
        let path = self.dir.keep();
        shell.talk(format_args!(
            "kept in {}: `fulcrum history --state-dir` reads the journal in each world's `state`",
            path.display()
        ));
    }

    /// Removes the directory. A thread of a dropped journal may make its last file meanwhile.
    fn clean(self) -> Result<(), Failure> {
        let mut cleaned = Ok(());
        for _ in 0..CLEANINGS {
            cleaned = std::fs::remove_dir_all(&self.path);
            if cleaned.is_ok() || !self.path.exists() {
                return Ok(());
            }
        }
        let what = format!("the rehearsal's own files in {} could not be removed", self.path.display());
        cleaned.map_err(|error| Failure::new(Exit::Other, anyhow::Error::new(error).context(what)))
    }
}
