//! `fulcrum certs`: the certificates that the control plane uses.

use super::certs_renew::renew;
use super::doctor::patient;
use crate::args::{Certs, CertsCommand, Global, Place};
use crate::exit::{Exit, Failure};
use crate::render::show_certificates;
use crate::shell::Shell;
use fulcrum_steps::doctor::look_at_certificates;
use jiff::Timestamp;

pub(crate) async fn certs(global: &Global, args: &Certs, shell: &Shell) -> Result<Exit, Failure> {
    match &args.command {
        CertsCommand::Check { place } => check(global, place, shell).await,
        CertsCommand::Renew(args) => renew(global, args, shell).await,
    }
}

async fn check(global: &Global, place: &Place, shell: &Shell) -> Result<Exit, Failure> {
    let patient = patient(global, place).await?;
    let found = Box::pin(look_at_certificates(&patient)).await;
    let now = Timestamp::now();
    show_certificates(&found, now, shell);
    if found.entries.is_empty() {
        return Err(Failure::refused(format!(
            "no certificate was found beside {}; name the kubelet's staticPodPath with --manifests-dir, and run this \
             as root",
            patient.node.manifests.path().display()
        )));
    }
    Ok(match (found.needs_action(now), found.is_complete()) {
        (true, _) => Exit::Certificates,
        (false, true) => Exit::Done,
        (false, false) => Exit::NotChecked,
    })
}
