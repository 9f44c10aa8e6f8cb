//! `fulcrum certs renew`: kubeadm renews certificates, and the processes that use them get them.

use super::carry_on::{conclude, engine};
use super::edit::self_hosted;
use crate::args::{Global, Renew};
use crate::env::{access, refuse_another_cluster, require_root, site};
use crate::exit::{Exit, Failure};
use crate::journal::{gone_on_meanwhile, open_journal, read_before_writing};
use crate::render::show_renewal;
use crate::shell::Shell;
use fulcrum_engine::Run;
use fulcrum_steps::certificates::{KeptDir, Pace, Renewal, inventory};
use fulcrum_steps::component::Component;
use fulcrum_steps::guard::JournalView;
use fulcrum_steps::plan::{self, RENEW_CERTS, RenewCerts};
use fulcrum_steps::run_info::LockPurpose;
use fulcrum_steps::settings::Settings;
use fulcrum_steps::site::Site;
use fulcrum_steps::unit::UNIT;
use jiff::Timestamp;
use std::sync::Arc;

/// What a person does where no DaemonSet can be rolled out.
const STATIC: &str = "this node's control plane is not self-hosted: run `kubeadm certs renew`, then restart the static \
                      pods that `fulcrum certs check` names; or pivot with `fulcrum pivot`, and nothing has to be \
                      restarted by hand";

pub(super) async fn renew(global: &Global, args: &Renew, shell: &Shell) -> Result<Exit, Failure> {
    require_root()?;
    let told = at_rest(&read_before_writing(&global.state_dir, LockPurpose::RenewCerts)?)?;
    let settings = Settings { of_pivot: Some(told.pivot), ..told.settings.clone() };
    let (access, host) = access(args.pace.kubeconfig.as_ref().unwrap_or(&settings.kubeconfig)).await?;
    refuse_another_cluster(&access.cluster, &settings).await?;
    let site = site(settings.clone(), &access, host, &global.state_dir);
    let renewal = examine(&site, args, shell).await?;
    if args.pace.dry_run {
        shell.talk("dry run: nothing was changed");
        return Ok(Exit::Done);
    }
    if !args.pace.consent.yes {
        shell.confirm(&format!(
            "Renew {} certificates of node {}, and roll out {}?",
            renewal.names.len(),
            settings.node,
            rolled(&renewal)
        ))?;
    }
    let journal = open_journal(&global.state_dir, LockPurpose::RenewCerts)?;
    // The guard, or another command, may have begun a run while a person was asked.
    if at_rest(&journal.reader())?.runs != told.runs {
        return Err(gone_on_meanwhile(told.pivot));
    }
    let plan = plan::renew_certs(&settings, told.pivot, RenewCerts::of(&renewal, args.pace.timeout));
    let plan = plan.map_err(|error| Failure::new(Exit::Other, error))?;
    let (engine, progress) = engine(journal, &Arc::new(site), &[], None, shell).await?;
    conclude(engine.start(plan).await, &progress, shell)
}

fn at_rest(journal: &fulcrum_engine::state::Reader) -> Result<JournalView, Failure> {
    self_hosted(journal, &Component::ALL, STATIC)
}

/// Shows what would be done, or refuses by name.
async fn examine(site: &Site, args: &Renew, shell: &Shell) -> Result<Renewal, Failure> {
    let version = site.node.host.kubeadm_version().await.map_err(|error| {
        Failure::refused(format!(
            "{error}; kubeadm renews the certificates: install that of this cluster's version"
        ))
    })?;
    let root = site.kubernetes_dir();
    let found = inventory(&*site.node.host, &site.ports(), &root, Pace::patient(site.timeouts.minute)).await;
    let renewal = Renewal::of(&args.names(), &found, &root, Timestamp::now()).map_err(Failure::refused)?;
    show_renewal(&renewal, &found, &version, shell);
    if site.settings.guard
        && let Err(unseen) = site.node.units.sees(UNIT, &root.join("pki"), true).await
    {
        shell.talk(format_args!(
            "warning: the guard could not go on with this run if it is killed: {unseen}; `fulcrum guard install` \
             renews its unit"
        ));
    }
    Ok(renewal)
}

fn rolled(renewal: &Renewal) -> String {
    let names: Vec<&str> = renewal.rolled.keys().map(|component| component.name()).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// Refuses to take a renewal back whose files from before are gone, or no good any more.
pub(super) fn refuse_a_lost_renewal(
    site: &Site,
    run: fulcrum_engine::state::RunId,
    state: &Run,
) -> Result<(), Failure> {
    if state.plan().workflow() != RENEW_CERTS || !state.is_over() {
        return Ok(());
    }
    let kept = KeptDir::of(&site.archive(), run);
    if !kept.exists() {
        return Err(Failure::refused(
            "the files from before this renewal are gone: a later renewal has been completed since, and only the last \
             one can be rolled back; nothing was changed",
        ));
    }
    let ended = kept.first_end().filter(|end| *end < Timestamp::now());
    match ended {
        Some(end) => Err(Failure::refused(format!(
            "a certificate from before this renewal has ended at {end}: with it nothing would work any more; nothing \
             was changed"
        ))),
        None => Ok(()),
    }
}
