//! A pod on this machine: its containers, from image to exit to restart.

use super::Desired;
use super::probe::{self, Probes};
use crate::fault::{Disk, Faults, Flaw};
use crate::log::Log;
use crate::object::{Key, text};
use crate::options::SimulatorOptions;
use crate::process::{Machine, Owner};
use crate::program::Program;
use crate::snapshot::Origin;
use crate::world::Now;
use fulcrum_steps::manifest::expanded;
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use serde_json::Value;
use std::time::Duration;

/// A pod's surroundings.
pub(super) struct Around<'a> {
    pub(super) machine: &'a mut Machine,
    pub(super) faults: &'a Faults,
    pub(super) log: &'a mut Log,
    pub(super) options: &'a SimulatorOptions,
    pub(super) now: Now,
}

/// A pod that runs here, or is about to start or to end.
#[derive(Debug)]
pub(super) struct LocalPod {
    pub(super) owner: Owner,
    /// The key of its object: the pod, or the mirror pod.
    pub(super) key: Key,
    /// The pod as it was read.
    pub(super) object: Value,
    pod: core::Pod,
    sandbox: u32,
    pub(super) containers: Vec<Container>,
    pub(super) started_at: Timestamp,
    /// Why the kubelet rejects it, reason and message: it has failed for good.
    pub(super) failed: Option<(&'static str, String)>,
    /// When it was told to end.
    ending: Option<Duration>,
    /// What the kubelet last told the API of it.
    pub(super) told: Option<Told>,
}

/// One container of such a pod.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) image: String,
    never_pull: bool,
    never_restarts: bool,
    command: Vec<String>,
    pub(super) state: State,
    /// The exit code of its last process.
    pub(super) last_exit: Option<i32>,
    pub(super) restarts: i32,
    back_off: Duration,
    pub(super) probes: Probes,
}

/// A container's state, as its status tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Waiting {
        reason: &'static str,
        until: Duration,
    },
    Running {
        pid: u32,
        since: Timestamp,
        at: Duration,
    },
    /// It ended, and starts again without a pause.
    Ended {
        until: Duration,
    },
    /// It ended, and its pod's `restartPolicy` is `Never`.
    Over,
}

/// The sources of a pod's status, and the version of the object that it was written into. While all of it is
/// unchanged there is nothing to write.
#[derive(Debug)]
pub(super) struct Told {
    version: String,
    failed: bool,
    containers: Vec<ToldContainer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ToldContainer {
    state: State,
    ready: bool,
    started: bool,
    restarts: i32,
    last_exit: Option<i32>,
}

impl Told {
    pub(super) fn of(local: &LocalPod, object: &Value) -> Self {
        Self {
            version: text(object, "/metadata/resourceVersion").to_owned(),
            failed: local.failed.is_some(),
            containers: local.containers.iter().map(ToldContainer::of).collect(),
        }
    }

    /// Whether the sources are still the same.
    pub(super) fn is(&self, local: &LocalPod, object: &Value) -> bool {
        self.failed == local.failed.is_some()
            && self.version == text(object, "/metadata/resourceVersion")
            && local.containers.iter().map(ToldContainer::of).eq(self.containers.iter().copied())
    }
}

impl ToldContainer {
    fn of(container: &Container) -> Self {
        let Probes { ready, started, .. } = container.probes;
        let Container { state, restarts, last_exit, .. } = *container;
        Self { state, ready, started, restarts, last_exit }
    }
}

impl LocalPod {
    pub(super) fn new(desired: &Desired, around: &mut Around<'_>) -> Self {
        let Desired { owner, object, pod } = desired.clone();
        let Around { machine, options, now, .. } = around;
        let (subject, uid) = (format!("pod {}", owner.pod), owner.pod_uid.clone());
        around.log.add(now.at, subject, format!("starts, uid {uid}"));
        let sandbox = machine.spawn(owner.clone(), ("", vec!["/pause".into()]), now.at, now.at);
        let until = now.at + options.pace.start * around.faults.kubelet_slowness.max(1);
        let spec = pod.spec.as_ref();
        let containers = spec.into_iter().flat_map(|s| &s.containers).map(|c| {
            let command = command(&pod, c, options);
            Container {
                name: c.name.clone(),
                image: c.image.clone().unwrap_or_default(),
                never_restarts: spec.is_some_and(|spec| spec.restart_policy.as_deref() == Some("Never")),
                never_pull: c.image_pull_policy.as_deref() == Some("Never"),
                probes: Probes::of(c, &command, options),
                command,
                state: State::Waiting { reason: "ContainerCreating", until },
                last_exit: None,
                restarts: 0,
                back_off: Duration::ZERO,
            }
        });
        let containers = containers.collect();
        let (key, started_at) = (Key::of("pods", &object), now.wall);
        Self {
            owner,
            key,
            object,
            pod,
            sandbox,
            containers,
            started_at,
            failed: None,
            ending: None,
            told: None,
        }
    }

