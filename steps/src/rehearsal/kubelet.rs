//! The node agent: files and API pods in, processes and statuses out.
//!
//! A static pod's uid is a hash of its content and of its file's path, as in the real kubelet: the same
//! bytes under the same name are the same pod, the same bytes under another name are not.

use super::fault::{Faults, Flaw};
use super::log::Log;
use super::options::RehearsalOptions;
use super::process::{Machine, Owner};
use super::program::Program;
use super::snapshot::Origin;
use super::store::{Key, text};
use super::world::{Now, World};
use super::{mirror, probe, status};
use crate::rehearsal::probe::Probes;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Content of the manifests directory by file name, dot-files left out.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// What the kubelet has in memory. A boot empties it.
#[derive(Debug, Default)]
pub(super) struct Kubelet {
    pub(super) pods: Vec<LocalPod>,
    /// Idle before this instant.
    pub(super) runs_from: Duration,
    /// When it takes pods from the API, once it has seen the API answer.
    connects_at: Option<Duration>,
    /// The node's pods as the API last told.
    known: BTreeMap<String, Value>,
    parsed: BTreeMap<String, (blake3::Hash, Option<Desired>)>,
}

/// A pod that should run here.
#[derive(Debug, Clone)]
struct Desired {
    owner: Owner,
    object: Value,
    pod: Pod,
}

/// A pod that runs here, or is on its way in or out.
#[derive(Debug)]
pub(super) struct LocalPod {
    pub(super) owner: Owner,
    /// Where its object is: the pod, or the mirror pod.
    pub(super) key: Key,
    /// The pod as it was read.
    pub(super) object: Value,
    pub(super) pod: Pod,
    sandbox: u32,
    pub(super) containers: Vec<Container>,
    pub(super) started_at: Timestamp,
    ending: bool,
}

/// One container of such a pod.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) image: String,
    command: Vec<String>,
    pub(super) state: State,
    pub(super) restarts: i32,
    back_off: Duration,
    pub(super) probes: Probes,
}

/// A container's state, as its status tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Waiting { reason: &'static str, until: Duration },
    Running { pid: u32, since: Timestamp },
}

impl Kubelet {
    /// After a boot: knows nothing, and starts at `runs_from`.
    pub(super) fn booted(runs_from: Duration) -> Self {
        Self { runs_from, ..Self::default() }
    }

    fn is_connected(&self, now: Duration) -> bool {
        self.connects_at.is_some_and(|at| now >= at)
    }
}

/// One round: what should run, what runs, what the API is told.
pub(super) fn advance(world: &mut World, now: Now, files: &Files) {
    if now.at < world.kubelet.runs_from {
        return;
    }
    let api_up = world.api_up();
    if api_up && world.kubelet.connects_at.is_none() {
        world.kubelet.connects_at = Some(now.at + world.options.pace.reconnect);
    }
    let talks = api_up && world.kubelet.is_connected(now.at);
    let mut desired = from_files(world, now, files);
    if talks {
        take_pods(world);
    }
    desired.extend(world.kubelet.known.values().filter_map(from_api));
    let World { kubelet, machine, faults, log, options, .. } = world;
    for local in &mut kubelet.pods {
        let wanted = desired.iter().any(|d| d.owner.pod_uid == local.owner.pod_uid);
        if !wanted && !local.ending {
            log.add(now.at, format!("pod {}", local.owner.pod), "is told to end");
            local.ending = true;
        }
    }
    for wanted in desired {
        let there = |l: &LocalPod| l.owner.pod_uid == wanted.owner.pod_uid || l.owner.pod == wanted.owner.pod;
        if !kubelet.pods.iter().any(there) {
            log.add(
                now.at,
                format!("pod {}", wanted.owner.pod),
                format!("starts, uid {}", wanted.owner.pod_uid),
            );
            kubelet.pods.push(LocalPod::new(wanted, machine, options, now));
        }
    }
    for local in &mut kubelet.pods {
        local.advance(machine, faults, log, options, now);
    }
    kubelet.pods.retain(|local| !local.has_ended(machine));
    if talks {
        forget_ended(world);
        mirror::sync(world, now);
        status::report(world, now);
    }
}

