//! `fulcrum rollback`.

use super::all_nodes;
use super::carry_on::{conclude, engine};
use super::certs_renew::refuse_a_lost_renewal;
use super::take_up::{Asked, TakenUp, settings, take_lock, take_up};
use crate::args::{Global, Rollback};
use crate::exit::{Exit, Failure};
use crate::journal::read_journal;
use crate::shell::Shell;
use fulcrum_engine::state::{Journal, RunId};
use fulcrum_engine::{PauseCause, Run};
use fulcrum_steps::cluster::Lock;
use fulcrum_steps::guard::JournalView;
use fulcrum_steps::manifest::Stands;
use fulcrum_steps::plan::{EDIT, FINALIZE, PIVOT, RENEW_CERTS, UPGRADE, edited, etcd_changed};
use fulcrum_steps::run_info::{LockPurpose, RollbackMode};
use fulcrum_steps::site::Site;
use fulcrum_steps::upgrade::{Outrun, etcd_of, outrun_since, refuse_newer_kubelets};
use std::sync::Arc;

pub(crate) async fn rollback(global: &Global, args: &Rollback, shell: &Shell) -> Result<Exit, Failure> {
    if args.all.all_nodes {
        return all_nodes::rollback(global, args, shell).await;
    }
    let asked_for = Asked {
        state_dir: &global.state_dir,
        command: LockPurpose::Rollback,
        run: args.run.as_deref(),
        is_over: Run::is_rolled_back,
    };
    let TakenUp { meant, mut site } = match take_up(asked_for, args.kubeconfig.as_ref(), shell).await? {
        Ok(taken) => taken,
        Err(exit) => return Ok(exit),
    };
    let run = meant.run;
    let asked = if args.keep_port_sharing { RollbackMode::KeepPortSharing } else { RollbackMode::Exact };
    // A rollback that has begun keeps its mode.
    let mode = if meant.state.rollback().is_some() { site.rollback_mode } else { asked };
    if args.keep_port_sharing && mode != asked {
        return Err(Failure::refused(format!(
            "the rollback of run {run} has begun without --keep-port-sharing and stays so: `fulcrum rollback` goes on with it"
        )));
    }
    if meant.state.rollback().is_none() {
        refuse_a_lost_edit(&site, &meant.state).await?;
        refuse_a_lost_etcd(&site, run, &meant.state)?;
        if meant.state.plan().workflow() == PIVOT && !args.allow_downgrade {
            refuse_a_downgrade(global)?;
            refuse_what_was_outrun(&site, run).await?;
        }
        if meant.state.plan().workflow() == UPGRADE && meant.state.is_over() && !args.allow_downgrade {
            let refused = refuse_newer_kubelets(&site.cluster, &edited(meant.state.plan())).await;
            refused.map_err(|error| Failure::new(Exit::Refused, error))?;
        }
        refuse_a_lost_renewal(&site, run, &meant.state)?;
    }
    if !args.consent.yes {
        confirm(&site, run, &meant.state, mode, shell)?;
    }
    let (journal, meant) = asked_for.open(meant)?;
    if let Some(other) = roll_back_later(&journal, meant.followers, &site, shell).await? {
        return Ok(other);
    }
    site.rollback_mode = mode;
    take_lock(&site, run, args.lock, shell).await?;
    let site = Arc::new(site);
    let (engine, progress) = engine(journal, &site, &[], None, shell).await?;
    if let Some(limit) = args.timeout {
        let control = engine.control();
        tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            control.pause(format!("not done within {limit:?}"), PauseCause::Person);
        });
    }
    conclude(engine.roll_back(run, mode.asked_for()).await, &progress, shell).map(|exit| match exit {
        Exit::Undone => Exit::Done,
        other => other,
    })
}

/// Says what is undone, and asks.
fn confirm(site: &Site, run: RunId, state: &Run, mode: RollbackMode, shell: &Shell) -> Result<(), Failure> {
    let how = match mode {
        RollbackMode::KeepPortSharing => "to static pods that share their ports",
        RollbackMode::Exact => "exactly",
    };
    let (kind, node) = (state.plan().workflow(), &site.settings.node);
    if kind == PIVOT {
        shell.talk("The static pods come back. What came after the pivot, such as an edit, goes with it.");
    }
    shell.confirm(&format!("Undo the {kind} {run} ({}) on node {node}, {how}?", state.phase()))
}