    /// Tells the pod to end.
    pub(super) fn end(&mut self, around: &mut Around<'_>) {
        if self.ending.is_none() {
            around.log.add(around.now.at, format!("pod {}", self.owner.pod), "is told to end");
            self.ending = Some(around.now.at);
        }
    }

    /// Applies disk pressure: static pods and critical ones stay, all others fail.
    pub(super) fn evict(&mut self, around: &mut Around<'_>) {
        if self.ending.is_none() && !self.is_critical() {
            self.fail("Evicted", "The node had condition: [DiskPressure].", around);
        }
    }

    fn fail(&mut self, reason: &'static str, why: &str, around: &mut Around<'_>) {
        if self.failed.is_none() {
            around.log.add(around.now.at, format!("pod {}", self.owner.pod), format!("{reason}: {why}"));
            self.failed = Some((reason, format!("Pod was rejected: {why}")));
        }
    }

    /// The kubelet's own check of a pod that is new to it (`AdmissionCheck`), also of a static one: no other
    /// pod of the node may have one of its host ports. A rejected static pod is not tried again until its
    /// file changes.
    pub(super) fn admit(&mut self, others: &[LocalPod], around: &mut Around<'_>) {
        let own = self.host_ports();
        // A static pod whose file is gone no longer counts. A pod that the API tells to end still does.
        let counts =
            |l: &&LocalPod| l.failed.is_none() && (l.ending.is_none() || l.owner.origin == Origin::Api);
        let mut taken = others.iter().filter(counts).flat_map(LocalPod::host_ports);
        if taken.any(|port| own.contains(&port)) {
            self.fail("NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports", around);
        }
    }

    /// On the host's network every port of a container is a port of the host.
    fn host_ports(&self) -> Vec<i32> {
        let Some(spec) = &self.pod.spec else { return Vec::new() };
        let on_host = spec.host_network == Some(true);
        let ports = spec.containers.iter().flat_map(|container| container.ports.iter().flatten());
        ports.filter_map(|p| p.host_port.or_else(|| on_host.then_some(p.container_port))).collect()
    }

    /// `IsCriticalPod` of the kubelet.
    fn is_critical(&self) -> bool {
        const SYSTEM_CRITICAL: i64 = 2_000_000_000;
        let spec = &self.object["spec"];
        let class = text(spec, "/priorityClassName");
        self.owner.origin == Origin::Static
            || spec["priority"].as_i64().is_some_and(|priority| priority >= SYSTEM_CRITICAL)
            || matches!(class, "system-node-critical" | "system-cluster-critical")
    }

    pub(super) fn advance(&mut self, around: &mut Around<'_>) {
        let seconds = self.pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds).unwrap_or(30);
        let grace = around.options.pace.second * u32::try_from(seconds).unwrap_or(0);
        let now = around.now;
        // A file that goes is seen at once. The deletion of a pod has the kubelet ask and tell first.
        let told = match self.owner.origin {
            Origin::Api => around.options.pace.told,
            Origin::Static => Duration::ZERO,
        };
        let goes = self.failed.is_some() || self.ending.is_some();
        let stops = self.failed.is_some() || self.ending.is_some_and(|since| now.at >= since + told);
        for container in &mut self.containers {
            match container.state {
                State::Running { pid, .. } if around.machine.procs.contains_key(&pid) => {
                    if stops || container.must_restart(pid, &self.owner, around) {
                        around.machine.terminate(pid, now.at, &around.options.pace, grace);
                    }
                }
                State::Running { pid, at, .. } => {
                    let code = around.machine.exit_of(pid).unwrap_or(137);
                    if !goes {
                        let what = format!("{} ({pid}) ended with {code}", container.name);
                        around.log.add(now.at, format!("pod {}", self.owner.pod), what);
                    }
                    container.ended(code, now.at.saturating_sub(at), around);
                }
                State::Waiting { until, .. } | State::Ended { until } if !goes && now.at >= until => {
                    container.start(&self.owner, around);
                }
                State::Waiting { .. } | State::Ended { .. } | State::Over => {}
            }
        }
        let alive = |c: &Container| matches!(c.state, State::Running { .. });
        if stops && !self.containers.iter().any(alive) {
            around.machine.kill(self.sandbox, 0);
            around.machine.exit_of(self.sandbox);
        }
    }

