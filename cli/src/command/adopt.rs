//! `fulcrum adopt`: takes over a control plane that was self-hosted by other means, or whose journal was lost.

use super::carry_on::{conclude, engine, nothing_to_do};
use super::pivot::pivot;
use super::preflight::input;
use super::refused::refuse;
use crate::args::{Adopt, AllNodes, Consent, Global, Pivot};
use crate::env::{access, require_root, site};
use crate::exit::{Exit, Failure};
use crate::journal::{open_journal, read_before_writing, refuse_unfinished};
use crate::render::{adopted_manifests, show_found};
use crate::shell::Shell;
use fulcrum_engine::state::Reader;
use fulcrum_steps::guard::JournalView;
use fulcrum_steps::plan;
use fulcrum_steps::preflight::{SelfHosted, self_hosted};
use fulcrum_steps::run_info::LockPurpose;
use fulcrum_steps::site::Site;
use std::sync::Arc;

pub(crate) async fn adopt(global: &Global, args: &Adopt, shell: &Shell) -> Result<Exit, Failure> {
    require_root()?;
    if !args.dry_run {
        let read = read_before_writing(&global.state_dir, LockPurpose::Adopt)?;
        if let Some(exit) = known(&read, shell)? {
            return Ok(exit);
        }
    }
    let (access, host) = access(&args.wishes.place.kubeconfig).await?;
    let input = input(global, &args.wishes, access.cluster.clone(), Arc::clone(&host))?;
    let SelfHosted { settings, found, results } =
        self_hosted(&input).await.map_err(|refused| refuse(refused, shell))?;
    let plan =
        plan::adopt(&settings, &found, args.timeout).map_err(|error| Failure::new(Exit::Other, error))?;
    show_found(&found, &results, shell);
    let manifests = adopted_manifests(&found)?;
    if args.dry_run {
        shell.data(manifests.trim_end());
        shell.talk("dry run: nothing was changed");
        return Ok(Exit::Done);
    }
    shell.talk(manifests.trim_end());
    if !args.consent.yes {
        let then = if args.to_static { "" } else { ", and pivot it then" };
        shell.confirm(&format!("Run these static pods on node {}{then}?", settings.node))?;
    }
    let journal = open_journal(&global.state_dir, LockPurpose::Adopt)?;
    // Another command may have begun a run while a person was asked.
    if let Some(exit) = known(&journal.reader(), shell)? {
        return Ok(exit);
    }
    let take_lock = args.wishes.lock.take_lock;
    let site = Arc::new(Site { take_lock, ..site(settings, &access, host, &global.state_dir) });
    let (engine, progress) = engine(journal, &site, &[], None, shell).await?;
    let ending = engine.start(plan).await;
    // The pivot opens the journal again.
    drop(engine);
    let exit = conclude(ending, &progress, shell)?;
    drop(progress);
    if exit != Exit::Done || args.to_static {
        return Ok(exit);
    }
    shell.talk("the static pods serve; the pivot begins");
    pivot(global, &the_pivot(args), shell).await
}

/// The pivot after an adoption. A person has been asked.
fn the_pivot(args: &Adopt) -> Pivot {
    Pivot {
        wishes: args.wishes.clone(),
        timeout: args.timeout,
        dry_run: false,
        plan: None,
        pause_after: Vec::new(),
        step_by_step: false,
        consent: Consent { yes: true },
        all: AllNodes::none(),
    }
}

/// Looks whether the journal knows this control plane. `Some` if there is nothing to take over.
fn known(journal: &Reader, shell: &Shell) -> Result<Option<Exit>, Failure> {
    refuse_unfinished(journal)?;
    let view = JournalView::of(journal).map_err(|error| Failure::new(Exit::Damaged, error))?;
    let pivot = view.filter(JournalView::is_at_rest).map(|view| view.pivot);
    Ok(pivot.map(|run| {
        let why =
            format!("run {run} in this journal has pivoted this node; `fulcrum status` says how it stands");
        nothing_to_do(Some(run), &why, shell)
    }))
}
