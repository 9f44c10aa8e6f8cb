//! Binds pods to nodes while a scheduler leads: selector, taints, host ports. Takes the first node that fits.
//! Affinities to other pods count within a node only.

use super::election;
use super::{Now, World};
use crate::object::{Key, text, time};
use fulcrum_steps::manifest::nanos;
use fulcrum_steps::placement::{admits, repels, requests, unmet};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the scheduler saw when it last worked. While that stands still, there is nothing for it to do.
#[derive(Debug, Default)]
pub(super) struct Scheduled {
    seen: Option<[u64; 2]>,
}

pub(super) fn advance(world: &mut World, now: Now) {
    let there = Some(world.store.all_changed(["nodes", "pods"]));
    if world.scheduled.seen == there || !election::works(world, "kube-scheduler") {
        return;
    }
    world.scheduled.seen = there;
    let unbound = |p: &&Arc<Value>| {
        text(p, "/spec/nodeName").is_empty() && p["metadata"]["deletionTimestamp"].is_null()
    };
    let pods: Vec<Arc<Value>> = world.store.list("pods", None).filter(unbound).cloned().collect();
    let nodes: Vec<Arc<Value>> = world.store.list("nodes", None).cloned().collect();
    if nodes.is_empty() {
        return;
    }
    for pod in pods {
        let key = Key::of("pods", &pod);
        let subject = format!("pod {}/{}", key.namespace, key.name);
        let place = place(world, &pod, &nodes);
        let changed = world.store.edit(&key, |pod| match &place {
            Ok(node) => {
                pod["spec"]["nodeName"] = json!(node);
                set_condition(pod, json!({"type": "PodScheduled", "status": "True"}), now);
            }
            Err(why) => {
                let message = format!("0/{} nodes are available: {why}.", nodes.len());
                let scheduled = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message});
                set_condition(pod, scheduled, now);
            }
        });
        if changed {
            world.log.add(
                now.at,
                subject,
                place.map_or_else(|why| format!("not bound: {why}"), |_| "bound".into()),
            );
        }
    }
}

/// The node for the pod, or how many nodes have which obstacle.
fn place(world: &World, pod: &Value, nodes: &[Arc<Value>]) -> Result<String, String> {
    let mut obstacles: BTreeMap<&str, usize> = BTreeMap::new();
    for node in nodes {
        let name = text(node, "/metadata/name");
        let on_it = |p: &&Value| text(p, "/spec/nodeName") == name;
        let bound: Vec<&Value> = world.store.list("pods", None).map(|p| &**p).filter(on_it).collect();
        match obstacle(pod, node, &bound) {
            None => return Ok(name.to_owned()),
            Some(why) => *obstacles.entry(why).or_default() += 1,
        }
    }
    Err(obstacles.iter().map(|(why, count)| format!("{count} {why}")).collect::<Vec<_>>().join(", "))
}

/// Why the pod does not fit on the node, in the scheduler's words.
fn obstacle(pod: &Value, node: &Value, bound: &[&Value]) -> Option<&'static str> {
    if !selects(&pod["spec"], node) {
        Some("node(s) didn't match Pod's node affinity/selector")
    } else if !tolerates(&pod["spec"], node, &["NoSchedule", "NoExecute"]) {
        Some("node(s) had untolerated taint(s)")
    } else if bound.iter().any(|other| ports_conflict(pod, other)) {
        Some("node(s) didn't have free ports for the requested pod ports")
    } else if unmet(pod, bound, node).is_some() {
        Some("node(s) didn't match pod affinity rules")
    } else if bound.iter().any(|other| repels(pod, other, node)) {
        Some("node(s) didn't match pod anti-affinity rules")
    } else if bound.iter().any(|other| repels(other, pod, node)) {
        Some("node(s) didn't satisfy existing pods anti-affinity rules")
    } else if let Some(lacking) = lacking(pod, node, bound) {
        Some(lacking)
    } else {
        None
    }
}

/// The first resource of which the pod asks for more than is left. The scheduler evicts no pod for it.
fn lacking(pod: &Value, node: &Value, bound: &[&Value]) -> Option<&'static str> {
    let ended = |pod: &&&Value| matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
    let lacks = |resource: &str| {
        let Some(allocatable) = nanos(&node["status"]["allocatable"][resource]) else { return false };
        let taken: i128 =
            bound.iter().filter(|pod| !ended(pod)).map(|pod| requests(&pod["spec"], resource)).sum();
        let wanted = requests(&pod["spec"], resource);
        wanted > 0 && taken + wanted > allocatable
    };
    [("cpu", "Insufficient cpu"), ("memory", "Insufficient memory"), ("pods", "Too many pods")]
        .into_iter()
        .find(|(resource, _)| lacks(resource))
        .map(|(_, words)| words)
}

/// Whether the spec's node selector and its node affinity admit the node.
pub(super) fn selects(spec: &Value, node: &Value) -> bool {
    let labels = &node["metadata"]["labels"];
    let selector = spec["nodeSelector"].as_object();
    let by_label = selector.is_none_or(|s| s.iter().all(|(key, value)| labels.get(key) == Some(value)));
    by_label && admits(spec, node)
}

/// Whether the pod tolerates every taint with one of these effects.
pub(super) fn tolerates(spec: &Value, node: &Value, effects: &[&str]) -> bool {
    let tolerations = spec["tolerations"].as_array().map(Vec::as_slice).unwrap_or_default();
    let taints = node["spec"]["taints"].as_array().into_iter().flatten();
    taints.filter(|t| effects.contains(&text(t, "/effect"))).all(|taint| {
        tolerations.iter().any(|t| {
            let (key, effect) = (text(t, "/key"), text(t, "/effect"));
            let exists = text(t, "/operator") == "Exists";
            (effect.is_empty() || effect == text(taint, "/effect"))
                && (key == text(taint, "/key") || (key.is_empty() && exists))
                && (exists || text(t, "/value") == text(taint, "/value"))
        })
    })
}

fn ports_conflict(pod: &Value, other: &Value) -> bool {
    let theirs = host_ports(other);
    host_ports(pod).iter().any(|port| theirs.contains(port))
}

fn host_ports(pod: &Value) -> Vec<(i64, String)> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let ports = containers.flat_map(|c| c["ports"].as_array().into_iter().flatten());
    ports.filter_map(|p| Some((p["hostPort"].as_i64()?, text(p, "/protocol").to_owned()))).collect()
}

fn set_condition(pod: &mut Value, mut condition: Value, now: Now) {
    if !pod["status"]["conditions"].is_array() {
        pod["status"]["conditions"] = json!([]);
    }
    let Some(conditions) = pod["status"]["conditions"].as_array_mut() else { return };
    let before = conditions.iter().find(|c| c["type"] == condition["type"]);
    let since =
        before.filter(|c| c["status"] == condition["status"]).map(|c| c["lastTransitionTime"].clone());
    condition["lastTransitionTime"] = since.unwrap_or_else(|| json!(time(now.wall)));
    conditions.retain(|c| c["type"] != condition["type"]);
    conditions.push(condition);
}
