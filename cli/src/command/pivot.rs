//! `fulcrum pivot`.

use super::carry_on::{check_breakpoints, conclude, engine, nothing_to_do};
use crate::args::{Global, Pivot};
use crate::exit::{Exit, Failure};
use crate::render::{plan_data, plan_talk};
use crate::shell::Shell;
use crate::world::{access, last_pivot, last_run, open_journal, require_root, site};
use fulcrum_engine::state::{Journal, RunId};
use fulcrum_steps::cluster::Cluster;
use fulcrum_steps::component::Component;
use fulcrum_steps::host::{ManifestsDir, Systemd};
use fulcrum_steps::plan;
use fulcrum_steps::preflight::{Ask, Report, find_manifests, preflight};
use std::sync::Arc;

pub(crate) async fn pivot(global: &Global, args: &Pivot, shell: &Shell) -> Result<Exit, Failure> {
    require_root()?;
    if args.dry_run {
        return dry_run(args, shell).await;
    }
    let journal = open_journal(&global.state_dir, "pivot")?;
    if let Some(exit) = already(&journal, args, shell).await? {
        return Ok(exit);
    }
    let (access, host) = access(&args.place.kubeconfig).await?;
    let report = check(args, access.cluster.clone(), Arc::clone(&host), shell).await?;
    let plan =
        plan::pivot(&report.settings, args.timeout).map_err(|error| Failure::new(Exit::Other, error))?;
    check_breakpoints(&plan, &args.pause_after)?;
    plan_talk(&report, &plan, shell);
    if !args.consent.yes {
        shell.confirm(&format!("Pivot the control plane of node {}?", report.settings.node))?;
    }
    let site = Arc::new(site(report.settings, &access, host, &global.state_dir));
    let (engine, progress) = engine(journal, &site, &args.pause_after, shell).await?;
    conclude(engine.start(plan).await, &progress, shell)
}

/// The checks and the plan, without a journal: nothing is written anywhere.
async fn dry_run(args: &Pivot, shell: &Shell) -> Result<Exit, Failure> {
    let (access, host) = access(&args.place.kubeconfig).await?;
    let report = check(args, access.cluster.clone(), host, shell).await?;
    let plan =
        plan::pivot(&report.settings, args.timeout).map_err(|error| Failure::new(Exit::Other, error))?;
    check_breakpoints(&plan, &args.pause_after)?;
    plan_talk(&report, &plan, shell);
    plan_data(&report, &plan, shell)?;
    shell.talk("dry run: nothing was changed");
    Ok(Exit::Done)
}

async fn check(
    args: &Pivot,
    cluster: Cluster,
    host: Arc<dyn fulcrum_steps::host::Host>,
    shell: &Shell,
) -> Result<Report, Failure> {
    let ask = Ask {
        // Absolute: the run may be taken up from another directory.
        manifests: ManifestsDir::new(std::path::absolute(&args.place.manifests_dir)?),
        host,
        cluster,
        kubeconfig: std::path::absolute(&args.place.kubeconfig)?,
        node_name: args.node_name.clone(),
        handover: args.handover.into(),
        soak: args.soak,
        units: Arc::new(Systemd::default()),
        guard: !args.no_guard,
        on_reboot: args.on_reboot.into(),
    };
    preflight(&ask).await.map_err(|refused| {
        shell.talk("refused; nothing was changed:");
        Failure::new(Exit::Refused, refused)
    })
}

/// What the last run leaves to do: `Some` if there is nothing to start.
async fn already(journal: &Journal, args: &Pivot, shell: &Shell) -> Result<Option<Exit>, Failure> {
    let Some((run, state)) = last_run(journal)? else { return Ok(None) };
    if !state.is_over() {
        let session = state.session().map(|session| format!(", last worked on by pid {}", session.pid));
        return Err(Failure::new(
            Exit::Unfinished,
            anyhow::anyhow!(
                "run {run} is {}{}; go on with `fulcrum resume`, or undo it with `fulcrum rollback`",
                state.phase(),
                session.unwrap_or_default()
            ),
        ));
    }
    let Some((run, state)) = last_pivot(journal)? else { return Ok(None) };
    let manifests = find_manifests(ManifestsDir::new(&args.place.manifests_dir));
    let static_left =
        Component::ALL.iter().any(|component| manifests.file(component.manifest_file()).exists());
    if state.is_rolled_back() || !manifests.path().exists() {
        return Ok(None);
    }
    if static_left {
        return Err(Failure::refused(format!(
            "run {run} completed, and static pods stand in for its DaemonSets since; let those take over again with \
             `fulcrum guard hand-over`, or go back with `fulcrum rollback`"
        )));
    }
    self_hosted(run, args, shell).await.map(Some)
}

/// The static manifests are gone, as a completed run left them. Are the DaemonSets there?
async fn self_hosted(run: RunId, args: &Pivot, shell: &Shell) -> Result<Exit, Failure> {
    let (access, _) = access(&args.place.kubeconfig).await?;
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
