//! The node agent: files and API pods in, processes and statuses out.
//!
//! A static pod's uid is a hash of its content and of its file's path, as in the real kubelet. Equal bytes
//! under an equal name are one pod; under another name they are another pod.

mod local_pod;
mod mirror;
mod probe;
mod secrets;
mod status;

use crate::fault::Disk;
use crate::object::{Key, text};
use crate::options::SimulatorOptions;
use crate::process::Owner;
use crate::reader::Files;
use crate::resource::Resource;
use crate::snapshot::Origin;
use crate::store::Deletion;
use crate::world::{Node, Now, World, node_lifecycle};
use fulcrum_steps::manifest::{read_as_the_kubelet, typed_pod};
use k8s_openapi::api::core::v1::Pod;
use local_pod::{Around, LocalPod};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The kubelet's memory. A boot empties it.
#[derive(Debug, Default)]
pub(super) struct Kubelet {
    pods: Vec<LocalPod>,
    /// The kubelet is idle before this instant.
    runs_from: Duration,
    /// When it takes pods from the API, once it has seen the API answer.
    connects_at: Option<Duration>,
    /// The node's pods as the API last told them.
    known: BTreeMap<String, Known>,
    /// The version of the pods as the API last told them.
    pub(super) told: Option<u64>,
    /// How often a pod came, went or was rejected.
    turns: u64,
    /// For which turn, and which versions of nodes and pods, the mirror pods are right.
    pub(super) mirrored: Option<(u64, [u64; 2])>,
    /// For which turn, which version of the nodes and which pressure the node's status is right.
    pub(super) reported: Option<(u64, u64, bool)>,
    parsed: BTreeMap<String, Parsed>,
    /// A slow kubelet does not look before this instant.
    next_round: Duration,
}

/// A file, and what it asks for. Parsed again only when its content changes. `None`: it is no pod.
#[derive(Debug)]
struct Parsed {
    content: Arc<[u8]>,
    desired: Option<Arc<Desired>>,
}

/// A pod of the API, and what it asks for. Read again only when its version changes.
#[derive(Debug)]
struct Known {
    object: Arc<Value>,
    desired: Option<Arc<Desired>>,
}

/// A pod that should run here.
#[derive(Debug, Clone)]
pub(super) struct Desired {
    pub(super) owner: Owner,
    pub(super) object: Value,
    pub(super) pod: Pod,
}

impl Kubelet {
    /// The kubelet after a boot: it knows nothing, and starts at `runs_from`.
    pub(super) fn booted(runs_from: Duration) -> Self {
        Self { runs_from, ..Self::default() }
    }

    fn is_connected(&self, now: Duration) -> bool {
        self.connects_at.is_some_and(|at| now >= at)
    }
}

/// One round: finds what should run and what runs, and tells the API.
///
/// A kubelet talks to the API server of its own node only (`ControlPlaneKubeletLocalMode`): other nodes do not
/// rescue it.
pub(super) fn advance(world: &mut World, number: usize, now: Now, files: &Files) {
    let node = &mut world.nodes[number];
    if now.at < node.kubelet.runs_from {
        return;
    }
    let api_up = node.api_up();
    if api_up && node.kubelet.connects_at.is_none() {
        node.kubelet.connects_at = Some(now.at + node.options.pace.reconnect);
    }
    let talks = api_up && node.kubelet.is_connected(now.at);
    let rests = now.at < node.kubelet.next_round;
    if talks {
        node_lifecycle::beat(world, number, now);
    }
    if rests {
        return;
    }
    rest(&mut world.nodes[number], now);
    let mut desired = from_files(world, number, now, files);
    if talks {
        take_pods(world, number);
    }
    desired.extend(world.nodes[number].kubelet.known.values().filter_map(|known| known.desired.clone()));
    settle(world, number, desired, now);
    if talks {
        forget_ended(world, number, now);
        let there = Some((world.nodes[number].kubelet.turns, world.store.all_changed(["nodes", "pods"])));
        if world.nodes[number].kubelet.mirrored != there {
            mirror::sync(world, number, now);
            world.nodes[number].kubelet.mirrored = there;
        }
        status::report(world, number, now);
    }
}

/// A slow kubelet does not look again for a while.
pub(super) fn rest(node: &mut Node, now: Now) {
    let extra = node.faults.kubelet_slowness.saturating_sub(1);
    node.kubelet.next_round = now.at + node.options.pace.start * extra;
}

