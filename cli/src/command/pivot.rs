//! `fulcrum pivot`.

use super::all_nodes;
use super::carry_on::{check_breakpoints, conclude_at, engine, nothing_to_do};
use super::preflight::check;
use super::step_by_step::{Begin, ask, require_terminal, step_by_step};
use crate::args::{Global, Pivot, Place};
use crate::env::{access, require_root, site};
use crate::exit::{Exit, Failure};
use crate::journal::{last_pivot, last_run, open_journal, pace, read_before_writing, refuse_unfinished};
use crate::plan_file::PlanFile;
use crate::render::{Forecast, plan_data, plan_talk};
use crate::shell::Shell;
use fulcrum_engine::StepId;
use fulcrum_engine::load::load;
use fulcrum_engine::state::{Reader, RunId};
use fulcrum_steps::component::Component;
use fulcrum_steps::host::ManifestsDir;
use fulcrum_steps::plan;
use fulcrum_steps::preflight::find_manifests;
use fulcrum_steps::run_info::LockPurpose;
use fulcrum_steps::site::Site;
use std::sync::Arc;

pub(crate) async fn pivot(global: &Global, args: &Pivot, shell: &Shell) -> Result<Exit, Failure> {
    if args.all.all_nodes {
        return all_nodes::pivot(global, args, shell).await;
    }
    require_root()?;
    require_terminal(args.step_by_step && !args.dry_run)?;
    if args.dry_run {
        return dry_run(global, args, shell).await;
    }
    let saved =
        args.plan.as_deref().map(|path| Ok::<_, Failure>((path, PlanFile::read(path)?))).transpose()?;
    let (mut wishes, timeout) = match &saved {
        Some((_, saved)) => saved.wishes()?,
        None => (args.wishes.clone(), args.timeout),
    };
    wishes.lock = args.wishes.lock;
    let read = read_before_writing(&global.state_dir, LockPurpose::Pivot)?;
    if let Some(exit) = already(&read, &wishes.place, shell).await? {
        return Ok(exit);
    }
    let (access, host) = access(&wishes.place.kubeconfig).await?;
    let report = check(global, &wishes, access.cluster.clone(), Arc::clone(&host), shell).await?;
    let plan = plan::pivot(&report.settings, timeout).map_err(|error| Failure::new(Exit::Other, error))?;
    if let Some((path, saved)) = &saved {
        saved.refuse_changes(&PlanFile::of(&report, &plan)?, path)?;
    }
    check_breakpoints(&plan, &args.pause_after)?;
    let pace = pace(Some(&read), &report.settings);
    plan_talk(&report, &plan, pace.as_ref(), shell);
    if !args.consent.yes {
        shell.confirm(&format!("Pivot the control plane of node {}?", report.settings.node))?;
    }
    let journal = open_journal(&global.state_dir, LockPurpose::Pivot)?;
    // Another command may have begun a run while a person was asked.
    if let Some(exit) = already(&journal.reader(), &wishes.place, shell).await? {
        return Ok(exit);
    }
    let (site, reader) = (site(report.settings, &access, host, &global.state_dir), journal.reader());
    let site = Arc::new(Site { take_lock: wishes.lock.take_lock, ..site });
    let forecast = pace.map(|pace| Forecast::new(&plan, pace, []));
    let (engine, progress) = engine(journal, &site, &args.pause_after, forecast, shell).await?;
    let ending = match args.step_by_step {
        true => {
            let ask = async |next: &[StepId]| ask(site.settings.handover, next, &progress, shell).await;
            step_by_step(engine, Begin::Start(plan), &reader, ask).await
        }
        false => engine.start(plan).await.map(|ending| (ending.run, ending.phase)),
    };
    conclude_at(ending, &progress, shell)
}

/// Makes the checks and the plan without a journal. Nothing is written anywhere.
async fn dry_run(global: &Global, args: &Pivot, shell: &Shell) -> Result<Exit, Failure> {
    let (access, host) = access(&args.wishes.place.kubeconfig).await?;
    let report = check(global, &args.wishes, access.cluster.clone(), host, shell).await?;
    let plan =
        plan::pivot(&report.settings, args.timeout).map_err(|error| Failure::new(Exit::Other, error))?;
    check_breakpoints(&plan, &args.pause_after)?;
    plan_talk(&report, &plan, pace(None, &report.settings).as_ref(), shell);
    plan_data(&report, &plan, shell)?;
    shell.talk("dry run: nothing was changed");
    Ok(Exit::Done)
}

/// Looks at what the last run leaves to do. `Some` if there is nothing to start.
pub(super) async fn already(journal: &Reader, place: &Place, shell: &Shell) -> Result<Option<Exit>, Failure> {
    if last_run(journal)?.is_none() {
        return Ok(None);
    }
    refuse_unfinished(journal)?;
    let Some(run) = last_pivot(journal)? else { return Ok(None) };
    let state = load(journal, run)?;
    let manifests = find_manifests(ManifestsDir::new(&place.manifests_dir));
    let static_left =
        Component::ALL.iter().any(|component| manifests.file(component.manifest_file()).exists());
    if state.is_rolled_back() || !manifests.path().exists() {
        return Ok(None);
    }
    if static_left {
        return Err(Failure::refused(format!(
            "run {run} completed, and the node has fallen back to static pods since; hand over to the DaemonSets again \
             with `fulcrum guard hand-over`, or go back with `fulcrum rollback`"
        )));
    }
    self_hosted(run, place, shell).await.map(Some)
}

/// The static manifests are gone, as a completed run leaves them. Checks that the DaemonSets exist.
async fn self_hosted(run: RunId, place: &Place, shell: &Shell) -> Result<Exit, Failure> {
    let (access, _) = access(&place.kubeconfig).await?;
    for component in Component::ALL {
        let name = component.daemonset_name();
        let found =
            access.cluster.daemonset(name).await.map_err(|error| Failure::new(Exit::Refused, error))?;
        if found.is_none() {
            return Err(Failure::refused(format!(
                "run {run} completed, but DaemonSet {name} is gone; `fulcrum rollback` brings the static pods back"
            )));
        }
    }
    let why = format!("this node's control plane is self-hosted since run {run}");
    Ok(nothing_to_do(Some(run), &why, shell))
}
