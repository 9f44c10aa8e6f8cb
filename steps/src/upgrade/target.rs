//! What an upgrade changes in the DaemonSets that run: the release that runs, the one that is asked for, and the merge
//! of the two. Reads the cluster, and changes nothing.

use super::asked::{Asked, asked};
use super::etcd_behind::etcd_behind;
use super::images::to_be_pulled;
use super::release_of::{EMULATED, image, runs};
use super::starts::would_start;
use super::{
    KubeadmInput, MergeError, Merged, NoVersion, NotKubeadms, Outdated, Phase, RemovedApi, SkewError,
    Version, allowed, kubeadm_config, merge, noted_version, others_follow,
};
use crate::cluster::{Cluster, ClusterError};
use crate::component::Component;
use crate::handover::standbys::Behind;
use crate::host::Host;
use crate::manifest::{FlagChange, StandbyError, StaticPod, TemplateChange, Words, WordsError, standby_of};
use crate::release::{NEWEST_TRIED, Release, Trait};
use crate::settings::Settings;
use async_trait::async_trait;
use k8s_openapi::api::core::v1::Node;
use serde_json::Value;
use std::collections::BTreeMap;

/// Where a container runtime listens if kubeadm has not noted it.
const RUNTIME: &str = "unix:///run/containerd/containerd.sock";

/// A kubeadm, which renders the manifests of releases.
#[async_trait]
pub trait Renderer: Send + Sync {
    /// Its own release.
    async fn version(&self) -> Result<Version, RenderError>;

    /// The static pods that it makes for a version: all three, in the order of [`Component::ALL`].
    async fn static_pods(
        &self,
        input: &KubeadmInput,
        version: Version,
    ) -> Result<Vec<StaticPod>, RenderError>;

    /// The image of etcd that it takes for a version. `None` where etcd is outside of the cluster, as its configuration
    /// says.
    async fn etcd_image(&self, input: &KubeadmInput, version: Version)
    -> Result<Option<String>, RenderError>;
}

/// A kubeadm could not be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "{program} could not {attempt}: {seen}; nothing was changed: name the kubeadm of the release with --kubeadm"
)]
pub struct RenderError {
    /// The program.
    pub program: String,
    /// What it was asked for.
    pub attempt: String,
    /// What was seen.
    pub seen: String,
}

/// What is to be upgraded, and to what.
pub struct Wish<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// This machine, from which each API server is asked directly.
    pub host: &'a dyn Host,
    /// The settings of the pivot.
    pub settings: &'a Settings,
    /// The DaemonSets as they are: all three, in the order of [`Component::ALL`].
    pub live: &'a [(Component, Value)],
    /// The kubeadm of the release to upgrade to.
    pub kubeadm: &'a dyn Renderer,
    /// The kubeadm of the release that runs, if it is another one.
    pub base: Option<&'a dyn Renderer>,
    /// The version, if it is not that of the kubeadm.
    pub to: Option<Version>,
    /// Whether APIs that clients ask for may go.
    pub allow_removed_apis: bool,
    /// The phases of kubeadm that a person leaves out.
    pub skip: &'a [Phase],
}

impl<'a> Wish<'a> {
    /// The release of that kubeadm, with nothing overruled and nothing left out.
    pub fn new(
        (cluster, host): (&'a Cluster, &'a dyn Host),
        settings: &'a Settings,
        live: &'a [(Component, Value)],
        kubeadm: &'a dyn Renderer,
    ) -> Self {
        Self {
            cluster,
            host,
            settings,
            live,
            kubeadm,
            base: None,
            to: None,
            allow_removed_apis: false,
            skip: &[],
        }
    }
}

/// An upgrade that may be carried out.
#[derive(Debug)]
pub struct Found {
    /// What runs.
    pub from: Version,
    /// What will run.
    pub to: Version,
    /// The components that change, in the order in which they are rolled out.
    pub merged: Vec<Merged>,
    /// What kubeadm's configuration of the cluster notes as its release, and is to note. `None` if there is nothing to
    /// note.
    pub noted: Option<(String, String)>,
    /// The phases that kubeadm goes through then: those of which the cluster has the objects.
    pub phases: Vec<Phase>,
    /// What kubeadm reads as its configuration for them.
    pub config: String,
    /// What a person should know before.
    pub warnings: Vec<String>,
}