/// Ends what should not run, starts what should, and moves all pods on.
fn settle(world: &mut World, number: usize, desired: Vec<Arc<Desired>>, now: Now) {
    let World { nodes, log, store, .. } = world;
    let Node { kubelet, machine, faults, options, .. } = &mut nodes[number];
    let mut around = Around { machine, faults, log, options, now };
    let rejected = |pods: &[LocalPod]| pods.iter().filter(|local| local.failed.is_some()).count();
    let before = rejected(&kubelet.pods);
    for local in &mut kubelet.pods {
        let wanted = desired.iter().any(|d| d.owner.pod_uid == local.owner.pod_uid);
        if !wanted {
            local.end(&mut around);
        } else if around.faults.disk != Disk::Roomy {
            local.evict(&mut around);
        }
    }
    for wanted in desired {
        let there = |l: &LocalPod| l.owner.pod_uid == wanted.owner.pod_uid || l.owner.pod == wanted.owner.pod;
        if !kubelet.pods.iter().any(there) && secrets::missing(store, &wanted).is_none() {
            let mut local = LocalPod::new(&wanted, &mut around);
            local.admit(&kubelet.pods, &mut around);
            kubelet.pods.push(local);
            kubelet.turns += 1;
        }
    }
    for local in &mut kubelet.pods {
        local.advance(&mut around);
    }
    let all = kubelet.pods.len();
    kubelet.turns += u64::from(rejected(&kubelet.pods) != before);
    kubelet.pods.retain(|local| !local.has_ended(around.machine));
    kubelet.turns += u64::from(kubelet.pods.len() != all);
}

/// The static pods. A file that does not parse is no pod: a half-written file ends the pod that was there.
fn from_files(world: &mut World, number: usize, now: Now, files: &Files) -> Vec<Arc<Desired>> {
    let World { nodes, log, .. } = world;
    let Node { kubelet, options, .. } = &mut nodes[number];
    kubelet.parsed.retain(|name, _| files.contains_key(name));
    let mut desired: Vec<Arc<Desired>> = Vec::new();
    for (name, content) in files {
        // What was not read again is the same bytes in the same place.
        let same = |known: &Parsed| Arc::ptr_eq(&known.content, content) || known.content == *content;
        if !kubelet.parsed.get(name).is_some_and(same) {
            let parsed = parse(name, content, options);
            if let Err(why) = &parsed {
                log.add(now.at, format!("file {name}"), format!("is not a pod: {why}"));
            }
            let desired = parsed.ok().map(Arc::new);
            kubelet.parsed.insert(name.clone(), Parsed { content: Arc::clone(content), desired });
        }
        let Some(Parsed { desired: Some(pod), .. }) = kubelet.parsed.get(name) else { continue };
        if !desired.iter().any(|other| other.owner.pod == pod.owner.pod) {
            desired.push(Arc::clone(pod));
        }
    }
    desired
}

fn parse(name: &str, content: &[u8], options: &SimulatorOptions) -> Result<Desired, String> {
    let pod = read_as_the_kubelet(content).ok_or("it is neither YAML nor JSON")?;
    let pod: Pod = typed_pod(&pod).map_err(|e| e.to_string())?;
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
fn take_pods(world: &mut World, number: usize) {
    let World { nodes, store, .. } = world;
    let Node { kubelet, options, .. } = &mut nodes[number];
    let version = Some(store.changed("pods"));
    if kubelet.told == version {
        return;
    }
    kubelet.told = version;
    let mine = |p: &&Arc<Value>| text(p, "/spec/nodeName") == options.node_name && !mirror::is_mirror(p);
    let mut before = std::mem::take(&mut kubelet.known);
    for pod in store.list("pods", None).filter(mine) {
        let (uid, version) = (text(pod, "/metadata/uid"), text(pod, "/metadata/resourceVersion"));
        let same = |known: &Known| text(&known.object, "/metadata/resourceVersion") == version;
        let known = before.remove(uid).filter(same);
        let read = || Known { object: Arc::clone(pod), desired: from_api(pod).map(Arc::new) };
        kubelet.known.insert(uid.to_owned(), known.unwrap_or_else(read));
    }
}

fn from_api(object: &Value) -> Option<Desired> {
    // A pod that has failed or succeeded does not run again under its uid.
    let over = matches!(text(object, "/status/phase"), "Failed" | "Succeeded");
    if over || !object["metadata"]["deletionTimestamp"].is_null() {
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

/// Removes pods from the API that were told to end and have ended: the kubelet's own deletion, without grace.
/// A pod with a finalizer stays until the finalizer is gone.
fn forget_ended(world: &mut World, number: usize, now: Now) {
    let World { nodes, store, log, .. } = world;
    let kubelet = &nodes[number].kubelet;
    let Some(pods) = Resource::named("pods") else { return };
    for (uid, Known { object, .. }) in &kubelet.known {
        let runs = kubelet.pods.iter().any(|local| local.owner.pod_uid == *uid);
        if runs || object["metadata"]["deletionTimestamp"].is_null() {
            continue;
        }
        let how = Deletion { uid: Some(uid.clone()), grace: Some(0), ..Deletion::default() };
        let key = Key::of("pods", object);
        // The pod is gone already, or another has that name by now: nothing to remove.
        if let Err(failure) = store.delete(pods, &key, &how, now.wall) {
            log.add(now.at, format!("pod {}/{}", key.namespace, key.name), failure.message);
        }
    }
}
