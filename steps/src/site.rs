//! What the steps of one pivot work on: the node, the cluster, and what was decided when it was planned.

use crate::cluster::{Cluster, OPT_IN_LABEL, RUN_ANNOTATION};
use crate::component::Component;
use crate::guard::OnReboot;
use crate::manifest::{StaticPod, Target};
use crate::node::{HostError, ManifestsDir, Node, Process, Question};
use fulcrum_engine::state::RunId;
use fulcrum_engine::{Context, Seen, StepError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The node, the cluster, and what was decided.
#[derive(Debug, Clone)]
pub struct Site {
    /// The machine.
    pub node: Node,
    /// The API.
    pub cluster: Cluster,
    /// What was decided when the run was planned.
    pub settings: Settings,
    /// Where copies of the manifests are kept, a directory a run: for the steps, and for a person
    /// who has nothing else left.
    pub archive: PathBuf,
    /// How long things are given.
    pub patience: Patience,
    /// The way back ends in static pods that share their ports, instead of exactly as it was before: then they
    /// can be steered to, and nothing has to be bridged. See [`keeps_port_sharing`].
    pub keep_port_sharing: bool,
}

/// How long things are given. Not part of the plan: it is the machine that is slow or fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How often a wait looks again.
    pub poll: Duration,
    /// A leader's lease that is not renewed for this long has lost its holder: leaders renew every 2 s.
    pub lease_quiet: Duration,
    /// The longest that a candidate takes to look at its lease again: client-go's 2 s, and up to 1.2 times as much.
    pub candidate: Duration,
    /// How long before its leader goes it shall have looked. The shortest is those 2 s, and a process has ended some 0.3 s
    /// after its manifest has gone (*measured*): so it finds the lease free at its next look, and soon.
    pub looked: Duration,
    /// How long a server that has stopped listening may finish what it has in hand before it is ended, while
    /// another one serves. New connections go to that one by then, so that what is left is requests that were
    /// under way, which take a second or two, and watches, which never end by themselves and go on elsewhere.
    /// More would be spent on watches alone: all of the pod's 30 s.
    pub drain: Duration,
    /// The same while nobody else serves: its successor starts only after it.
    pub drain_alone: Duration,
    /// How long a connection may take to be set up, on a busy node, when others go elsewhere already: the server that it
    /// was made to is not told to end before. One that is still shaking hands then is lost (*measured*).
    pub handshake: Duration,
    /// How long the watch that holds the endpoints may take to begin: it takes two answers of the API.
    pub held: Duration,
    /// How long what clients send to a server may be held back before the kubelet has told it to end: no longer than they
    /// would wait for an answer without asking whether there is anybody. It takes about 0.2 s.
    pub hold: Duration,
    /// How long after that: from when it stops listening until it has told every client.
    pub goodbye: Duration,
    /// How long the kubelet may take to act on a manifest: it watches the directory, and looks every second.
    pub settle: Duration,
    /// How long the way back waits for the bridge to serve before it goes on with a gap.
    pub bridge: Duration,
    /// How long a rollback waits for an API that does not answer, where it can do without: what it does next may
    /// be what brings the API back.
    pub api: Duration,
}

impl Default for Patience {
    /// For a real node.
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(100),
            lease_quiet: Duration::from_millis(3500),
            candidate: Duration::from_millis(4400),
            looked: Duration::from_millis(1400),
            drain: Duration::from_secs(10),
            drain_alone: Duration::from_secs(2),
            handshake: Duration::from_secs(2),
            held: Duration::from_secs(2),
            hold: Duration::from_secs(3),
            goodbye: Duration::from_millis(200),
            settle: Duration::from_secs(3),
            bridge: Duration::from_secs(60),
            api: Duration::from_secs(5),
        }
    }
}

/// What was decided when the run was planned, and is stored with the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Which cluster: the uid of its namespace kube-system.
    pub cluster_uid: String,
    /// The node's name in the cluster.
    pub node: String,
    /// Its addresses.
    pub node_addresses: Vec<IpAddr>,
    /// The kubelet's manifests directory.
    pub manifests_dir: PathBuf,
    /// What the manifests are called there, where it is not as kubeadm calls them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub manifest_names: BTreeMap<Component, String>,
    /// How the API is reached.
    pub kubeconfig: PathBuf,
    /// The label of control-plane nodes.
    pub role_label: String,
    /// The cluster's minor version.
    pub kubernetes_minor: u32,
    /// How the listener changes hands.
    pub handover: Handover,
    /// How long the new API server is watched after the switch, with the old one still there.
    #[serde(default)]
    pub soak: Duration,
    /// Where each component is asked.
    pub health: BTreeMap<Component, Question>,
    /// Whether a guard is armed, which brings the control plane back after a reboot.
    #[serde(default)]
    pub guard: bool,
    /// What the guard does with the run if a reboot cuts it in half.
    #[serde(default)]
    pub on_reboot: OnReboot,
    /// For the guard's own runs: the pivot that they belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_pivot: Option<RunId>,
}

/// How the control plane changes hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Handover {
    /// The live listeners become shareable, and the kernel is told whose turn it is: no restart.
    Steer,
    /// As with `restart`, but meanwhile new connections go to a third API server on another port: no lost
    /// request.
    Bridge,
    /// Each static pod is restarted once, with `--permit-port-sharing=true`: some seconds without an API.
    Restart,
}

/// Why a run is undone: exactly …
pub const ROLLBACK: &str = "rollback was asked for";
/// … or to static pods that share their ports. The reason is journalled once, when undoing begins, and holds for
/// whoever takes the run up later.
pub const ROLLBACK_KEEPING: &str = "rollback with --keep-port-sharing was asked for";

