//! `fulcrum rollback`.

use super::carry_on::{conclude, engine};
use super::take_up::{Asked, TakenUp, settings, take_up};
use crate::args::{Global, Rollback};
use crate::exit::{Exit, Failure};
use crate::shell::Shell;
use fulcrum_engine::{PauseCause, Run};
use fulcrum_steps::run_info::{LockPurpose, RollbackMode};
use fulcrum_steps::site::Site;
use std::sync::Arc;

pub(crate) async fn rollback(global: &Global, args: &Rollback, shell: &Shell) -> Result<Exit, Failure> {
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
    let how = match mode {
        RollbackMode::KeepPortSharing => "to static pods that share their ports",
        RollbackMode::Exact => "exactly",
    };
    if !args.consent.yes {
        shell.confirm(&format!(
            "Undo run {run} ({}) on node {}, {how}?",
            meant.state.phase(),
            site.settings.node
        ))?;
    }
    let (journal, meant) = asked_for.open(meant)?;
    for (later, state) in meant.followers {
        let settings = settings(&state)?;
        let site = Arc::new(Site { settings, ..Site::clone(&site) });
        let (engine, progress) = engine(journal.clone(), &site, &[], shell).await?;
        match conclude(engine.roll_back(later, "the pivot before it is rolled back").await, &progress, shell)?
        {
            Exit::Undone => {}
            other => return Ok(other),
        }
    }
    site.rollback_mode = mode;
    let site = Arc::new(site);
    let (engine, progress) = engine(journal, &site, &[], shell).await?;
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
