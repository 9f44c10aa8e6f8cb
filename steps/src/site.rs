//! The environment of a pivot's steps: the node, the cluster, and the decisions of the plan.

use crate::cluster::Cluster;
use crate::component::Component;
use crate::host::{Node, Process, Question};
use crate::manifest::StaticPod;
use crate::run_info::RollbackMode;
use crate::settings::Settings;
use crate::timeouts::Timeouts;
use fulcrum_engine::state::RunId;
use fulcrum_engine::{Context, Look, Pending, StepError};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// The node, the cluster, and the decisions of the plan.
#[derive(Debug, Clone)]
pub struct Site {
    /// The machine.
    pub node: Node,
    /// The API.
    pub cluster: Cluster,
    /// The decisions of the plan.
    pub settings: Settings,
    /// The directory of the journal, the archive and the standby.
    pub state_dir: PathBuf,
    /// The time limits.
    pub timeouts: Timeouts,
    /// The mode of the run's rollback, if there is one.
    pub rollback_mode: RollbackMode,
    /// Whether the step `lock` may take the lock from another run: a person says that nobody will go on with that. It may
    /// once. If the lock is then taken from this run, this run stops.
    pub take_lock: bool,
}

/// The question for the readiness of this manifest's component on its own node.
pub(crate) fn health_question(pod: &StaticPod, node_addresses: &[IpAddr]) -> Question {
    let probe = pod.health();
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let named = probe.host.as_deref().and_then(|host| match host {
        "localhost" => Some(loopback),
        other => other.parse().ok(),
    });
    let bound = pod.bind_address().filter(|address| !address.is_unspecified());
    let address = named.or(bound).or_else(|| node_addresses.first().copied()).unwrap_or(loopback);
    Question { address: SocketAddr::new(address, probe.port), path: probe.path, tls: probe.tls, mark: None }
}

/// A process must give this many good answers in a row before it counts as serving.
const ANSWERS_IN_A_ROW: u32 = 3;
/// Questions per look while two listeners share a port: each answers about half of them.
const QUESTIONS_MAX: u32 = 24;

impl Site {
    /// The address that the node's API server publishes. It is held while one server goes and another stays.
    /// `None` if the server publishes none.
    pub fn published(&self) -> Option<IpAddr> {
        self.settings.node_addresses.first().copied().filter(|_| self.settings.publishes_itself)
    }

    /// The port of the component.
    pub fn port(&self, component: Component) -> u16 {
        self.question(component).address.port()
    }

    /// The mirror pod of the component's static pod.
    pub(crate) fn mirror_pod(&self, component: Component) -> String {
        format!("{component}-{}", self.settings.node)
    }

    /// kubeadm's directory, `/etc/kubernetes`: certificates, keys and kubeconfigs are below it.
    pub fn kubernetes_dir(&self) -> PathBuf {
        let manifests = self.node.manifests.path();
        manifests.parent().unwrap_or(manifests).to_owned()
    }

    /// The port of each component.
    pub fn ports(&self) -> BTreeMap<Component, u16> {
        Component::ALL.into_iter().map(|one| (one, self.port(one))).collect()
    }

    /// The label that the pods of the component's DaemonSet bear.
    pub fn pod_labels(component: Component) -> String {
        format!("k8s-app={}", component.daemonset_name())
    }

    /// The directory with copies of the manifests, one directory for each run. They are for the steps, and
    /// for a person who has nothing else left.
    pub fn archive(&self) -> PathBuf {
        self.state_dir.join("archive")
    }

    /// Whether the static pods are restored with shared ports. Then the kernel steers to them, and there is
    /// no bridge.
    pub(crate) fn keeps_port_sharing(&self) -> bool {
        self.rollback_mode == RollbackMode::KeepPortSharing
    }

    /// The directory with the copies of `run`.
    pub fn archive_of(&self, run: RunId) -> PathBuf {
        self.archive().join(run.to_string())
    }

    /// The path of the snapshot of etcd that `run` has written.
    pub fn etcd_snapshot_of(&self, run: RunId) -> PathBuf {
        self.archive_of(run).join("etcd-snapshot.db")
    }

    /// The path of the archived manifest of `component` for `run`.
    pub fn archived(&self, run: RunId, component: Component) -> PathBuf {
        self.archive_of(run).join(component.manifest_file())
    }