/// The static pods. What does not parse is no pod: a half-written file ends the pod that was there.
fn from_files(world: &mut World, now: Now, files: &Files) -> Vec<Desired> {
    let World { kubelet, log, options, .. } = world;
    kubelet.parsed.retain(|name, _| files.contains_key(name));
    let mut desired: Vec<Desired> = Vec::new();
    for (name, content) in files {
        let digest = blake3::hash(content);
        if kubelet.parsed.get(name).is_none_or(|(known, _)| *known != digest) {
            let parsed = parse(name, content, options);
            if let Err(why) = &parsed {
                log.add(now.at, format!("file {name}"), format!("is not a pod: {why}"));
            }
            kubelet.parsed.insert(name.clone(), (digest, parsed.ok()));
        }
        let Some((_, Some(pod))) = kubelet.parsed.get(name) else { continue };
        if !desired.iter().any(|other| other.owner.pod == pod.owner.pod) {
            desired.push(pod.clone());
        }
    }
    desired
}

fn parse(name: &str, content: &[u8], options: &RehearsalOptions) -> Result<Desired, String> {
    let content = std::str::from_utf8(content).map_err(|e| e.to_string())?;
    let pod: Pod = serde_saphyr::from_str(content).map_err(|e| e.to_string())?;
    let mut object = serde_json::to_value(&pod).map_err(|e| e.to_string())?;
    let path = options.manifests_dir.join(name);
    let seed = format!("{object}host:{}file:{}", options.node_name, path.display());
    let own = pod.metadata.name.as_deref().filter(|n| !n.is_empty()).ok_or("it has no name")?;
    if pod.spec.as_ref().is_none_or(|spec| spec.containers.is_empty()) {
        return Err("it has no container".into());
    }
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let mirror = format!("{own}-{}", options.node_name);
    object["metadata"]["namespace"] = namespace.into();
    object["metadata"]["name"] = mirror.as_str().into();
    let owner = Owner {
        pod_uid: blake3::hash(seed.as_bytes()).to_hex()[..32].to_owned(),
        pod: format!("{namespace}/{mirror}"),
        origin: Origin::Static,
    };
    Ok(Desired { owner, object, pod })
}

/// Asks the API which pods are bound to this node.
fn take_pods(world: &mut World) {
    let World { kubelet, store, options, .. } = world;
    let mine = |p: &&Value| text(p, "/spec/nodeName") == options.node_name && !mirror::is_mirror(p);
    kubelet.known = store
        .list("pods", None)
        .filter(mine)
        .map(|pod| (text(pod, "/metadata/uid").to_owned(), pod.clone()))
        .collect();
}

fn from_api(object: &Value) -> Option<Desired> {
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return None;
    }
    let pod: Pod = serde_json::from_value(object.clone()).ok()?;
    let owner = Owner {
        pod_uid: text(object, "/metadata/uid").to_owned(),
        pod: format!("{}/{}", text(object, "/metadata/namespace"), text(object, "/metadata/name")),
        origin: Origin::Api,
    };
    Some(Desired { owner, object: object.clone(), pod })
}

/// Takes pods out of the API that were told to end and have.
fn forget_ended(world: &mut World) {
    let World { kubelet, store, .. } = world;
    for (uid, object) in &kubelet.known {
        let runs = kubelet.pods.iter().any(|local| local.owner.pod_uid == *uid);
        if !runs && !object["metadata"]["deletionTimestamp"].is_null() {
            store.remove(&Key::of("pods", object));
        }
    }
}

impl LocalPod {
    fn new(desired: Desired, machine: &mut Machine, options: &RehearsalOptions, now: Now) -> Self {
        let Desired { owner, object, pod } = desired;
        let sandbox = machine.spawn(owner.clone(), vec!["/pause".into()], now.at);
        let until = now.at + options.pace.start;
        let spec = pod.spec.as_ref();
        let containers = spec.into_iter().flat_map(|s| &s.containers).map(|c| Container {
            name: c.name.clone(),
            image: c.image.clone().unwrap_or_default(),
            command: command(&pod, c, options),
            state: State::Waiting { reason: "ContainerCreating", until },
            restarts: 0,
            back_off: Duration::ZERO,
            probes: Probes::of(c, options),
        });
        let containers = containers.collect();
        let key = Key::of("pods", &object);
        Self { owner, key, object, sandbox, containers, started_at: now.wall, ending: false, pod }
    }

