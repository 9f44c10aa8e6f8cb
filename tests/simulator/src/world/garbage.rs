//! Garbage collection, a task of the controller manager: dependents of objects that are gone, and the
//! finalizers by which a deletion waits for its dependents.

use super::election;
use super::{Now, World};
use crate::object::{Key, text};
use crate::resource::Resource;
use crate::store::{Deleted, Deletion};
use serde_json::Value;
use std::sync::Arc;

/// What the collector saw when it last worked. While that stands still, there is nothing for it to do.
#[derive(Debug, Default)]
pub(super) struct Collected {
    seen: Option<[u64; 2]>,
}

pub(super) fn advance(world: &mut World, now: Now) {
    let there = Some(world.store.all_changed(["daemonsets", "pods"]));
    if world.collected.seen == there || !election::works(world, "kube-controller-manager") {
        return;
    }
    world.collected.seen = there;
    let sets: Vec<Arc<Value>> = world.store.list("daemonsets", None).cloned().collect();
    let owned: Vec<Arc<Value>> =
        world.store.list("pods", None).filter(|p| !owner_uid(p).is_empty()).cloned().collect();
    for pod in &owned {
        let owner = owner_uid(pod);
        match sets.iter().find(|set| text(set, "/metadata/uid") == owner) {
            None => delete_pod(world, pod, "its DaemonSet is gone", now),
            Some(set) if waits(set, "foregroundDeletion") => {
                delete_pod(world, pod, "its DaemonSet is going", now);
            }
            Some(set) if waits(set, "orphan") => orphan(world, pod),
            Some(_) => {}
        }
    }
    let revisions = world.store.list("controllerrevisions", None);
    let left =
        revisions.filter(|revision| sets.iter().all(|set| text(set, "/metadata/uid") != owner_uid(revision)));
    for key in left.map(|revision| Key::of("controllerrevisions", revision)).collect::<Vec<_>>() {
        world.store.remove(&key);
    }
    for set in &sets {
        let uid = text(set, "/metadata/uid");
        let goes = !set["metadata"]["deletionTimestamp"].is_null();
        if goes && !world.store.list("pods", None).any(|pod| owner_uid(pod) == uid) {
            release(world, &Key::of("daemonsets", set));
        }
    }
}

/// Uid of the DaemonSet that controls an object; empty if none does.
pub(super) fn owner_uid(object: &Value) -> &str {
    let owners = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    let mut sets = owners.filter(|o| o["kind"] == "DaemonSet" && o["controller"] == true);
    sets.next().map_or("", |owner| text(owner, "/uid"))
}

/// Tells a pod to end, once.
pub(super) fn delete_pod(world: &mut World, pod: &Value, why: &str, now: Now) {
    let (Some(pods), key) = (Resource::named("pods"), Key::of("pods", pod)) else { return };
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        return;
    }
    let how = Deletion { uid: Some(text(pod, "/metadata/uid").to_owned()), ..Deletion::default() };
    let what = match world.store.delete(pods, &key, &how, now.wall) {
        Ok(Deleted::Pending(_)) => format!("deletion asked for: {why}"),
        Ok(Deleted::Gone(_)) => format!("deleted before it was bound: {why}"),
        Err(failure) => failure.message,
    };
    world.log.add(now.at, format!("pod {}/{}", key.namespace, key.name), what);
}

fn waits(set: &Value, finalizer: &str) -> bool {
    let finalizers = set["metadata"]["finalizers"].as_array();
    !set["metadata"]["deletionTimestamp"].is_null()
        && finalizers.is_some_and(|f| f.iter().any(|f| f == finalizer))
}

fn orphan(world: &mut World, pod: &Value) {
    world.store.edit(&Key::of("pods", pod), |pod| {
        if let Some(owners) = pod["metadata"]["ownerReferences"].as_array_mut() {
            owners.retain(|owner| owner["kind"] != "DaemonSet");
        }
    });
}

/// No object depends on this one any more: removes the simulation's own finalizers.
fn release(world: &mut World, key: &Key) {
    world.store.edit(key, |set| {
        if let Some(finalizers) = set["metadata"]["finalizers"].as_array_mut() {
            finalizers.retain(|f| f != "foregroundDeletion" && f != "orphan");
        }
    });
}