/// An upgrade is refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum TargetError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error("{0}; nothing was changed")]
    Version(#[from] NoVersion),
    #[error("{0}; nothing was changed")]
    Skew(#[from] SkewError),
    #[error("{}; nothing was changed", joined(.0))]
    Outdated(Vec<Outdated>),
    #[error(transparent)]
    NotKubeadms(#[from] NotKubeadms),
    #[error("{0}; nothing was changed")]
    Merge(#[from] MergeError),
    #[error(transparent)]
    Words(#[from] WordsError),
    #[error(
        "the control plane is {from} and behaves as {emulated}: `fulcrum upgrade finalize` ends that, and the next upgrade \
         can follow"
    )]
    NotFinalized { from: Version, emulated: String },
    #[error(
        "since the API servers started, clients have asked for APIs that 1.{minor} does not serve: {}; upgrade those clients \
         (the audit log names them, annotation k8s.io/removed-release), or go on with --allow-removed-apis", list(.apis)
    )]
    RemovedApis { minor: u32, apis: Vec<RemovedApi> },
    #[error(
        "node {0} has no address in the cluster; nothing was changed: see `kubectl get node {0} -o wide`"
    )]
    NoAddress(String),
    #[error(
        "{0} still runs static pods, which an upgrade of the DaemonSets does not reach; nothing was changed: pivot there \
         first with `fulcrum pivot`"
    )]
    StaticNodes(String),
    #[error(
        "another node cannot follow a change of release; nothing was changed: {}", joined(.0)
    )]
    Behind(Vec<Behind>),
    #[error("no standby can be made of what {0}'s DaemonSet would be; nothing was changed: {1}")]
    Standby(Component, StandbyError),
    #[error("the API server would not take what kubeadm writes; nothing was changed: {0}")]
    NotTaken(ClusterError),
}

