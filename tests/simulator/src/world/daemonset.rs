//! The DaemonSet controller. It acts only while a controller manager leads and its API server is up.
//!
//! It goes through the nodes in the order of their names. (The real one goes through a map.) It looks at a DaemonSet when
//! the object or one of its pods has changed, and at a time that it has noted: see [`Queue`].

use super::election;
use super::garbage::{delete_pod, owner_uid};
use super::revisions::{self, HASH_LABEL};
use super::scheduler::{selects, tolerates};
use super::{Now, World};
use crate::object::{Key, object_at, text};
use crate::pace::Pace;
use crate::resource::Resource;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// The tolerations that the controller adds to its pods' own.
const TOLERATED: [(&str, &str); 7] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ("node.kubernetes.io/network-unavailable", "NoSchedule"),
];

pub(super) fn advance(world: &mut World, now: Now) {
    if !election::works(world, "kube-controller-manager") {
        // One that begins to lead looks at everything.
        world.daemons.queue = Queue::default();
        world.daemons.seen = None;
        return;
    }
    let there = Some(world.store.all_changed(["daemonsets", "nodes", "pods"]));
    if world.daemons.seen == there && !world.daemons.queue.has_due(now) {
        return;
    }
    world.daemons.seen = there;
    let nodes: Vec<Arc<Value>> = world.store.list("nodes", None).cloned().collect();
    note_readiness(world, now);
    let sets: Vec<Arc<Value>> = world.store.list("daemonsets", None).cloned().collect();
    for set in sets {
        let places: Vec<Place> = nodes.iter().map(|node| Place::of(&set, node)).collect();
        note_times(world, &set, now);
        let seen = seen_of(world, &set, &places);
        if !world.daemons.queue.is_due(text(&set, "/metadata/uid"), seen, now) {
            continue;
        }
        if set["metadata"]["deletionTimestamp"].is_null() {
            let hash = world.daemons.template_hash(&set);
            revisions::make_newest(world, &set, &hash, now);
            let mut rolling = Rolling::of(world, &set, &places, now);
            for place in &places {
                manage(world, &set, place, &mut rolling, now);
            }
        }
        report(world, &set, &places, now);
    }
}

/// A node, as a DaemonSet sees it.
#[derive(Hash)]
struct Place {
    node: String,
    /// The set's pods name this node.
    wanted: bool,
    /// And they tolerate its taints, those included that the controller lets every pod tolerate.
    admitted: bool,
}

impl Place {
    fn of(set: &Value, node: &Value) -> Self {
        let spec = &set["spec"]["template"]["spec"];
        let wanted = selects(spec, node);
        // Of a spec this reads nothing else.
        let tolerant = json!({"tolerations": tolerations(spec)});
        let admitted = wanted && tolerates(&tolerant, node, &["NoSchedule", "NoExecute"]);
        Self { node: text(node, "/metadata/name").to_owned(), wanted, admitted }
    }
}

/// How many more nodes a roll-out may work on in this round.
struct Rolling {
    /// Nodes that may get a new pod beside an old one that is available.
    surge: i64,
    /// Nodes that may lose an old pod that is available.
    unavailable: i64,
}

impl Rolling {
    /// `maxSurge` and `maxUnavailable`, without the nodes that use them up already.
    fn of(world: &mut World, set: &Value, places: &[Place], now: Now) -> Self {
        let hash = world.daemons.template_hash(set);
        let strategy = &set["spec"]["updateStrategy"]["rollingUpdate"];
        let wanted: Vec<&Place> = places.iter().filter(|place| place.wanted).collect();
        let share = |field: &str, default: i64| share(&strategy[field], wanted.len(), default);
        let (mut surge, mut unavailable) = (share("maxSurge", 0), share("maxUnavailable", 1));
        for place in wanted {
            let pods = alive_on(world, set, &place.node);
            let available = |pod: &&Arc<Value>| is_available(world, set, pod, now);
            let (current, old): (Vec<_>, Vec<_>) = pods.iter().partition(|pod| is_current(pod, &hash));
            surge -=
                i64::from(current.first().is_some_and(|pod| !available(pod)) && old.iter().any(available));
            unavailable -= i64::from(!pods.iter().any(|pod| available(&pod)));
        }
        Self { surge, unavailable }
    }
}

