//! What an upgrade of etcd changes on this node: the image that runs, the one that kubeadm takes, and whether etcd can
//! spare this member meanwhile. Reads the node and the cluster, and changes nothing.

use super::etcd::{
    EtcdStepError, EtcdVersion, NoEtcdVersion, etcd_allowed, etcd_beside, etcd_image, etcd_of,
    with_etcd_image,
};
use super::etcd_flags::etcd_flags_known;
use super::etcd_members::{members_run, way};
use super::images::lists;
use super::{NoVersion, RenderError, TargetError, Version, Wish};
use crate::cluster::{ClusterError, EtcdDoor, EtcdSeen, Member, address_of};
use crate::handover::elsewhere::elsewhere_at;
use crate::host::HostError;
use crate::look::{answered, once};
use crate::manifest::StandbyError;
use crate::site::{Site, in_static_pod};
use fulcrum_engine::{Look, Pending, StepError};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;

/// An image, and the version of etcd in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcdRelease {
    /// The image.
    pub image: String,
    /// The version.
    pub version: EtcdVersion,
}

/// This node's member of etcd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcdMember {
    /// Its name.
    pub name: String,
    /// Where clients reach it.
    pub url: String,
    /// The port of that.
    pub port: u16,
}

/// Another image for this node's etcd. Steps store it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcdChange {
    /// The name of the manifest.
    pub file: String,
    /// What runs.
    pub from: EtcdRelease,
    /// What is to run.
    pub to: EtcdRelease,
    /// Whose image it is.
    pub member: EtcdMember,
    /// How the API server reaches etcd.
    pub door: EtcdDoor,
    /// The port of the API servers.
    pub api_port: u16,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdFound {
    /// What runs.
    pub from: EtcdRelease,
    /// What changes. `None` if the manifest has the image already.
    pub change: Option<EtcdChange>,
    /// What was seen of etcd and of the other API servers, in words.
    pub seen: Vec<String>,
}

/// An upgrade of etcd is refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum EtcdError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("{0}; nothing was changed")]
    Version(#[from] NoVersion),
    #[error("etcd says that its version is {0}; nothing was changed")]
    Said(#[from] NoEtcdVersion),
    #[error("{0}; nothing was changed")]
    Step(#[from] EtcdStepError),
    #[error("{0}; nothing was changed")]
    Manifests(#[from] io::Error),
    #[error("the API server's DaemonSet does not say how it reaches etcd; nothing was changed: {0}")]
    NoDoor(#[from] StandbyError),
    #[error(
        "no manifest in {0} runs etcd: it is no static pod of this node; nothing was changed: upgrade it where and as it runs"
    )]
    Outside(PathBuf),
    #[error(
        "{0} takes no image of etcd: by the cluster's configuration (ConfigMap kube-system/kubeadm-config) etcd is outside of \
         the cluster; nothing was changed: upgrade it as it runs"
    )]
    KubeadmHasNone(Version),
    #[error(
        "{path} says {image}, and etcd {runs} runs: a change is under way, or its image has another version than its tag says; \
         nothing was changed: see `crictl ps --name etcd`", path = path.display()
    )]
    Otherwise { path: PathBuf, image: String, runs: EtcdVersion },
    #[error(
        "no member of etcd is at an address of this node ({addresses}); nothing was changed: the members are {members}"
    )]
    NoMember { addresses: String, members: String },
    #[error(
        "port {0} is not held by a static pod's process; nothing was changed: see `ss -tlnp` on the node"
    )]
    NotStatic(u16),
    #[error("{0}; nothing was changed: wait until it is well, and say this again")]
    NotSpared(String),
    #[error(
        "the kubelet does not list {image} among the images of node {node}, and etcd would be away while it is pulled; nothing \
         was changed: `crictl pull {image}`, wait a minute, and say this again, or go on with --unlisted-image"
    )]
    NoImage { image: String, node: String },
    #[error(transparent)]
    Other(StepError),
}