    /// Whether a process that is `the_one` serves the component: it listens, and answers 200 several times.
    /// With a shared port other processes answer too; the kernel says which one did. `mark` is the mark of
    /// the connections, see [`Question::mark`].
    ///
    /// # Errors
    /// [`Pending::NotYet`] with what was seen instead; [`Pending::Failed`] when the host cannot be looked at.
    pub async fn serves(
        &self,
        component: Component,
        mark: Option<u32>,
        the_one: impl Fn(&Process) -> bool,
    ) -> Look<Process> {
        let question = Question { mark, ..self.question(component) };
        let listeners = self.node.host.listeners(question.address.port()).await?;
        let Some(listener) = listeners.iter().find(|listener| the_one(&listener.process)) else {
            let others: Vec<String> = listeners.iter().map(|listener| describe(&listener.process)).collect();
            let others = if others.is_empty() { "no process".to_owned() } else { others.join(" and ") };
            return Err(Pending::NotYet(format!("{others} listens on port {}", question.address.port())));
        };
        let mut answers = 0;
        for _ in 0..QUESTIONS_MAX {
            let answer = match self.node.host.ask(&question).await {
                Ok(answer) => answer,
                Err(error) => return Err(Pending::NotYet(error.to_string())),
            };
            if answer.process.is_none_or(|process| process.pid != listener.process.pid) {
                continue;
            }
            if answer.status != 200 {
                let who = describe(&listener.process);
                return Err(Pending::NotYet(format!("{who} answers {} to {}", answer.status, question.path)));
            }
            answers += 1;
            if answers == ANSWERS_IN_A_ROW {
                return Ok(listener.process.clone());
            }
        }
        Err(Pending::NotYet(format!(
            "{} gave {answers} of {QUESTIONS_MAX} answers",
            describe(&listener.process)
        )))
    }

    /// Whether the API is ready, by way of the kubeconfig and on this very node. Where there are several nodes, the
    /// kubeconfig may lead to a balancer, which asks one that is ready.
    pub(crate) async fn is_ready_here(&self) -> bool {
        if self.cluster.readyz().await.is_err() {
            return false;
        }
        let question = Question { path: "/readyz".to_owned(), ..self.question(Component::ApiServer) };
        matches!(self.node.host.ask(&question).await, Ok(answer) if answer.status == 200)
    }

    /// Waits until a process that is `the_one` serves the component.
    pub(crate) async fn wait_served(
        &self,
        cx: &Context,
        component: Component,
        what: &str,
        mark: Option<u32>,
        the_one: impl Fn(&Process) -> bool,
    ) -> Result<Process, StepError> {
        cx.wait(what, self.timeouts.poll, async || self.serves(component, mark, &the_one).await).await
    }

    /// The question for the component's readiness.
    pub(crate) fn question(&self, component: Component) -> Question {
        // Plans are made with all three. The default is the one of kubeadm's manifests.
        self.settings.health.get(&component).cloned().unwrap_or_else(|| Question {
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), component.default_port()),
            path: component.health_path().to_owned(),
            tls: true,
            mark: None,
        })
    }
}

/// Whether the process runs in a static pod. The kubelet uses the manifest's hash, 32 hex digits without
/// dashes, as a static pod's uid. The API gives UUIDs.
pub(crate) fn in_static_pod(process: &Process) -> bool {
    process.pod_uid.as_ref().is_some_and(|uid| !uid.contains('-'))
}

/// Whether the process runs in a pod that the API knows, as a DaemonSet's does.
pub(crate) fn in_api_pod(process: &Process) -> bool {
    process.pod_uid.is_some() && !in_static_pod(process)
}

/// Whether the process was started with `--permit-port-sharing=true`. The last occurrence counts. The components
/// take `_` in the name of a flag for `-`.
pub(crate) fn shares_its_port(process: &Process) -> bool {
    let flag = |word: &String| {
        let (name, value) = word.split_once('=').unwrap_or((word, "true"));
        let is_it =
            name.starts_with('-') && name.trim_start_matches('-').replace('_', "-") == "permit-port-sharing";
        is_it.then(|| value.to_owned())
    };
    let last = process.command.iter().skip(1).filter_map(flag).next_back();
    matches!(last.as_deref(), Some("true" | "1" | "t" | "T" | "TRUE" | "True"))
}

/// Name, pid and pod of a process, for messages.
pub(crate) fn describe(process: &Process) -> String {
    let name = process.command.first().map_or("?", String::as_str);
    let name = name.rsplit('/').next().unwrap_or(name);
    match &process.pod_uid {
        Some(uid) => format!("{name} (pid {}, pod {uid})", process.pid),
        None => format!("{name} (pid {}, in no pod)", process.pid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_shares_its_port_however_the_flag_is_written() {
        let shares = |words: &[&str]| {
            let command = ["kube-apiserver"].iter().chain(words).map(|word| (*word).to_owned()).collect();
            shares_its_port(&Process { pid: 1, command, pod_uid: None, memory: 0 })
        };
        for words in [["--permit-port-sharing"], ["--permit_port_sharing=true"], ["-permit-port-sharing=1"]] {
            assert!(shares(&words), "{words:?}");
        }
        assert!(
            !shares(&["--permit-port-sharing=true", "--permit_port_sharing=false"]),
            "the last one counts"
        );
        assert!(!shares(&["--permit-port-sharing-not=true"]));
    }
}
