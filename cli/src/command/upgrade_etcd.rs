//! `fulcrum upgrade etcd`: another image for this node's etcd, which stays a static pod.

use super::carry_on::{conclude, engine, nothing_to_do};
use super::self_hosted::SelfHosted;
use crate::args::{EtcdRelease, Global, Pace};
use crate::exit::{Exit, Failure};
use crate::kubeadm::Kubeadm;
use crate::shell::Shell;
use fulcrum_steps::plan;
use fulcrum_steps::site::Site;
use fulcrum_steps::upgrade::{EtcdChange, EtcdFound, Wish, etcd_target};
use std::sync::Arc;

pub(super) async fn upgrade_etcd(
    global: &Global,
    release: &EtcdRelease,
    pace: &Pace,
    shell: &Shell,
) -> Result<Exit, Failure> {
    let node = SelfHosted::find_any(global, pace.kubeconfig.as_ref()).await?;
    let kubeadm = Kubeadm::new(&release.kubeadm);
    let wish = Wish {
        to: release.to,
        ..Wish::new((node.cluster(), node.host()), &node.settings, &node.live, &kubeadm)
    };
    let site = Arc::new(node.site(global));
    let found = etcd_target(&site, &wish, release.unlisted_image).await;
    let EtcdFound { from, change, seen } = found.map_err(|error| Failure::new(Exit::Refused, error))?;
    let Some(change) = change else {
        return Ok(nothing_to_do(None, &format!("etcd's image is {} already", from.image), shell));
    };
    show(&site, &change, &seen, shell);
    if pace.dry_run {
        shell.talk("dry run: nothing was changed");
        return Ok(Exit::Done);
    }
    let why = format!("{} to {}", from.version, change.to.version);
    if !pace.consent.yes {
        shell.confirm(&format!("Upgrade etcd of node {} from {why}?", node.settings.node))?;
    }
    let journal = node.open(global)?;
    let upgrade = plan::UpgradeEtcd { change, within: pace.timeout, why };
    let plan = plan::upgrade_etcd(&node.settings, node.told.pivot, upgrade);
    let plan = plan.map_err(|error| Failure::new(Exit::Other, error))?;
    let (engine, progress) = engine(journal, &site, &[], None, shell).await?;
    let ended = engine.start(plan).await;
    let snapshot = ended.as_ref().ok().map(|ending| site.etcd_snapshot_of(ending.run));
    let exit = conclude(ended, &progress, shell)?;
    if let Some(snapshot) = snapshot.filter(|path| path.exists()) {
        let path = snapshot.display();
        shell.talk(format_args!(
            "etcd's snapshot from before is {path}; it holds every Secret of the cluster: delete it when it is not needed"
        ));
    }
    Ok(exit)
}

/// Says what changes, what was seen, and what it costs.
fn show(site: &Site, change: &EtcdChange, seen: &[String], shell: &Shell) {
    let EtcdChange { file, from, to, .. } = change;
    shell.talk(format_args!("{}", site.node.manifests.file(file).display()));
    shell.talk(format_args!("- image: {}\n+ image: {}", from.image, to.image));
    for seen in seen {
        shell.talk(seen);
    }
    shell.talk(
        "this node's etcd is away until the kubelet has started it again, up to a minute: its API server answers no request meanwhile, \
         and for some seconds after",
    );
    if !change.can_go_back() {
        shell.talk(format_args!(
            "warning: etcd {} does not go back to {}, once it has started; a snapshot is written before, and a person restores it",
            to.version, from.version
        ));
    }
}