impl EtcdChange {
    /// Whether the release from before would start on what the new one has written.
    pub fn can_go_back(&self) -> bool {
        self.from.version.is_of_minor(self.to.version)
    }
}

/// What changes in etcd's manifest, or why the upgrade is refused. `unlisted` goes on with an image that the node may not
/// have.
///
/// # Errors
/// When there is no such etcd here, the step is not one that etcd allows, or etcd cannot spare this member.
pub async fn etcd_target(site: &Site, wish: &Wish<'_>, unlisted: bool) -> Result<EtcdFound, EtcdError> {
    let (file, content, live) = manifest(site)?;
    let to = match wish.to {
        Some(to) => to,
        None => wish.kubeadm.version().await?,
    };
    let kubeadms = wish.kubeadm.etcd_image(&wish.input().await?, to).await?;
    let kubeadms = kubeadms.ok_or(EtcdError::KubeadmHasNone(to))?;
    let image = etcd_image(&live, &kubeadms)?;
    let of = |image: &str| {
        let version = EtcdVersion::of_image(image);
        version.ok_or_else(|| EtcdStepError::NoVersion(image.to_owned()))
    };
    let from = EtcdRelease { version: of(&live)?, image: live };
    let to = EtcdRelease { version: of(&image)?, image };
    if from == to {
        return Ok(EtcdFound { from, change: None, seen: Vec::new() });
    }
    with_etcd_image(&content, &from.image, &to.image)?;
    etcd_flags_known(&content, to.version)?;
    let (door, api_port) = way(wish)?;
    let member = own_member(site, &door).await?;
    let change = EtcdChange { file, from: from.clone(), to, member, door, api_port };
    change.refuse_step(site).await?;
    let seen = once(change.spared(site).await).map_err(EtcdError::Other)?.map_err(EtcdError::NotSpared)?;
    change.refuse_no_image(site, unlisted).await?;
    Ok(EtcdFound { from, change: Some(change), seen })
}

/// The manifest that runs etcd: its name, its content, and its image.
fn manifest(site: &Site) -> Result<(String, String, String), EtcdError> {
    let manifests = &site.node.manifests;
    for name in manifests.names()? {
        let bytes = manifests.read_as_the_kubelet(&name)?.unwrap_or_default();
        let content = String::from_utf8_lossy(&bytes).into_owned();
        if let Some(image) = etcd_of(&content) {
            return Ok((name.to_string_lossy().into_owned(), content, image));
        }
    }
    Err(EtcdError::Outside(manifests.path().to_owned()))
}

/// The member at one of this node's addresses, which a static pod runs.
async fn own_member(site: &Site, door: &EtcdDoor) -> Result<EtcdMember, EtcdError> {
    let (members, own) = (site.cluster.etcd(door).await?.members, &site.settings.node_addresses);
    let is_own = |url: &&String| {
        address_of(url).is_some_and(|at| own.iter().any(|own| own.to_canonical() == at.to_canonical()))
    };
    let found = members.iter().find_map(|member| Some((member, member.clients.iter().find(is_own)?)));
    let Some((member, url)) = found else {
        let told = |member: &Member| format!("{} ({})", member.name, member.clients.join(", "));
        return Err(EtcdError::NoMember {
            addresses: own.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            members: members.iter().map(told).collect::<Vec<_>>().join("; "),
        });
    };
    let port = url.parse::<http::Uri>().ok().and_then(|uri| uri.port_u16()).unwrap_or(2379);
    let listeners = site.node.host.listeners(port).await?;
    if !listeners.iter().any(|listener| in_static_pod(&listener.process)) {
        return Err(EtcdError::NotStatic(port));
    }
    Ok(EtcdMember { name: member.name.clone(), url: url.clone(), port })
}

