//! The kubelet's reports to the API, on pods and on the node.

use super::local_pod::{Container, LocalPod, State, Told};
use super::mirror::is_mirror;
use crate::fault::Disk;
use crate::object::{Key, text, time};
use crate::options::SimulatorOptions;
use crate::world::{Node, Now, World};
use serde_json::{Value, json};
use std::sync::Arc;

/// Writes every status that differs from the API's.
pub(super) fn report(world: &mut World, number: usize, now: Now) {
    let World { nodes, store, .. } = world;
    let Node { kubelet, options, .. } = &mut nodes[number];
    for local in &mut kubelet.pods {
        let same = |pod: &&Arc<Value>| text(pod, "/metadata/uid") == local.owner.pod_uid || is_mirror(pod);
        let Some(object) = store.get(&local.key).filter(same) else { continue };
        if local.told.as_ref().is_some_and(|told| told.is(local, object)) {
            continue;
        }
        let status = pod_status(local, &object["status"], options, now);
        store.edit(&local.key, |pod| pod["status"] = status);
        local.told = store.get(&local.key).map(|object| Told::of(local, object));
    }
    report_node(world, number, now);
}

fn report_node(world: &mut World, number: usize, now: Now) {
    let World { nodes, store, .. } = world;
    let Node { kubelet, options, machine, faults, .. } = &mut nodes[number];
    let there = Some((kubelet.turns, store.changed("nodes"), faults.disk != Disk::Roomy));
    if kubelet.reported == there {
        return;
    }
    kubelet.reported = there;
    let key = Key::new("nodes", "", &options.node_name);
    let images = kubelet.pods.iter().flat_map(|p| &p.containers).map(|c| c.image.as_str());
    let used: Vec<&str> = images.chain([PAUSE]).collect();
    let pressed = faults.disk != Disk::Roomy;
    let (status, reason) =
        if pressed { ("True", "KubeletHasDiskPressure") } else { ("False", "KubeletHasNoDiskPressure") };
    let is_told = |node: &Value| {
        let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        let mut pressure = conditions.filter(|c| c["type"] == "DiskPressure");
        text(node, "/status/nodeInfo/bootID") == machine.boot_id
            && used.iter().all(|image| has_image(&node["status"]["images"], image))
            && pressure.all(|condition| condition["status"] == status && condition["reason"] == reason)
    };
    if store.get(&key).is_none_or(|node| is_told(node)) {
        return;
    }
    store.edit(&key, |node| {
        node["status"]["nodeInfo"]["bootID"] = json!(machine.boot_id);
        for image in used {
            note_image(&mut node["status"]["images"], image);
        }
        let conditions = node["status"]["conditions"].as_array_mut();
        for condition in conditions.into_iter().flatten().filter(|c| c["type"] == "DiskPressure") {
            if condition["status"] != status {
                condition["lastTransitionTime"] = json!(time(now.wall));
            }
            (condition["status"], condition["reason"]) = (json!(status), json!(reason));
        }
    });
}

fn has_image(images: &Value, image: &str) -> bool {
    images.as_array().into_iter().flatten().any(|known| known["names"][0] == image)
}

/// The image of every pod's sandbox.
const PAUSE: &str = "registry.k8s.io/pause:3.10.1";

/// An image that was used stays on the disk.
fn note_image(images: &mut Value, image: &str) {
    if !images.is_array() {
        *images = json!([]);
    }
    if has_image(images, image) {
        return;
    }
    if let Some(list) = images.as_array_mut() {
        list.push(json!({"names": [image], "sizeBytes": 0}));
    }
}

fn pod_status(local: &LocalPod, old: &Value, options: &SimulatorOptions, now: Now) -> Value {
    if let Some((reason, why)) = &local.failed {
        let started = time(local.started_at);
        return json!({"phase": "Failed", "reason": reason, "message": why, "startTime": started});
    }
    let ready = local.containers.iter().all(|c| c.probes.ready);
    let running = local.containers.iter().any(|c| matches!(c.state, State::Running { .. }) || c.restarts > 0);
    let over = local.containers.iter().all(|c| c.state == State::Over);
    let phase = match (over, running) {
        (true, _) if local.containers.iter().all(|c| c.last_exit == Some(0)) => "Succeeded",
        (true, _) => "Failed",
        (false, true) => "Running",
        (false, false) => "Pending",
    };
    let condition = |kind: &str, holds: bool| {
        let status = if holds { "True" } else { "False" };
        let before = old["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == kind);
        let since = before.filter(|c| c["status"] == status).map(|c| c["lastTransitionTime"].clone());
        let mut condition = json!({
            "type": kind, "status": status, "lastProbeTime": null,
            "lastTransitionTime": since.unwrap_or_else(|| json!(time(now.wall))),
        });
        if !holds {
            let unready =
                local.containers.iter().filter(|c| !c.probes.ready).map(|c| &c.name).collect::<Vec<_>>();
            condition["reason"] = json!("ContainersNotReady");
            condition["message"] = json!(format!("containers with unready status: {unready:?}"));
        }
        condition
    };
    let address = options.node_address.to_string();
    json!({
        "phase": phase,
        "conditions": [
            condition("PodReadyToStartContainers", true),
            condition("Initialized", true),
            condition("Ready", ready),
            condition("ContainersReady", ready),
            condition("PodScheduled", true),
        ],
        "hostIP": address, "hostIPs": [{"ip": address}],
        "podIP": address, "podIPs": [{"ip": address}],
        "startTime": time(local.started_at),
        "qosClass": "Burstable",
        "containerStatuses": local.containers.iter().map(container_status).collect::<Vec<_>>(),
    })
}

fn container_status(container: &Container) -> Value {
    let (state, id) = match &container.state {
        State::Waiting { reason, .. } => {
            let message = format!("{reason}: container {:?}, image {:?}", container.name, container.image);
            (json!({"waiting": {"reason": reason, "message": message}}), String::new())
        }
        State::Running { pid, since, .. } => {
            (json!({"running": {"startedAt": time(*since)}}), format!("rehearsal://{pid}"))
        }
        State::Ended { .. } | State::Over => (json!({"terminated": terminated(container)}), String::new()),
    };
    let waits = !matches!(container.state, State::Ended { .. } | State::Over);
    let last_state = match container.last_exit {
        Some(_) if waits => json!({"terminated": terminated(container)}),
        _ => json!({}),
    };
    let mut status = json!({
        "name": container.name,
        "image": container.image,
        "imageID": "",
        "ready": container.probes.ready,
        "started": container.probes.started,
        "restartCount": container.restarts,
        "state": state,
        "lastState": last_state,
    });
    if !id.is_empty() {
        status["containerID"] = json!(id);
    }
    status
}

fn terminated(container: &Container) -> Value {
    let code = container.last_exit.unwrap_or(0);
    json!({"exitCode": code, "reason": if code == 0 { "Completed" } else { "Error" }})
}
