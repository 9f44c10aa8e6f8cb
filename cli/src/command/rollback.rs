//! `fulcrum rollback`.

use super::carry_on::{conclude, engine};
use super::take_up::{TakenUp, settings, take_up};
use crate::args::{Global, Rollback};
use crate::exit::{Exit, Failure};
use crate::shell::Shell;
use fulcrum_engine::load::load;
use fulcrum_engine::{PauseCause, Run};
use fulcrum_steps::run_info::{LockPurpose, RollbackMode};
use fulcrum_steps::site::Site;
use std::sync::Arc;

pub(crate) async fn rollback(global: &Global, args: &Rollback, shell: &Shell) -> Result<Exit, Failure> {
    let (said, kubeconfig) = (args.run.as_deref(), args.kubeconfig.as_ref());
    let taken = take_up(global, LockPurpose::Rollback, said, kubeconfig, Run::is_rolled_back, shell).await?;
    let TakenUp { journal, run, state, site, followers } = match taken {
        Ok(taken) => taken,
        Err(exit) => return Ok(exit),
    };
    let asked = if args.keep_port_sharing { RollbackMode::KeepPortSharing } else { RollbackMode::Exact };
    // A rollback that has begun keeps its mode.
    let mode = if state.rollback().is_some() { site.rollback_mode } else { asked };
    if args.keep_port_sharing && mode != asked {
        return Err(Failure::refused(format!(
            "run {run} is being undone exactly already, which cannot be changed halfway: `fulcrum rollback` goes on"
        )));
    }
    let how = match mode {
        RollbackMode::KeepPortSharing => "to static pods that share their ports",
        RollbackMode::Exact => "exactly",
    };
    if !args.consent.yes {
        shell.confirm(&format!(
            "Undo run {run} ({}) on node {}, {how}?",
            state.phase(),
            site.settings.node
        ))?;
    }
    for later in followers {
        let settings = settings(&load(&journal.reader(), later)?)?;
        let site = Arc::new(Site { settings, ..Site::clone(&site) });
        let (engine, progress) = engine(journal.clone(), &site, &[], shell).await?;
        match conclude(engine.roll_back(later, "the pivot before it is rolled back").await, &progress, shell)?
        {
            Exit::Undone => {}
            other => return Ok(other),
        }
    }
    let mut site = site;
    // No other owner has it yet.
    if let Some(site) = Arc::get_mut(&mut site) {
        site.rollback_mode = mode;
    }
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