/// A number, or a part of all in percent, rounded up.
fn share(value: &Value, all: usize, default: i64) -> i64 {
    let percent = value.as_str().and_then(|text| text.strip_suffix('%')?.parse::<i64>().ok());
    let all = i64::try_from(all).unwrap_or(i64::MAX);
    percent.map(|percent| (percent * all + 99) / 100).or(value.as_i64()).unwrap_or(default)
}

/// Makes and deletes pods. In the end the node has the one pod that it should have.
fn manage(world: &mut World, set: &Value, place: &Place, rolling: &mut Rolling, now: Now) {
    let hash = world.daemons.template_hash(set);
    let pods = pods_on(world, set, &place.node);
    if !place.wanted {
        for pod in &pods {
            delete_pod(world, pod, "the node is not selected any more", now);
        }
        return;
    }
    let back_off = format!("{} {}", text(set, "/metadata/uid"), place.node);
    for pod in pods.iter().filter(|pod| text(pod, "/status/phase") == "Failed") {
        world.daemons.failed(&back_off, &world.options.pace, now);
        delete_pod(world, pod, "it has failed", now);
    }
    if let Some(until) = world.daemons.waits(&back_off, now) {
        world.daemons.queue.add(text(set, "/metadata/uid"), until);
        return;
    }
    let alive = alive_on(world, set, &place.node);
    let (current, old): (Vec<_>, Vec<_>) = alive.iter().partition(|pod| is_current(pod, &hash));
    let strategy = &set["spec"]["updateStrategy"];
    let surges = share(&strategy["rollingUpdate"]["maxSurge"], 1, 0) > 0;
    let rolls = text(strategy, "/type") == "RollingUpdate";
    match (current.first(), old.first()) {
        // The controller waits for a pod that ends.
        (None, None) if pods.is_empty() && place.admitted => create(world, set, &place.node, &hash, now),
        (None, Some(pod)) if rolls && surges && !is_ready(pod) => {
            create(world, set, &place.node, &hash, now);
            delete_pod(world, pod, "its template is old and it is not ready", now);
        }
        (None, Some(_)) if rolls && surges && rolling.surge > 0 => {
            rolling.surge -= 1;
            create(world, set, &place.node, &hash, now);
        }
        (None, Some(pod)) if rolls && !surges && !is_available(world, set, pod, now) => {
            delete_pod(world, pod, "its template is old and it is not available", now);
        }
        (None, Some(pod)) if rolls && !surges && rolling.unavailable > 0 => {
            rolling.unavailable -= 1;
            delete_pod(world, pod, "its template is old", now);
        }
        (Some(new), Some(pod)) if is_available(world, set, new, now) || !is_ready(pod) => {
            delete_pod(world, pod, "its successor is available, or it is not ready", now);
        }
        _ => {}
    }
}

fn pods_of<'a>(world: &'a World, set: &'a Value) -> impl Iterator<Item = &'a Arc<Value>> {
    let uid = text(set, "/metadata/uid");
    world.store.list("pods", None).filter(move |pod| owner_uid(pod) == uid)
}

fn pods_on(world: &World, set: &Value, node: &str) -> Vec<Arc<Value>> {
    pods_of(world, set).filter(|pod| node_of(pod) == node).cloned().collect()
}

/// Without those that were told to end.
fn alive_on(world: &World, set: &Value, node: &str) -> Vec<Arc<Value>> {
    let mut pods = pods_on(world, set, node);
    pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    pods
}

/// The node of a DaemonSet's pod, bound or not: the controller has named it in the pod's affinity.
fn node_of(pod: &Value) -> &str {
    let bound = text(pod, "/spec/nodeName");
    let affinity = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let named = &affinity["nodeSelectorTerms"][0]["matchFields"][0]["values"][0];
    if bound.is_empty() { named.as_str().unwrap_or_default() } else { bound }
}

fn is_current(pod: &Value, hash: &str) -> bool {
    pod["metadata"]["labels"][HASH_LABEL] == hash
}

