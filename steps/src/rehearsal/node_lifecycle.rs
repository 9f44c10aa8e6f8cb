//! The node lifecycle controller, which is the controller manager's: a node's conditions become taints.

use super::election;
use super::store::{Key, text};
use super::world::{Now, World};
use serde_json::{Value, json};

const TAINT: &str = "node.kubernetes.io/disk-pressure";

pub(super) fn advance(world: &mut World, now: Now) {
    if !election::works(world, "kube-controller-manager") {
        return;
    }
    let key = Key::new("nodes", "", &world.options.node_name);
    let changed = world.store.edit(&key, |node| {
        let pressed = has_condition(node, "DiskPressure");
        let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
        let mut taints: Vec<Value> = taints.into_iter().filter(|t| text(t, "/key") != TAINT).collect();
        if pressed {
            taints.push(json!({"key": TAINT, "effect": "NoSchedule"}));
        }
        if taints.len() != node["spec"]["taints"].as_array().map_or(0, Vec::len) {
            node["spec"]["taints"] = json!(taints);
        }
    });
    if changed {
        world.log.add(now.at, format!("node {}", key.name), "taints follow its conditions");
    }
}

fn has_condition(node: &Value, kind: &str) -> bool {
    let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    conditions.filter(|c| c["type"] == kind).any(|c| c["status"] == "True")
}
