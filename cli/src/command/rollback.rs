//! `fulcrum rollback`.

use super::carry_on::{conclude, engine};
use super::take_up::{TakenUp, settings, take_up};
use crate::args::{Global, Rollback};
use crate::exit::{Exit, Failure};
use crate::shell::Shell;
use fulcrum_engine::load::load;
use fulcrum_engine::{PauseCause, Run};
use fulcrum_steps::settings::{ROLLBACK, ROLLBACK_KEEPING};
use fulcrum_steps::site::Site;
use std::sync::Arc;

pub(crate) async fn rollback(global: &Global, args: &Rollback, shell: &Shell) -> Result<Exit, Failure> {
    let (said, kubeconfig) = (args.run.as_deref(), args.kubeconfig.as_ref());
    let taken = take_up(global, "rollback", said, kubeconfig, Run::is_rolled_back, shell).await?;
    let TakenUp { journal, run, state, site, followers } = match taken {
        Ok(taken) => taken,
        Err(exit) => return Ok(exit),
    };
    let reason = if args.keep_port_sharing { ROLLBACK_KEEPING } else { ROLLBACK };
    if state.rollback().is_some() && args.keep_port_sharing && !site.keep_port_sharing {
        return Err(Failure::refused(format!(
            "run {run} is being undone exactly already, which cannot be changed halfway: `fulcrum rollback` goes on"
        )));
    }
    let keep = site.keep_port_sharing || args.keep_port_sharing;
    let how = if keep { "to static pods that share their ports" } else { "exactly" };
    if !args.consent.yes {
        shell.confirm(&format!(
            "Undo run {run} ({}) on node {}, {how}?",
            state.phase(),
            site.settings.node
        ))?;
    }
    for later in followers {
        let settings = settings(&load(&journal, later)?)?;
        let site = Arc::new(Site { settings, ..Site::clone(&site) });
        let (engine, progress) = engine(journal.clone(), &site, &[], shell).await?;
        match conclude(engine.roll_back(later, "the pivot before it is rolled back").await, &progress, shell)?
        {
            Exit::Undone => {}
            other => return Ok(other),
        }
    }
    let mut site = site;
    // Nobody else has it yet.
    if let Some(site) = Arc::get_mut(&mut site) {
        site.keep_port_sharing = keep;
    }
    let (engine, progress) = engine(journal, &site, &[], shell).await?;
    if let Some(limit) = args.timeout {
        let control = engine.control();
        tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            control.pause(format!("not done within {limit:?}"), PauseCause::Person);
        });
    }
    conclude(engine.roll_back(run, reason).await, &progress, shell).map(|exit| match exit {
        Exit::Undone => Exit::Done,
        other => other,
    })
}