/// Whether a run that is undone for this reason ends in static pods that share their ports.
pub fn keeps_port_sharing(reason: Option<&str>) -> bool {
    reason == Some(ROLLBACK_KEEPING)
}

/// How it is asked to change hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wanted {
    /// In the best way that the node allows.
    #[default]
    Auto,
    /// In this way or not at all.
    Way(Handover),
}

impl fmt::Display for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Steer => "steer",
            Self::Bridge => "bridge",
            Self::Restart => "restart",
        })
    }
}

impl Settings {
    /// The kubelet's manifests directory, with the names that the manifests have in it.
    pub fn manifests(&self) -> ManifestsDir {
        ManifestsDir::new(&self.manifests_dir).naming(&self.manifest_names)
    }

    /// What a DaemonSet needs to know, for the given run.
    pub fn target(&self, run: Option<RunId>) -> Target {
        let annotation = run.map(|run| (RUN_ANNOTATION.to_owned(), run.to_string()));
        Target {
            role_label: self.role_label.clone(),
            opt_in_label: OPT_IN_LABEL.to_owned(),
            kubernetes_minor: self.kubernetes_minor,
            node_addresses: self.node_addresses.clone(),
            labels: BTreeMap::new(),
            annotations: annotation.into_iter().collect(),
        }
    }
}

/// Where the component of this manifest is asked on its own node.
pub fn health_question(pod: &StaticPod, node_addresses: &[IpAddr]) -> Question {
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

/// Answers that a process must give in a row before it counts as serving.
const ANSWERS_IN_A_ROW: u32 = 3;
/// Questions per look while two listeners share a port: each answers about half of them.
const QUESTIONS_MAX: u32 = 24;

impl Site {
    /// The port that the component serves on.
    pub fn port(&self, component: Component) -> u16 {
        self.question(component).address.port()
    }

    /// The mirror pod of the component's static pod.
    pub fn mirror_pod(&self, component: Component) -> String {
        format!("{component}-{}", self.settings.node)
    }

    /// The label that the pods of the component's DaemonSet bear.
    pub fn pod_labels(component: Component) -> String {
        format!("k8s-app={}", component.daemonset_name())
    }

    /// Where the journal, the archive and the standby are.
    pub fn state_dir(&self) -> &Path {
        self.archive.parent().unwrap_or(&self.archive)
    }

    /// Where the archived manifest of `component` is for `run`.
    pub fn archived(&self, run: RunId, component: Component) -> PathBuf {
        self.archive.join(run.to_string()).join(component.manifest_file())
    }

    /// Whether a process that is `the_one` serves the component: it listens, and answers 200 several
    /// times. With a shared port others answer too; the kernel says who did. `mark` is that of the
    /// connections, see [`Question::mark`].
    ///
    /// # Errors
    /// When the host cannot be looked at.
    pub async fn serves(
        &self,
        component: Component,
        mark: Option<u32>,
        the_one: impl Fn(&Process) -> bool,
    ) -> Result<Seen<Process>, HostError> {
        let question = Question { mark, ..self.question(component) };
        let listeners = self.node.host.listeners(question.address.port()).await?;
        let Some(listener) = listeners.iter().find(|listener| the_one(&listener.process)) else {
            let others: Vec<String> = listeners.iter().map(|listener| describe(&listener.process)).collect();
            let others = if others.is_empty() { "nobody".to_owned() } else { others.join(" and ") };
            return Ok(Seen::NotYet(format!("on port {} listens {others}", question.address.port())));
        };
        let mut answers = 0;
        for _ in 0..QUESTIONS_MAX {
            let answer = match self.node.host.ask(&question).await {
                Ok(answer) => answer,
                Err(error) => return Ok(Seen::NotYet(error.to_string())),
            };
            if answer.process.is_none_or(|process| process.pid != listener.process.pid) {
                continue;
            }
            if answer.status != 200 {
                let who = describe(&listener.process);
                return Ok(Seen::NotYet(format!("{who} answers {} to {}", answer.status, question.path)));
            }
            answers += 1;
            if answers == ANSWERS_IN_A_ROW {
                return Ok(Seen::Ready(listener.process.clone()));
            }
        }
        Ok(Seen::NotYet(format!("{} gave {answers} of {QUESTIONS_MAX} answers", describe(&listener.process))))
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
        cx.wait(what, self.patience.poll, async || Ok(self.serves(component, mark, &the_one).await?)).await
    }

    /// What the component is asked.
    pub(crate) fn question(&self, component: Component) -> Question {
        // Plans are made with all three; the default is what kubeadm would have written.
        self.settings.health.get(&component).cloned().unwrap_or_else(|| Question {
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), component.default_port()),
            path: component.health_path().to_owned(),
            tls: true,
            mark: None,
        })
    }
}

/// Whether the process runs in a static pod: the kubelet uses the manifest's hash, 32 hex digits without
/// dashes, as a static pod's uid; the API gives UUIDs.
pub fn in_static_pod(process: &Process) -> bool {
    process.pod_uid.as_ref().is_some_and(|uid| !uid.contains('-'))
}

/// Whether the process runs in a pod that the API knows, as a DaemonSet's does.
pub fn in_api_pod(process: &Process) -> bool {
    process.pod_uid.is_some() && !in_static_pod(process)
}

/// Whether the process was started with `--permit-port-sharing=true`; the last occurrence counts.
pub fn shares_its_port(process: &Process) -> bool {
    let flag =
        |word: &String| word.trim_start_matches('-').strip_prefix("permit-port-sharing").map(str::to_owned);
    let last =
        process.command.iter().skip(1).filter(|word| word.starts_with('-')).filter_map(flag).next_back();
    matches!(last.as_deref(), Some("" | "=true" | "=1" | "=t" | "=T" | "=TRUE" | "=True"))
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
