//! What an upgrade changes: the release that runs, the one that is asked for, and the merge of the two.

use super::upgrade::{EMULATED, SelfHosted};
use crate::args::Release;
use crate::exit::{Exit, Failure};
use crate::kubeadm::Kubeadm;
use crate::shell::Shell;
use fulcrum_steps::cluster::ClusterError;
use fulcrum_steps::component::Component;
use fulcrum_steps::manifest::{FlagChange, StaticPod, Words};
use fulcrum_steps::release::{self, Trait};
use fulcrum_steps::upgrade::{KubeadmInput, Merged, Version, allowed, gone_flags, merge, removed_apis};
use serde_json::Value;

/// Where a container runtime listens if kubeadm has not noted it.
const RUNTIME: &str = "unix:///run/containerd/containerd.sock";

/// An upgrade that may be carried out.
pub(super) struct Found {
    pub(super) from: Version,
    pub(super) to: Version,
    /// The components that change, in the order in which they are rolled out.
    pub(super) merged: Vec<Merged>,
}

pub(super) struct Target<'a> {
    node: &'a SelfHosted,
    release: &'a Release,
    kubeadm: Kubeadm,
    shell: &'a Shell,
}

impl<'a> Target<'a> {
    pub(super) fn new(node: &'a SelfHosted, release: &'a Release, shell: &'a Shell) -> Self {
        Self { node, release, kubeadm: Kubeadm::new(&release.kubeadm), shell }
    }

    /// What changes, or why the upgrade is refused. Nothing was changed then.
    pub(super) async fn find(&self) -> Result<Found, Failure> {
        let from = read(&self.node.cluster().version().await.map_err(unasked)?)?;
        let to = match self.release.to {
            Some(to) => to,
            None => self.kubeadm.version().await?,
        };
        self.refuse_skew(from, to).await?;
        self.refuse_removed_apis(to).await?;
        let input = self.input().await?;
        let base = match &self.release.base_kubeadm {
            Some(program) => Kubeadm::new(program).static_pods(&input, from).await?,
            None => self.kubeadm.static_pods(&input, from).await?,
        };
        let target = self.kubeadm.static_pods(&input, to).await?;
        let emulated = emulation(from, to);
        let mut merged = Vec::new();
        for (((component, live), base), target) in self.node.live.iter().zip(&base).zip(&target) {
            self.refuse_gone_flags(*component, live, to)?;
            let (base, target) = (self.template(live, base).await?, self.template(live, target).await?);
            let found = merge(*component, [&base, &target, &live["spec"]["template"]], &emulated);
            let found = found.map_err(Failure::refused)?;
            merged.extend((!found.changes.is_empty()).then_some(found));
        }
        Ok(Found { from, to, merged })
    }

    async fn refuse_skew(&self, from: Version, to: Version) -> Result<(), Failure> {
        let kubelets = self.node.cluster().kubelets().await.map_err(unasked)?;
        let kubelets: Result<Vec<_>, Failure> =
            kubelets.into_iter().map(|(node, version)| Ok((node, read(&version)?))).collect();
        allowed(from, to, &kubelets?).map_err(Failure::refused)?;
        let (component, live) = &self.node.live[0];
        let words = Words::of(*component, &live["spec"]["template"]).map_err(Failure::refused)?;
        let flags = words.flags(*component).map_err(Failure::refused)?;
        match flags.get(EMULATED) {
            Some(release) if to.minor > from.minor => Err(Failure::refused(format!(
                "the control plane is {from} and behaves as {release}: `fulcrum upgrade finalize` ends that, and the next \
                 upgrade can follow"
            ))),
            _ if to.minor > release::NEWEST_TRIED => {
                self.shell.talk(format_args!("warning: nobody has tried fulcrum with {} yet", to.release()));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn refuse_removed_apis(&self, to: Version) -> Result<(), Failure> {
        let metrics = match self.node.cluster().metrics().await {
            Ok(metrics) => metrics,
            Err(error) => {
                self.shell.talk(format_args!("warning: not checked whether clients ask for APIs that go: {error}"));
                return Ok(());
            }
        };
        let gone = removed_apis(&metrics, to);
        if gone.is_empty() || self.release.allow_removed_apis {
            return Ok(());
        }
        let list: Vec<String> = gone.iter().map(ToString::to_string).collect();
        Err(Failure::refused(format!(
            "since the API server started, clients have asked for APIs that {} does not serve: {}; upgrade those clients (the \
             audit log names them, annotation k8s.io/removed-release), or go on with --allow-removed-apis",
            to.release(),
            list.join(", ")
        )))
    }

    fn refuse_gone_flags(&self, component: Component, live: &Value, to: Version) -> Result<(), Failure> {
        let words = Words::of(component, &live["spec"]["template"]).map_err(Failure::refused)?;
        let flags = words.flags(component).map_err(Failure::refused)?;
        match gone_flags(component, to, flags.keys().map(String::as_str)).into_iter().next() {
            Some(gone) => Err(Failure::refused(gone)),
            None => Ok(()),
        }
    }

    async fn input(&self) -> Result<KubeadmInput, Failure> {
        let (settings, cluster) = (&self.node.settings, self.node.cluster());
        let configuration = cluster.kubeadm_configuration().await.map_err(unasked)?.unwrap_or_default();
        let address = settings.node_addresses.first().copied().ok_or_else(|| {
            Failure::refused(format!("node {} has no address in the cluster; nothing was changed", settings.node))
        })?;
        let (component, live) = &self.node.live[0];
        let words = Words::of(*component, &live["spec"]["template"]).map_err(Failure::refused)?;
        let flags = words.flags(*component).map_err(Failure::refused)?;
        let port = flags.get("secure-port").and_then(|port| port.parse().ok());
        let runtime = cluster.runtime_of(&settings.node).await.map_err(unasked)?;
        Ok(KubeadmInput {
            cluster: configuration,
            node: settings.node.clone(),
            address,
            port: port.unwrap_or_else(|| component.default_port()),
            runtime: runtime.unwrap_or_else(|| RUNTIME.to_owned()),
        })
    }

    /// The pod template that a static pod makes, with the API server's defaults: those of what runs are in it, too.
    async fn template(&self, live: &Value, pod: &StaticPod) -> Result<Value, Failure> {
        let mut made = pod.daemonset(&self.node.settings.target(None));
        let mut whole = live.clone();
        whole["spec"]["template"] = made["spec"]["template"].take();
        let mut defaulted = self.node.cluster().replace_daemonset(&whole, true).await.map_err(|error| {
            Failure::refused(format!("the API server would not take what kubeadm writes; nothing was changed: {error}"))
        })?;
        Ok(defaulted["spec"]["template"].take())
    }
}

/// The new release behaves as the old one until the upgrade is finalized.
fn emulation(from: Version, to: Version) -> Vec<FlagChange> {
    let can = release::Release(from.minor).has(Trait::EmulatedVersions);
    let wanted = (to.minor > from.minor && can).then(|| FlagChange::Set(EMULATED.to_owned(), from.release()));
    wanted.into_iter().collect()
}

fn read(version: &str) -> Result<Version, Failure> {
    version.parse().map_err(|error| Failure::refused(format!("{error}; nothing was changed")))
}

fn unasked(error: ClusterError) -> Failure {
    Failure::new(Exit::Refused, error)
}
