//! Mirror pods: the API's view of static pods. They follow the kubelet, never lead it.

use crate::object::{Key, object_at, text};
use crate::resource::Resource;
use crate::snapshot::Origin;
use crate::world::{Node, Now, World};
use fulcrum_steps::manifest::api_reference;
use serde_json::{Value, json};

/// The hash that names the static pod.
const HASH: &str = "kubernetes.io/config.hash";
const MIRROR: &str = "kubernetes.io/config.mirror";

pub(super) fn is_mirror(pod: &Value) -> bool {
    !pod["metadata"]["annotations"][MIRROR].is_null()
}

/// Deletes the mirrors of static pods that are gone or changed, and makes the missing ones.
pub(super) fn sync(world: &mut World, number: usize, now: Now) {
    let World { nodes, store, log, .. } = world;
    let Node { kubelet, options, .. } = &nodes[number];
    let runs = |pod: &Value| {
        let hash = pod["metadata"]["annotations"][HASH].as_str().unwrap_or_default();
        let same = |l: &super::local_pod::LocalPod| l.owner.pod_uid == hash && l.key == Key::of("pods", pod);
        // A mirror pod that a client told to end is made anew: the process never notices.
        pod["metadata"]["deletionTimestamp"].is_null() && kubelet.pods.iter().any(same)
    };
    let stale: Vec<Key> = store
        .list("pods", None)
        .filter(|pod| is_mirror(pod) && text(pod, "/spec/nodeName") == options.node_name && !runs(pod))
        .map(|pod| Key::of("pods", pod))
        .collect();
    for key in stale {
        store.remove(&key);
        log.add(now.at, format!("pod {}/{}", key.namespace, key.name), "mirror pod deleted");
    }
    let (Some(pods), Some(node)) =
        (Resource::named("pods"), store.get(&Key::new("nodes", "", &options.node_name)))
    else {
        return;
    };
    let node_uid = text(node, "/metadata/uid").to_owned();
    for local in kubelet.pods.iter().filter(|l| l.owner.origin == Origin::Static) {
        // The kubelet makes the mirror when it first syncs the pod. A rejected pod is never synced.
        if local.failed.is_some() {
            continue;
        }
        if store.get(&local.key).is_some() {
            continue;
        }
        // Admission forbids the mirror pod of a static pod that needs an object of the API.
        if let Some((at, what)) = api_reference(&local.object["spec"]) {
            let subject = format!("pod {}", local.owner.pod);
            log.add(now.at, subject, format!("no mirror pod: {at} refers to {what}"));
            continue;
        }
        let object = mirror(&local.object, &local.owner.pod_uid, &options.node_name, &node_uid, now);
        let made = store.create(pods, &local.key.namespace, object, now.wall);
        let what =
            made.map_or_else(|f| format!("no mirror pod: {}", f.message), |_| "mirror pod made".into());
        log.add(now.at, format!("pod {}", local.owner.pod), what);
    }
}

fn mirror(manifest: &Value, hash: &str, node: &str, node_uid: &str, now: Now) -> Value {
    let mut pod = manifest.clone();
    let owner =
        json!({"apiVersion": "v1", "kind": "Node", "name": node, "uid": node_uid, "controller": true});
    pod["metadata"]["ownerReferences"] = json!([owner]);
    if let Some(annotations) = object_at(&mut pod["metadata"], "annotations") {
        annotations.insert(HASH.into(), json!(hash));
        annotations.insert(MIRROR.into(), json!(hash));
        annotations.insert("kubernetes.io/config.source".into(), json!("file"));
        annotations.insert("kubernetes.io/config.seen".into(), json!(now.wall.to_string()));
    }
    pod["spec"]["nodeName"] = json!(node);
    pod["spec"]["tolerations"] = json!([{"effect": "NoExecute", "operator": "Exists"}]);
    pod.as_object_mut().map(|fields| fields.remove("status"));
    pod
}
