//! The node lifecycle controller, a part of the controller manager. It turns a node's conditions into taints.

use super::election;
use super::{Now, World};
use crate::object::{Key, text};
use serde_json::{Value, json};

const TAINT: &str = "node.kubernetes.io/disk-pressure";

pub(super) fn advance(world: &mut World, now: Now) {
    if !election::works(world, "kube-controller-manager") {
        return;
    }
    let key = Key::new("nodes", "", &world.options.node_name);
    let Some(node) = world.store.get(&key) else { return };
    let pressed = has_condition(node, "DiskPressure");
    let taints = node["spec"]["taints"].as_array().into_iter().flatten();
    if pressed == taints.clone().any(|taint| text(taint, "/key") == TAINT) {
        return;
    }
    let mut taints: Vec<Value> = taints.filter(|t| text(t, "/key") != TAINT).cloned().collect();
    if pressed {
        taints.push(json!({"key": TAINT, "effect": "NoSchedule"}));
    }
    let changed = world.store.edit(&key, |node| node["spec"]["taints"] = json!(taints));
    if changed {
        world.log.add(now.at, format!("node {}", key.name), "taints follow its conditions");
    }
}

fn has_condition(node: &Value, kind: &str) -> bool {
    let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    conditions.filter(|c| c["type"] == kind).any(|c| c["status"] == "True")
}
