//! The DaemonSet controller, for one node. It acts only while a controller manager leads and the API is up.

use super::election;
use super::garbage::{delete_pod, owner_uid};
use super::scheduler::{selects, tolerates};
use super::{Now, World};
use crate::object::{Key, object_at, text};
use crate::pace::Pace;
use crate::resource::Resource;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const HASH_LABEL: &str = "controller-revision-hash";

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
        return;
    }
    let Some(node) = world.store.get(&Key::new("nodes", "", &world.options.node_name)).cloned() else {
        return;
    };
    note_readiness(world, now);
    let sets: Vec<Arc<Value>> = world.store.list("daemonsets", None).cloned().collect();
    for set in sets {
        let spec = &set["spec"]["template"]["spec"];
        let wanted = selects(spec, &node);
        let admitted = wanted && tolerates(spec, &node, &["NoSchedule", "NoExecute"]);
        if set["metadata"]["deletionTimestamp"].is_null() {
            manage(world, &set, wanted, admitted, now);
        }
        report(world, &set, admitted, now);
    }
}

/// Makes and deletes pods. In the end the node has the one pod that it should have.
fn manage(world: &mut World, set: &Value, wanted: bool, admitted: bool, now: Now) {
    let hash = world.daemons.template_hash(set);
    let pods = pods_of(world, set);
    if !wanted {
        for pod in &pods {
            delete_pod(world, pod, "the node is not selected any more", now);
        }
        return;
    }
    for pod in pods.iter().filter(|pod| text(pod, "/status/phase") == "Failed") {
        world.daemons.failed(text(set, "/metadata/uid"), &world.options.pace, now);
        delete_pod(world, pod, "it has failed", now);
    }
    if world.daemons.waits(text(set, "/metadata/uid"), now) {
        return;
    }
    let is_current = |pod: &Value| pod["metadata"]["labels"][HASH_LABEL] == hash.as_str();
    let alive = |pod: &&Arc<Value>| pod["metadata"]["deletionTimestamp"].is_null();
    let current: Vec<&Arc<Value>> = pods.iter().filter(alive).filter(|p| is_current(p)).collect();
    let old: Vec<&Arc<Value>> = pods.iter().filter(alive).filter(|p| !is_current(p)).collect();
    let strategy = &set["spec"]["updateStrategy"];
    let surges = strategy["rollingUpdate"]["maxSurge"].as_i64().unwrap_or(0) > 0;
    let rolls = text(strategy, "/type") == "RollingUpdate";
    match (current.first(), old.first()) {
        // The controller waits for a pod that ends.
        (None, None) if pods.is_empty() && admitted => create(world, set, &hash, now),
        (None, Some(pod)) if rolls && surges => {
            create(world, set, &hash, now);
            if !is_ready(pod) {
                delete_pod(world, pod, "its template is old and it is not ready", now);
            }
        }
        (None, Some(pod)) if rolls => delete_pod(world, pod, "its template is old", now),
        (Some(new), Some(pod)) if is_available(world, set, new, now) || !is_ready(pod) => {
            delete_pod(world, pod, "its successor is available, or it is not ready", now);
        }
        _ => {}
    }
}

fn pods_of(world: &World, set: &Value) -> Vec<Arc<Value>> {
    let uid = text(set, "/metadata/uid");
    world.store.list("pods", None).filter(|pod| owner_uid(pod) == uid).cloned().collect()
}

fn is_ready(pod: &Value) -> bool {
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// Whether the pod was Ready for `minReadySeconds`, each as long as the pace says. Conditions count whole
/// seconds, too coarse for a fast pace. So this counts from when this controller first saw the pod ready.
fn is_available(world: &World, set: &Value, pod: &Value, now: Now) -> bool {
    let seconds = u32::try_from(set["spec"]["minReadySeconds"].as_i64().unwrap_or(0)).unwrap_or(0);
    let needed = world.options.pace.second * seconds;
    world.daemons.ready_since.get(text(pod, "/metadata/uid")).is_some_and(|since| now.at >= *since + needed)
}

fn note_readiness(world: &mut World, now: Now) {
    let ready = |pod: &&Arc<Value>| !owner_uid(pod).is_empty() && is_ready(pod);
    let uids = world.store.list("pods", None).filter(ready).map(|pod| text(pod, "/metadata/uid").to_owned());
    let since = |uid: String| (world.daemons.ready_since.get(&uid).copied().unwrap_or(now.at), uid);
    world.daemons.ready_since = uids.map(since).map(|(at, uid)| (uid, at)).collect();
}

fn create(world: &mut World, set: &Value, hash: &str, now: Now) {
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
    let by_name = json!({"key": "metadata.name", "operator": "In", "values": [world.options.node_name]});
    pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
        json!({"nodeSelectorTerms": [{"matchFields": [by_name]}]});
    let tolerated =
        TOLERATED.map(|(key, effect)| json!({"key": key, "operator": "Exists", "effect": effect}));
    let own = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    pod["spec"]["tolerations"] = own.into_iter().chain(tolerated).collect();
    let made = world.store.create(pods, text(set, "/metadata/namespace"), pod, now.wall);
    let what = match made {
        Ok(pod) => format!("made pod {}", text(&pod, "/metadata/name")),
        Err(failure) => format!("could not make a pod: {}", failure.message),
    };
    world.log.add(now.at, format!("daemonset {name}"), what);
}

/// The numbers in the status.
fn report(world: &mut World, set: &Value, wanted: bool, now: Now) {
    let hash = world.daemons.template_hash(set);
    let alive = |pod: &Arc<Value>| pod["metadata"]["deletionTimestamp"].is_null();
    let pods: Vec<Arc<Value>> = pods_of(world, set).into_iter().filter(alive).collect();
    let count = |holds: bool| i64::from(holds);
    let available = pods.iter().any(|pod| is_available(world, set, pod, now));
    let desired = count(wanted);
    let mut status = json!({
        "observedGeneration": set["metadata"]["generation"],
        "desiredNumberScheduled": desired,
        "currentNumberScheduled": count(wanted && !pods.is_empty()),
        "numberMisscheduled": count(!wanted && !pods.is_empty()),
        "numberReady": count(wanted && pods.iter().any(|pod| is_ready(pod))),
        "updatedNumberScheduled": count(wanted && pods.iter().any(|p| p["metadata"]["labels"][HASH_LABEL] == hash.as_str())),
    });
    // As in the API, zeros in these two are left out.
    let field = if available && wanted { "numberAvailable" } else { "numberUnavailable" };
    if wanted {
        status[field] = json!(1);
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
    /// For a DaemonSet whose pods fail: the instant before which no new pod is made, and the pause that led
    /// to it.
    back_off: BTreeMap<String, (Duration, Duration)>,
    /// Hash of each DaemonSet's template, with its generation.
    hashes: BTreeMap<String, (i64, String)>,
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
    fn failed(&mut self, set: &str, pace: &Pace, now: Now) {
        let before = self.back_off.get(set).map_or(Duration::ZERO, |(_, pause)| *pause);
        let pause = (before * 2).clamp(pace.back_off, pace.back_off_max);
        self.back_off.insert(set.to_owned(), (now.at + pause, pause));
    }

    fn waits(&self, set: &str, now: Now) -> bool {
        self.back_off.get(set).is_some_and(|(until, _)| now.at < *until)
    }
}