/// Rolls back what came after a run and is unfinished. `Some` if one of them stays as it is, and with it the run.
async fn roll_back_later(
    journal: &Journal,
    followers: Vec<(RunId, Run)>,
    site: &Site,
    shell: &Shell,
) -> Result<Option<Exit>, Failure> {
    for (later, state) in followers {
        let settings = settings(&state)?;
        let site = Arc::new(Site { settings, ..Site::clone(site) });
        let (engine, progress) = engine(journal.clone(), &site, &[], None, shell).await?;
        match conclude(engine.roll_back(later, "the pivot before it is rolled back").await, &progress, shell)?
        {
            Exit::Undone => {}
            // It needs an API, and the static pods may be what brings one back. The DaemonSets go anyway.
            Exit::NeedsOperator
                if [EDIT, UPGRADE, FINALIZE, RENEW_CERTS].contains(&state.plan().workflow()) =>
            {
                shell.talk(format_args!(
                    "run {later} stays as it is: the pivot's rollback takes its DaemonSet away"
                ));
                let lock = Lock::of(&site.settings.node, later);
                let let_go = tokio::time::timeout(site.timeouts.api, lock.release(&site.cluster)).await;
                tracing::debug!(?let_go, "the lock of run {later}");
            }
            other => return Ok(Some(other)),
        }
    }
    Ok(None)
}

/// Refuses to take an edit or an upgrade back that is not in force any more: the undo leaves alone what another one has
/// made.
async fn refuse_a_lost_edit(site: &Site, run: &Run) -> Result<(), Failure> {
    if !run.is_over() {
        return Ok(());
    }
    for (component, change) in edited(run.plan()) {
        let name = component.daemonset_name();
        let found = site.cluster.daemonset(name).await.map_err(|error| Failure::new(Exit::Refused, error))?;
        let live = found.unwrap_or_default();
        if change.stands(component, &live["spec"]["template"]) != Stands::Changed {
            return Err(Failure::refused(format!(
                "DaemonSet {name} is not any more what this run made of it: a later edit or upgrade has changed it, or a person; \
                 nothing was changed: say what it should be with `fulcrum edit {component}`"
            )));
        }
    }
    Ok(())
}

/// Refuses to take an upgrade of etcd back that cannot be, or that is not in force any more.
fn refuse_a_lost_etcd(site: &Site, run: RunId, state: &Run) -> Result<(), Failure> {
    let Some(change) = etcd_changed(state.plan()).filter(|_| state.is_over()) else { return Ok(()) };
    if !change.can_go_back() {
        return Err(Failure::refused(format!(
            "etcd {} does not go back to {}: its data are rewritten; nothing was changed: the snapshot from before is {}, and a \
             person restores it with `etcdutl snapshot restore`",
            change.to.version,
            change.from.version,
            site.etcd_snapshot_of(run).display()
        )));
    }
    let manifests = &site.node.manifests;
    let now = manifests.read(&change.file).ok().flatten().and_then(|now| etcd_of(&now.content));
    match now.as_ref() == Some(&change.to.image) {
        true => Ok(()),
        false => Err(Failure::refused(format!(
            "{} is not any more what this run made of it: a later upgrade has changed it, or a person; nothing was changed",
            manifests.file(&change.file).display()
        ))),
    }
}

/// Refuses to bring static pods back whose release is older than what the API server has stored.
fn refuse_a_downgrade(global: &Global) -> Result<(), Failure> {
    let journal = read_journal(&global.state_dir, LockPurpose::Rollback)?;
    let told = JournalView::of(&journal).map_err(|error| Failure::new(Exit::Damaged, error))?;
    match told.and_then(|told| told.finalized) {
        Some(run) => Err(downgrade(&Outrun::Here(run))),
        None => Ok(()),
    }
}

fn downgrade(outrun: &Outrun) -> Failure {
    Failure::refused(format!("{outrun}; nothing was changed: stay self-hosted, or say --allow-downgrade"))
}

/// As above, where another node has finalized the upgrade.
async fn refuse_what_was_outrun(site: &Site, run: RunId) -> Result<(), Failure> {
    match outrun_since(site, &site.cluster, run, site.timeouts.api).await {
        Some(outrun) => Err(downgrade(&outrun)),
        None => Ok(()),
    }
}