fn is_ready(pod: &Value) -> bool {
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// Whether the pod was Ready for `minReadySeconds`, each as long as the pace says. Conditions count whole
/// seconds, too coarse for a fast pace. So this counts from when this controller first saw the pod ready.
fn is_available(world: &World, set: &Value, pod: &Value, now: Now) -> bool {
    let needed = min_ready(world, set);
    world.daemons.ready_since.get(text(pod, "/metadata/uid")).is_some_and(|since| now.at >= *since + needed)
}

fn min_ready(world: &World, set: &Value) -> Duration {
    let seconds = u32::try_from(set["spec"]["minReadySeconds"].as_i64().unwrap_or(0)).unwrap_or(0);
    world.options.pace.second * seconds
}

fn note_readiness(world: &mut World, now: Now) {
    let ready = |pod: &&Arc<Value>| !owner_uid(pod).is_empty() && is_ready(pod);
    let uids = world.store.list("pods", None).filter(ready).map(|pod| text(pod, "/metadata/uid").to_owned());
    let since = |uid: String| (world.daemons.ready_since.get(&uid).copied().unwrap_or(now.at), uid);
    world.daemons.ready_since = uids.map(since).map(|(at, uid)| (uid, at)).collect();
}

/// Has the set looked at again when a pod of it that has become Ready just now may be available.
fn note_times(world: &mut World, set: &Value, now: Now) {
    let needed = min_ready(world, set);
    let since = &world.daemons.ready_since;
    let is_new = |pod: &Arc<Value>| since.get(text(pod, "/metadata/uid")) == Some(&now.at);
    if !needed.is_zero() && pods_of(world, set).any(is_new) {
        let second = world.options.pace.second;
        world.daemons.queue.add(text(set, "/metadata/uid"), now.at + needed + second);
    }
}

/// All that has the controller look at the set when it changes.
fn seen_of(world: &World, set: &Value, places: &[Place]) -> u64 {
    let mut hasher = DefaultHasher::new();
    places.hash(&mut hasher);
    for object in std::iter::once(set).chain(pods_of(world, set).map(|pod| &**pod)) {
        (text(object, "/metadata/uid"), text(object, "/metadata/resourceVersion")).hash(&mut hasher);
    }
    hasher.finish()
}

/// The template's tolerations and the controller's.
fn tolerations(spec: &Value) -> Value {
    let tolerated =
        TOLERATED.map(|(key, effect)| json!({"key": key, "operator": "Exists", "effect": effect}));
    let own = spec["tolerations"].as_array().cloned().unwrap_or_default();
    own.into_iter().chain(tolerated).collect()
}

fn create(world: &mut World, set: &Value, node: &str, hash: &str, now: Now) {
    let (Some(pods), name) = (Resource::named("pods"), text(set, "/metadata/name")) else { return };
    let mut pod = set["spec"]["template"].clone();
    pod["metadata"]["generateName"] = json!(format!("{name}-"));
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "apps/v1", "kind": "DaemonSet", "name": name, "uid": set["metadata"]["uid"],
        "controller": true, "blockOwnerDeletion": true,
    }]);
    if let Some(labels) = object_at(&mut pod["metadata"], "labels") {
        labels.insert(HASH_LABEL.into(), json!(hash));
        labels.insert("pod-template-generation".into(), json!(set["metadata"]["generation"].to_string()));
    }
    let by_name = json!({"key": "metadata.name", "operator": "In", "values": [node]});
    pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
        json!({"nodeSelectorTerms": [{"matchFields": [by_name]}]});
    pod["spec"]["tolerations"] = tolerations(&pod["spec"]);
    let made = world.store.create(pods, text(set, "/metadata/namespace"), pod, now.wall);
    let what = match made {
        Ok(pod) => format!("made pod {}", text(&pod, "/metadata/name")),
        Err(failure) => format!("could not make a pod: {}", failure.message),
    };
    world.log.add(now.at, format!("daemonset {name}"), what);
}