    fn advance(
        &mut self,
        machine: &mut Machine,
        faults: &Faults,
        log: &mut Log,
        options: &RehearsalOptions,
        now: Now,
    ) {
        let seconds = self.pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds).unwrap_or(30);
        let grace = options.pace.second * u32::try_from(seconds).unwrap_or(0);
        for container in &mut self.containers {
            match container.state {
                State::Running { pid, .. } if machine.procs.contains_key(&pid) => {
                    if self.ending {
                        machine.terminate(pid, now.at, &options.pace, grace);
                    } else {
                        probe::advance(&mut container.probes, machine, options, now);
                    }
                }
                State::Running { pid, .. } => {
                    let code = machine.exit_of(pid).unwrap_or(137);
                    let subject = format!("pod {}", self.owner.pod);
                    if !self.ending {
                        log.add(now.at, subject, format!("{} ({pid}) ended with {code}", container.name));
                    }
                    container.ended(options, now);
                }
                State::Waiting { until, .. } if !self.ending && now.at >= until => {
                    container.start(&self.owner, machine, faults, options, now);
                }
                State::Waiting { .. } => {}
            }
        }
        let alive = |c: &Container| matches!(c.state, State::Running { .. });
        if self.ending && !self.containers.iter().any(alive) {
            machine.kill(self.sandbox, 0);
            machine.exit_of(self.sandbox);
        }
    }

    fn has_ended(&self, machine: &Machine) -> bool {
        self.ending && !machine.procs.contains_key(&self.sandbox)
    }
}

impl Container {
    fn start(
        &mut self,
        owner: &Owner,
        machine: &mut Machine,
        faults: &Faults,
        options: &RehearsalOptions,
        now: Now,
    ) {
        let program = Program::of(&self.command);
        match faults.flaw(&program.name, owner.origin).or(program.flaw) {
            Some(Flaw::ImageMissing) => {
                let until = now.at + options.pace.back_off;
                self.state = State::Waiting { reason: "ImagePullBackOff", until };
            }
            Some(Flaw::HeldDown) => {
                self.state = State::Waiting { reason: "CrashLoopBackOff", until: now.at };
            }
            _ => {
                let pid = machine.spawn(owner.clone(), self.command.clone(), now.at + options.pace.listen);
                self.state = State::Running { pid, since: now.wall };
            }
        }
    }

    /// The first restart is immediate; from then on the pause doubles.
    fn ended(&mut self, options: &RehearsalOptions, now: Now) {
        let pace = &options.pace;
        let until = now.at + self.back_off + pace.start;
        self.state = State::Waiting { reason: "CrashLoopBackOff", until };
        self.back_off = (self.back_off * 2).clamp(pace.back_off, pace.back_off_max);
        self.restarts += 1;
        self.probes.reset();
    }
}

/// Command and arguments with `$(NAME)` replaced by the container's environment.
fn command(
    pod: &Pod,
    container: &k8s_openapi::api::core::v1::Container,
    options: &RehearsalOptions,
) -> Vec<String> {
    let mut environment = Vec::new();
    for variable in container.env.iter().flatten() {
        let field = variable.value_from.as_ref().and_then(|v| v.field_ref.as_ref());
        let value = match field.map(|f| f.field_path.as_str()) {
            Some("status.hostIP" | "status.podIP") => options.node_address.to_string(),
            Some("spec.nodeName") => options.node_name.clone(),
            Some("metadata.name") => pod.metadata.name.clone().unwrap_or_default(),
            Some("metadata.namespace") => pod.metadata.namespace.clone().unwrap_or_default(),
            _ => variable.value.clone().unwrap_or_default(),
        };
        environment.push((format!("$({})", variable.name), value));
    }
    let words = container.command.iter().flatten().chain(container.args.iter().flatten());
    words
        .map(|word| environment.iter().fold(word.clone(), |word, (name, value)| word.replace(name, value)))
        .collect()
}
