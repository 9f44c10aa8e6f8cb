//! `fulcrum doctor`: what is wrong with this node's control plane, and the command that puts it right.

use crate::args::{Doctor, Global, Place};
use crate::env::access;
use crate::exit::{Exit, Failure};
use crate::render::show_findings;
use crate::shell::Shell;
use fulcrum_steps::cluster::connect_nowhere;
use fulcrum_steps::doctor::{Health, Patient, gather, judge};
use fulcrum_steps::host::{Host, ManifestsDir, Node, Proc, Systemd};
use fulcrum_steps::preflight::find_manifests;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long the kubeconfig may take to be read.
const WAY_WITHIN: Duration = Duration::from_secs(1);

pub(crate) async fn doctor(global: &Global, args: &Doctor, shell: &Shell) -> Result<Exit, Failure> {
    let patient = Patient { verify: true, ..patient(global, &args.place).await? };
    let findings = judge(&Box::pin(gather(&patient)).await);
    show_findings(&findings, shell);
    let ill = findings.iter().any(|finding| finding.health == Health::Bad);
    Ok(if ill { Exit::Ill } else { Exit::Done })
}

/// This machine, with or without a way to the API. The journal is not read from end to end.
pub(super) async fn patient(global: &Global, place: &Place) -> Result<Patient, Failure> {
    // A kubeconfig may name a program that gives the credentials.
    let way = timeout(WAY_WITHIN, access(&place.kubeconfig)).await.unwrap_or_else(|_| {
        let text = format!("{} gave no way to the API within {WAY_WITHIN:?}", place.kubeconfig.display());
        Err(Failure::new(Exit::Refused, anyhow::anyhow!(text)))
    });
    let (cluster, host, no_way) = match way {
        Ok((access, host)) => (access.cluster, host, None),
        Err(failure) => {
            // This machine can be examined all the same.
            let nowhere = connect_nowhere().map_err(|error| Failure::new(Exit::Other, error))?;
            let host: Arc<dyn Host> = Arc::new(Proc::new(Arc::clone(&nowhere.local_tls)));
            (nowhere.cluster, host, Some(format!("{:#}", failure.error)))
        }
    };
    let manifests = find_manifests(ManifestsDir::new(std::path::absolute(&place.manifests_dir)?));
    Ok(Patient {
        node: Node { manifests, host, units: Arc::new(Systemd::default()) },
        cluster,
        no_way,
        state_dir: global.state_dir.clone(),
        kubeconfig: std::path::absolute(&place.kubeconfig)?,
        verify: false,
    })
}