/// The numbers in the status. Of several pods on a node only the oldest one counts, also while it ends: a roll-out is
/// through on a node when the old pod has gone.
fn report(world: &mut World, set: &Value, places: &[Place], now: Now) {
    let hash = world.daemons.template_hash(set);
    let age = |pod: &Arc<Value>| (is_current(pod, &hash), pod["metadata"]["deletionTimestamp"].is_null());
    let oldest = |place: &Place| pods_on(world, set, &place.node).into_iter().min_by_key(age);
    let pods: Vec<(&Place, Option<Arc<Value>>)> = places.iter().map(|place| (place, oldest(place))).collect();
    let count = |holds: &dyn Fn(bool, Option<&Value>) -> bool| {
        pods.iter().filter(|(place, pod)| holds(place.admitted, pod.as_deref())).count()
    };
    let desired = count(&|admitted, _| admitted);
    let any = |of: &dyn Fn(&Value) -> bool| count(&|admitted, pod| admitted && pod.is_some_and(of));
    let ready = any(&is_ready);
    let available = any(&|pod| is_ready(pod) && is_available(world, set, pod, now));
    let mut status = json!({
        "observedGeneration": set["metadata"]["generation"],
        "desiredNumberScheduled": desired,
        "currentNumberScheduled": any(&|_| true),
        "numberMisscheduled": count(&|admitted, pod| !admitted && pod.is_some()),
        "numberReady": ready,
        "updatedNumberScheduled": any(&|pod| is_current(pod, &hash)),
    });
    // As in the API, zeros in these two are left out.
    for (field, number) in [("numberAvailable", available), ("numberUnavailable", desired - available)] {
        if number > 0 {
            status[field] = json!(number);
        }
    }
    if ready != available {
        let again = now.at + min_ready(world, set);
        world.daemons.queue.add(text(set, "/metadata/uid"), again);
    }
    // Nearly always the status is there already.
    if set["status"] != status {
        world.store.edit(&Key::of("daemonsets", set), |set| set["status"] = status);
    }
}

/// The controller's memory.
#[derive(Debug, Default)]
pub(super) struct Daemons {
    /// When each pod of a DaemonSet was first seen ready.
    ready_since: BTreeMap<String, Duration>,
    /// For a DaemonSet whose pods fail on a node: the instant before which no new pod is made there, and the
    /// pause that led to it.
    back_off: BTreeMap<String, (Duration, Duration)>,
    /// Hash of each DaemonSet's template, with its generation.
    hashes: BTreeMap<String, (i64, String)>,
    queue: Queue,
    /// What stood there at the last look at all DaemonSets.
    pub(super) seen: Option<[u64; 3]>,
}

/// When each DaemonSet is looked at. As Kubernetes' delaying queue, it has one time for each, and keeps the earlier one
/// (`AddAfter`). A pod that becomes Ready after that time was noted is too young then, and no later time is noted: where
/// nothing else changes, a roll-out stands still.
#[derive(Debug, Default)]
struct Queue {
    /// What was seen at the last look.
    seen: BTreeMap<String, u64>,
    again: BTreeMap<String, Duration>,
}

impl Queue {
    fn add(&mut self, set: &str, at: Duration) {
        let noted = self.again.entry(set.to_owned()).or_insert(at);
        *noted = at.min(*noted);
    }

    fn has_due(&self, now: Now) -> bool {
        self.again.values().any(|at| now.at >= *at)
    }

    fn is_due(&mut self, set: &str, seen: u64, now: Now) -> bool {
        let changed = self.seen.insert(set.to_owned(), seen) != Some(seen);
        let is_time = self.again.get(set).is_some_and(|at| now.at >= *at);
        if is_time {
            self.again.remove(set);
        }
        changed || is_time
    }
}

impl Daemons {
    /// A generation's spec does not change.
    fn template_hash(&mut self, set: &Value) -> String {
        let (uid, generation) =
            (text(set, "/metadata/uid"), set["metadata"]["generation"].as_i64().unwrap_or(0));
        if let Some((_, hash)) = self.hashes.get(uid).filter(|(of, _)| *of == generation) {
            return hash.clone();
        }
        let hash = blake3::hash(set["spec"]["template"].to_string().as_bytes()).to_hex()[..10].to_owned();
        self.hashes.insert(uid.to_owned(), (generation, hash.clone()));
        hash
    }

    /// A pod that failed is replaced after a pause, which doubles (`failedPodsBackoff`).
    fn failed(&mut self, on_node: &str, pace: &Pace, now: Now) {
        let before = self.back_off.get(on_node).map_or(Duration::ZERO, |(_, pause)| *pause);
        let pause = (before * 2).clamp(pace.back_off, pace.back_off_max);
        self.back_off.insert(on_node.to_owned(), (now.at + pause, pause));
    }

    /// Until when no new pod is made there.
    fn waits(&self, on_node: &str, now: Now) -> Option<Duration> {
        self.back_off.get(on_node).map(|(until, _)| *until).filter(|until| now.at < *until)
    }
}
