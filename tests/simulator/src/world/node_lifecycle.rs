//! The node lifecycle controller, a part of the controller manager. It turns a node's conditions into taints,
//! and notes which node has not been heard of for too long: its condition Ready is Unknown then, and its pods
//! are not Ready.

use super::election;
use super::{Now, World};
use crate::object::{Key, text, time};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const DISK_PRESSURE: &str = "node.kubernetes.io/disk-pressure";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// The controller's memory: for how long it has not seen each node renew its lease. Only the kubelet renews the
/// lease. One round counts for a part of the node's time at most: a world that a busy machine moves seldom
/// says nothing about its nodes.
#[derive(Debug, Default)]
pub(super) struct Heartbeats {
    silent: BTreeMap<String, Duration>,
    /// When the controller last worked.
    worked: Duration,
    /// The version of the nodes whose taints follow their conditions.
    pub(super) tainted: Option<u64>,
}

/// One round counts for this part of a node's time at most.
const PART: u32 = 8;

/// A kubelet renews its node's lease.
pub(super) fn beat(world: &mut World, number: usize, now: Now) {
    let name = world.nodes[number].options.node_name.clone();
    world.heartbeats.silent.remove(&name);
    let key = Key::new("nodes", "", &name);
    if world.store.get(&key).is_some_and(|node| ready(node) == "Unknown") {
        world.store.edit(&key, |node| set_ready(node, "True", "KubeletReady", now));
        world.log.add(now.at, format!("node {name}"), "is Ready again");
    }
}

pub(super) fn advance(world: &mut World, now: Now) {
    if !election::works(world, "kube-controller-manager") {
        return;
    }
    let grace = world.options.pace.node_grace;
    let round = now.at.saturating_sub(world.heartbeats.worked).min(grace / PART);
    world.heartbeats.worked = now.at;
    let names: Vec<String> =
        world.store.list("nodes", None).map(|node| text(node, "/metadata/name").to_owned()).collect();
    for name in names {
        let silent = world.heartbeats.silent.entry(name.clone()).or_default();
        *silent += round;
        if *silent > grace {
            lose(world, &name, now);
        }
        if world.heartbeats.tainted != Some(world.store.changed("nodes")) {
            taint(world, &name, now);
        }
    }
    world.heartbeats.tainted = Some(world.store.changed("nodes"));
}

/// Nothing is known of the node any more.
fn lose(world: &mut World, name: &str, now: Now) {
    let key = Key::new("nodes", "", name);
    let changed = world.store.get(&key).is_some_and(|node| ready(node) != "Unknown");
    if !changed {
        return;
    }
    world.store.edit(&key, |node| set_ready(node, "Unknown", "NodeStatusUnknown", now));
    world.log.add(now.at, format!("node {name}"), "is not heard of any more");
    let on_it = world.store.list("pods", None).filter(|pod| text(pod, "/spec/nodeName") == name);
    let pods: Vec<Key> = on_it.map(|pod| Key::of("pods", pod)).collect();
    for key in pods {
        world.store.edit(&key, |pod| set_ready(pod, "False", "NodeNotReady", now));
    }
}

/// Each taint follows its condition.
fn taint(world: &mut World, name: &str, now: Now) {
    let key = Key::new("nodes", "", name);
    let Some(node) = world.store.get(&key) else { return };
    let due = [
        (DISK_PRESSURE, "NoSchedule", has_condition(node, "DiskPressure")),
        (UNREACHABLE, "NoSchedule", ready(node) == "Unknown"),
        (UNREACHABLE, "NoExecute", ready(node) == "Unknown"),
    ];
    let is = |taint: &Value, key: &str, effect: &str| {
        text(taint, "/key") == key && text(taint, "/effect") == effect
    };
    let mut taints: Vec<Value> = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let before = taints.clone();
    for (key, effect, wanted) in due {
        let there = taints.iter().any(|taint| is(taint, key, effect));
        if wanted && !there {
            taints.push(json!({"key": key, "effect": effect}));
        } else if !wanted && there {
            taints.retain(|taint| !is(taint, key, effect));
        }
    }
    if taints != before && world.store.edit(&key, |node| node["spec"]["taints"] = json!(taints)) {
        world.log.add(now.at, format!("node {name}"), "taints follow its conditions");
    }
}

fn conditions(object: &Value) -> impl Iterator<Item = &Value> {
    object["status"]["conditions"].as_array().into_iter().flatten()
}

fn has_condition(node: &Value, kind: &str) -> bool {
    conditions(node).filter(|c| c["type"] == kind).any(|c| c["status"] == "True")
}

fn ready(node: &Value) -> &str {
    conditions(node).find(|c| c["type"] == "Ready").map_or("", |c| text(c, "/status"))
}

fn set_ready(object: &mut Value, status: &str, reason: &str, now: Now) {
    let conditions = object["status"]["conditions"].as_array_mut();
    for condition in conditions.into_iter().flatten().filter(|c| c["type"] == "Ready") {
        if condition["status"] != status {
            condition["lastTransitionTime"] = json!(time(now.wall));
        }
        (condition["status"], condition["reason"]) = (json!(status), json!(reason));
    }
}