    pub(super) fn has_ended(&self, machine: &Machine) -> bool {
        self.ending.is_some() && !machine.procs.contains_key(&self.sandbox)
    }
}

impl Container {
    fn start(&mut self, owner: &Owner, around: &mut Around<'_>) {
        let (pace, now) = (&around.options.pace, around.now);
        let Program { name, flaw, .. } = Program::of(&self.command);
        let flaw = around.faults.flaw(&name, owner.origin).or(flaw);
        let later = now.at + pace.back_off;
        self.state = if around.faults.disk == Disk::Full {
            // The runtime has no room for the container's own files: "no space left on device".
            State::Waiting { reason: "CreateContainerError", until: later }
        } else if flaw == Some(Flaw::ImageMissing) || is_nowhere(&self.image) {
            State::Waiting { reason: self.no_image(), until: later }
        } else if flaw == Some(Flaw::HeldDown) {
            State::Waiting { reason: "CrashLoopBackOff", until: now.at }
        } else {
            let program = (self.image.as_str(), self.command.clone());
            let pid = around.machine.spawn(owner.clone(), program, now.at, now.at + pace.listen);
            State::Running { pid, since: now.wall, at: now.at }
        };
    }

    /// Asks the container's probes, unless its process is about to end.
    fn must_restart(&mut self, pid: u32, owner: &Owner, around: &mut Around<'_>) -> bool {
        if around.machine.procs.get(&pid).is_none_or(|proc| proc.is_ending()) {
            return false;
        }
        let fails = probe::advance(&mut self.probes, around.machine, around.options, around.now);
        if fails {
            let what = format!("{} ({pid}) fails its probe and is restarted", self.name);
            around.log.add(around.now.at, format!("pod {}", owner.pod), what);
        }
        fails
    }

    /// The kubelet tries to pull, then pauses, and so on.
    fn no_image(&self) -> &'static str {
        match self.state {
            _ if self.never_pull => "ErrImageNeverPull",
            State::Waiting { reason: "ErrImagePull", .. } => "ImagePullBackOff",
            _ => "ErrImagePull",
        }
    }

    /// The first restart is immediate. From then on the pause doubles, until the container has run for twice
    /// the longest pause.
    fn ended(&mut self, code: i32, ran: Duration, around: &Around<'_>) {
        let (pace, now) = (&around.options.pace, around.now.at);
        if self.never_restarts {
            (self.state, self.last_exit) = (State::Over, Some(code));
            self.probes.reset();
            return;
        }
        if ran >= pace.back_off_max * 2 {
            self.back_off = Duration::ZERO;
        }
        let until = now + self.back_off + pace.start * around.faults.kubelet_slowness.max(1);
        self.state = if self.back_off.is_zero() {
            State::Ended { until }
        } else {
            State::Waiting { reason: "CrashLoopBackOff", until }
        };
        self.back_off = (self.back_off * 2).clamp(pace.back_off, pace.back_off_max);
        self.last_exit = Some(code);
        self.restarts += 1;
        self.probes.reset();
    }
}

/// Whether no registry has the image: the top-level domain `invalid` names no host (RFC 2606). The node has
/// every other image.
fn is_nowhere(image: &str) -> bool {
    image.split_once('/').is_some_and(|(host, _)| host == "invalid" || host.ends_with(".invalid"))
}

/// Command and arguments with `$(NAME)` replaced by the container's environment. Without a command it is the
/// image's entry point, which the simulation names after the image, as `/pause` is.
fn command(pod: &core::Pod, container: &core::Container, options: &SimulatorOptions) -> Vec<String> {
    let field = |path: &str| match path {
        "status.hostIP" | "status.podIP" | "status.hostIPs" | "status.podIPs" => {
            Some(options.node_address.to_string())
        }
        "spec.nodeName" => Some(options.node_name.clone()),
        "metadata.name" => pod.metadata.name.clone(),
        "metadata.namespace" => pod.metadata.namespace.clone(),
        _ => None,
    };
    let fields = serde_json::to_value(container).unwrap_or_default();
    let [command, args] = fields.as_object().map(|fields| expanded(fields, field)).unwrap_or_default();
    if !command.is_empty() {
        return [command, args].concat();
    }
    let image = container.image.as_deref().unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default().split([':', '@']).next().unwrap_or_default();
    [vec![format!("/{name}")], args].concat()
}