fn list(apis: &[RemovedApi]) -> String {
    apis.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn joined(all: &[impl ToString]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What changes, or why the upgrade is refused.
///
/// # Errors
/// When the cluster or a kubeadm cannot be asked, the version skew policy forbids the upgrade, clients use what goes, or
/// a person has changed what the release changes.
pub async fn target(wish: &Wish<'_>) -> Result<Found, TargetError> {
    let from: Version = wish.cluster.version().await?.parse()?;
    let to = match wish.to {
        Some(to) => to,
        None => wish.kubeadm.version().await?,
    };
    let mut warnings = Vec::new();
    if to.minor > NEWEST_TRIED {
        warnings.push(format!("nobody has tried fulcrum with {} yet", to.release()));
    }
    others_follow(wish.cluster, wish.settings, wish.live).await?;
    let nodes = wish.cluster.nodes_with(&wish.settings.role_label).await?;
    // An upgrade that stopped in the middle, on a node that was lost, has left components of two releases.
    let releases: Vec<Version> =
        wish.live.iter().map(|(one, live)| runs(*one, live).unwrap_or(from)).collect();
    wish.refuse_skew(&releases, to).await?;
    warnings.extend(wish.refuse_removed_apis(&nodes, to).await?);
    let input = wish.input().await?;
    warnings.extend(etcd_behind(wish, &input, to).await);
    let target = wish.kubeadm.static_pods(&input, to).await?;
    let base = wish.base_of(&input, &releases, (&target, to)).await?;
    let (merged, after) = wish.merged((&base, &target), &releases, to).await?;
    warnings.extend(would_start(&after, to)?);
    let images: Vec<String> =
        after.iter().filter_map(|(one, after)| image(*one, after)).map(str::to_owned).collect();
    warnings.extend(to_be_pulled(&nodes, &images));
    let noted = noted_version(&input.cluster).map(|noted| (noted.to_owned(), to.to_string()));
    if noted.is_none() {
        let words = "ConfigMap kube-system/kubeadm-config does not say its kubernetesVersion in a line: it is not changed";
        warnings.push(words.to_owned());
    }
    let noted = noted.filter(|(noted, to)| noted != to);
    let (phases, config) = wish.rest(&input, to).await?;
    let from = releases.into_iter().min().unwrap_or(from);
    Ok(Found { from, to, merged, noted, phases, config, warnings })
}

/// The changes that end the emulation of another release in the DaemonSets.
///
/// # Errors
/// When a DaemonSet's command line cannot be read.
pub fn end_of_emulation(live: &[(Component, Value)]) -> Result<Vec<Merged>, MergeError> {
    let end = [FlagChange::Unset(EMULATED.to_owned())];
    let mut merged = Vec::new();
    for (component, live) in live {
        let template = &live["spec"]["template"];
        let found = merge(*component, [template, template, template], &end)?;
        merged.extend((!found.changes.is_empty()).then_some(found));
    }
    Ok(merged)
}

impl Wish<'_> {
    /// The standby follows the release, and a static pod cannot run everything.
    fn refuse_no_standby(&self, component: Component, after: &Value) -> Result<(), TargetError> {
        if !self.settings.guard {
            return Ok(());
        }
        let made = standby_of(component, after, &self.settings.target(None));
        made.map(drop).map_err(|refused| TargetError::Standby(component, refused))
    }

    /// The components that change, and their DaemonSets as they would be.
    async fn merged(
        &self,
        (base, target): (&[StaticPod], &[StaticPod]),
        releases: &[Version],
        to: Version,
    ) -> Result<(Vec<Merged>, Vec<(Component, Value)>), TargetError> {
        let (mut merged, mut all) = (Vec::new(), Vec::new());
        let both = base.iter().zip(target).zip(releases);
        for ((component, live), ((base, target), release)) in self.live.iter().zip(both) {
            let (base, target) = (self.template(live, base).await?, self.template(live, target).await?);
            let templates = [&base, &target, &live["spec"]["template"]];
            let found = merge(*component, templates, &emulation(*release, to))?;
            if !found.changes.is_empty() {
                let mut after = live.clone();
                TemplateChange::Fields(found.changes.clone())
                    .make(*component, &mut after["spec"]["template"]);
                self.refuse_no_standby(*component, &after)?;
                all.push((*component, after));
                merged.push(found);
            }
        }
        Ok((merged, all))
    }

    /// What kubeadm makes of the release that each component runs. `target` is what it makes of `to`.
    async fn base_of(
        &self,
        input: &KubeadmInput,
        releases: &[Version],
        (target, to): (&[StaticPod], Version),
    ) -> Result<Vec<StaticPod>, TargetError> {
        let mut made = BTreeMap::from([(to, target.to_vec())]);
        let kubeadm = self.base.unwrap_or(self.kubeadm);
        let mut base = Vec::new();
        for (at, release) in releases.iter().enumerate() {
            if !made.contains_key(release) {
                made.insert(*release, kubeadm.static_pods(input, *release).await?);
            }
            base.extend(made.get(release).and_then(|pods| pods.get(at)).cloned());
        }
        Ok(base)
    }

    async fn refuse_skew(&self, releases: &[Version], to: Version) -> Result<(), TargetError> {
        let kubelets = self.cluster.kubelets().await?;
        let kubelets: Result<Vec<_>, NoVersion> =
            kubelets.into_iter().map(|(node, version)| Ok((node, version.parse()?))).collect();
        let kubelets = kubelets?;
        for ((component, live), from) in self.live.iter().zip(releases) {
            allowed(*from, to, &kubelets)?;
            if let (Some(emulated), true) = (flags(*component, live)?.remove(EMULATED), to.minor > from.minor)
            {
                return Err(TargetError::NotFinalized { from: *from, emulated });
            }
        }
        Ok(())
    }

    /// Returns warnings: the API servers that do not tell, and the APIs that go although clients ask for them.
    async fn refuse_removed_apis(&self, nodes: &[Node], to: Version) -> Result<Vec<String>, TargetError> {
        let Asked { apis, silent } = asked((self.cluster, self.host), (nodes, self.port()?), to).await;
        if !apis.is_empty() && !self.allow_removed_apis {
            return Err(TargetError::RemovedApis { minor: to.minor, apis });
        }
        let silent = (!silent.is_empty()).then(|| {
            let silent = silent.join(", ");
            format!("an API server was not asked whether its clients ask for APIs that go: {silent}")
        });
        let going = (!apis.is_empty())
            .then(|| format!("clients ask for APIs that 1.{} does not serve: {}", to.minor, list(&apis)));
        Ok(silent.into_iter().chain(going).collect())
    }

    /// The port of the API servers.
    fn port(&self) -> Result<u16, TargetError> {
        let port = match self.live.first() {
            Some((component, live)) => flags(*component, live)?.remove("secure-port"),
            None => None,
        };
        let port = port.and_then(|port| port.parse().ok());
        Ok(port.unwrap_or_else(|| Component::ApiServer.default_port()))
    }

    pub(super) async fn input(&self) -> Result<KubeadmInput, TargetError> {
        let node = &self.settings.node;
        let configuration = self.cluster.kubeadm_configuration().await?.ok_or(NotKubeadms)?;
        let address = self.settings.node_addresses.first().copied();
        let address = address.ok_or_else(|| TargetError::NoAddress(node.clone()))?;
        let runtime = self.cluster.runtime_of(node).await?;
        Ok(KubeadmInput {
            cluster: configuration,
            node: node.clone(),
            address,
            port: self.port()?,
            runtime: runtime.unwrap_or_else(|| RUNTIME.to_owned()),
        })
    }

    /// The phases of which the cluster has the objects, and what kubeadm reads for them. What people have made of the
    /// configurations of kubelets and of kube-proxy is in it.
    async fn rest(&self, input: &KubeadmInput, to: Version) -> Result<(Vec<Phase>, String), TargetError> {
        let (mut phases, mut config) = (Vec::new(), kubeadm_config(input, to)?);
        for phase in Phase::ALL.into_iter().filter(|phase| !self.skip.contains(phase)) {
            let mut found = Vec::new();
            for what in phase.parts() {
                found.push(self.cluster.object_with(*what).await?);
            }
            if !matches!(found.first(), Some(Some(_))) {
                continue;
            }
            phases.push(phase);
            let documents = found.iter().flatten().filter_map(|object| phase.document_of(object));
            config.extend(documents.map(|document| format!("---\n{document}\n")));
        }
        Ok((phases, config))
    }

    /// The pod template that a static pod makes, with the API server's defaults, which are in what runs, too.
    async fn template(&self, live: &Value, pod: &StaticPod) -> Result<Value, TargetError> {
        let mut made = pod.daemonset(&self.settings.target(None));
        let mut whole = live.clone();
        whole["spec"]["template"] = made["spec"]["template"].take();
        // The controller writes its status meanwhile. This call changes nothing, so any version will do.
        if let Some(metadata) = whole["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
        }
        let mut defaulted =
            self.cluster.replace_daemonset(&whole, true).await.map_err(TargetError::NotTaken)?;
        Ok(defaulted["spec"]["template"].take())
    }
}

fn flags(component: Component, live: &Value) -> Result<BTreeMap<String, String>, WordsError> {
    Words::of(component, &live["spec"]["template"])?.flags(component)
}

/// The new release behaves as the old one until the upgrade is finalized.
fn emulation(from: Version, to: Version) -> Vec<FlagChange> {
    let can = Release(from.minor).has(Trait::EmulatedVersions);
    let wanted = (to.minor > from.minor && can).then(|| FlagChange::Set(EMULATED.to_owned(), from.release()));
    wanted.into_iter().collect()
}