impl EtcdChange {
    /// Refuses what does not run what the manifest says, and a step that etcd does not allow: from what this member runs,
    /// and from what all of them know.
    async fn refuse_step(&self, site: &Site) -> Result<(), EtcdError> {
        let said = site.cluster.etcd_versions(&self.door, &self.member.url).await?;
        let (runs, all): (EtcdVersion, EtcdVersion) = (said.server.parse()?, said.cluster.parse()?);
        let EtcdRelease { image, version } = &self.from;
        if runs != *version {
            let path = site.node.manifests.file(&self.file);
            return Err(EtcdError::Otherwise { path, image: image.clone(), runs });
        }
        etcd_allowed(runs, self.to.version)?;
        // The members' common version has no patch of its own.
        let known = EtcdVersion { patch: u32::MAX, ..all };
        if known < self.to.version {
            etcd_allowed(known, self.to.version)?;
        }
        // A member that does not say what it runs is not healthy either, and that is judged by the quorum.
        let members = members_run(&site.cluster, &self.door).await?;
        let members: Vec<_> = members.into_iter().filter_map(|member| member.version.ok()).collect();
        Ok(etcd_beside(&members, self.to.version)?)
    }

    /// Whether etcd and the API can spare this node's member for a moment. What is seen in words, either way.
    pub(crate) async fn spared(&self, site: &Site) -> Look<Vec<String>> {
        let seen = elsewhere_at(site, self.api_port, &self.door).await?;
        let quorum = seen.quorum_kept().map_err(Pending::NotYet)?;
        let servers = seen.servers_ready().map_err(Pending::NotYet)?;
        let own = self.asked(site).await?;
        no_alarm(&own)?;
        Ok(vec![self.is_well(&own)?, quorum, servers])
    }

    /// What this member says of etcd.
    async fn asked(&self, site: &Site) -> Look<EtcdSeen> {
        let door = EtcdDoor { servers: vec![self.member.url.clone()], ..self.door.clone() };
        answered(site.cluster.etcd(&door).await)
    }

    /// Whether this member is healthy, and has its vote.
    fn is_well(&self, seen: &EtcdSeen) -> Look<String> {
        let EtcdMember { name, url, .. } = &self.member;
        let Some(own) = seen.members.iter().find(|member| member.name == *name) else {
            return Err(Pending::NotYet(format!("etcd at {url} does not list member {name}")));
        };
        match &own.ill {
            None if own.votes => Ok(format!("etcd's member {name} is healthy")),
            None => Err(Pending::NotYet(format!("etcd's member {name} is a learner"))),
            Some(ill) => Err(Pending::NotYet(format!("etcd's member {name} is not healthy: {ill}"))),
        }
    }

    async fn refuse_no_image(&self, site: &Site, unlisted: bool) -> Result<(), EtcdError> {
        let (name, image) = (&site.settings.node, &self.to.image);
        if unlisted {
            return Ok(());
        }
        match site.cluster.node(name).await? {
            Some(node) if lists(&node, image) => Ok(()),
            _ => Err(EtcdError::NoImage { image: image.clone(), node: name.clone() }),
        }
    }
}

/// Whether etcd has raised no alarm.
pub(crate) fn no_alarm(seen: &EtcdSeen) -> Look<()> {
    match seen.alarms.is_empty() {
        true => Ok(()),
        false => Err(Pending::NotYet(format!("etcd has raised an alarm: {}", seen.alarms.join(", ")))),
    }
}

/// Whether this node's member serves as an etcd of this version. Returns what it says of etcd.
pub(crate) async fn etcd_answers(site: &Site, change: &EtcdChange, version: EtcdVersion) -> Look<EtcdSeen> {
    let said = answered(site.cluster.etcd_versions(&change.door, &change.member.url).await)?;
    if said.server.parse() != Ok(version) {
        return Err(Pending::NotYet(format!("etcd {} answers, not {version}", said.server)));
    }
    let seen = change.asked(site).await?;
    change.is_well(&seen)?;
    Ok(seen)
}
