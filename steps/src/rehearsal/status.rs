//! What the kubelet tells the API of pods and of the node.

use super::fault::Disk;
use super::local_pod::{Container, LocalPod, State};
use super::options::RehearsalOptions;
use super::store::{Key, text, time};
use super::world::{Now, World};
use serde_json::{Value, json};

/// Writes every status that differs from what the API has.
pub(super) fn report(world: &mut World, now: Now) {
    let World { kubelet, store, options, machine, faults, .. } = world;
    for local in &kubelet.pods {
        let same =
            |pod: &&Value| text(pod, "/metadata/uid") == local.owner.pod_uid || super::mirror::is_mirror(pod);
        let Some(old) = store.get(&local.key).filter(same).map(|pod| pod["status"].clone()) else { continue };
        let status = pod_status(local, &old, options, now);
        store.edit(&local.key, |pod| pod["status"] = status);
    }
    let boot_id = machine.boot_id.clone();
    let used: Vec<&str> = kubelet.pods.iter().flat_map(|p| &p.containers).map(|c| c.image.as_str()).collect();
    let pressed = faults.disk != Disk::Roomy;
    store.edit(&Key::new("nodes", "", &options.node_name), |node| {
        if text(node, "/status/nodeInfo/bootID") != boot_id {
            node["status"]["nodeInfo"]["bootID"] = json!(boot_id);
        }
        for image in used.into_iter().chain([PAUSE]) {
            note_image(&mut node["status"]["images"], image);
        }
        let (status, reason) =
            if pressed { ("True", "KubeletHasDiskPressure") } else { ("False", "KubeletHasNoDiskPressure") };
        let conditions = node["status"]["conditions"].as_array_mut();
        for condition in conditions.into_iter().flatten().filter(|c| c["type"] == "DiskPressure") {
            if condition["status"] != status {
                condition["lastTransitionTime"] = json!(time(now.wall));
            }
            (condition["status"], condition["reason"]) = (json!(status), json!(reason));
        }
    });
}

/// The image of every pod's sandbox.
const PAUSE: &str = "registry.k8s.io/pause:3.10.1";

/// An image that was used stays on the disk.
fn note_image(images: &mut Value, image: &str) {
    if !images.is_array() {
        *images = json!([]);
    }
    let Some(list) = images.as_array_mut() else { return };
    if !list.iter().any(|known| known["names"][0] == image) {
        list.push(json!({"names": [image], "sizeBytes": 0}));
    }
}

fn pod_status(local: &LocalPod, old: &Value, options: &RehearsalOptions, now: Now) -> Value {
    if let Some((reason, why)) = &local.failed {
        let started = time(local.started_at);
        return json!({"phase": "Failed", "reason": reason, "message": why, "startTime": started});
    }
    let ready = local.containers.iter().all(|c| c.probes.ready);
    let running = local.containers.iter().any(|c| matches!(c.state, State::Running { .. }) || c.restarts > 0);
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
        "phase": if running { "Running" } else { "Pending" },
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
        State::Ended { .. } => (json!({"terminated": terminated(container)}), String::new()),
    };
    let waits = !matches!(container.state, State::Ended { .. });
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
