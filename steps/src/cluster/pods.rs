//! Reads Pod objects. Pure.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// Whether the API says that the pod is Ready (and not on its way out).
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready =
        conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready && !is_going(pod)
}

/// Whether the pod is being deleted. It runs until the kubelet has seen that and ended it.
pub(crate) fn is_going(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether the pod is on this node, or will be. The DaemonSet controller writes the name of a pod's node into the pod,
/// and the scheduler places the pod there. A pod that says nothing may be placed on any node.
pub(crate) fn is_of_node(pod: &Pod, node: &str) -> bool {
    let Some(spec) = &pod.spec else { return false };
    if let Some(bound) = &spec.node_name {
        return bound == node;
    }
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|one| one.required_during_scheduling_ignored_during_execution.as_ref());
    let terms = required.iter().flat_map(|required| &required.node_selector_terms);
    let fields = terms.flat_map(|term| term.match_fields.iter().flatten());
    let names = fields.filter(|field| field.key == "metadata.name");
    let mut names = names.flat_map(|field| field.values.iter().flatten()).peekable();
    names.peek().is_none() || names.any(|name| name == node)
}

/// Why the scheduler finds no node for the pod, in its words. `None` if it has found one, or has not looked
/// yet.
pub fn unschedulable(pod: &Pod) -> Option<&str> {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut scheduled = conditions.into_iter().filter(|condition| condition.type_ == "PodScheduled");
    let found = scheduled.find(|condition| condition.status == "False")?;
    (found.reason.as_deref() == Some("Unschedulable")).then(|| found.message.as_deref().unwrap_or_default())
}

/// Whether a container of the pod has ended and was, or will be, started again.
pub(crate) fn has_restarted(pod: &Pod) -> bool {
    let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let ended =
        |status: &ContainerStatus| status.state.as_ref().is_some_and(|state| state.terminated.is_some());
    containers.into_iter().any(|status| status.restart_count > 0 || ended(status))
}

/// Whether a container of the pod waits for an image that could not be had so far.
pub(crate) fn has_no_image(pod: &Pod) -> bool {
    const REASONS: [&str; 4] = ["ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"];
    let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let mut waiting =
        containers.filter_map(|status| status.state.as_ref()?.waiting.as_ref()?.reason.as_deref());
    waiting.any(|reason| REASONS.contains(&reason))
}

/// The hash of the manifest that a mirror pod stands for. `None` for any other pod. The kubelet runs the
/// static pod under the hash as its uid.
pub fn config_hash(pod: &Pod) -> Option<&str> {
    let annotations = pod.metadata.annotations.as_ref()?;
    annotations.contains_key("kubernetes.io/config.mirror").then_some(())?;
    annotations.get("kubernetes.io/config.hash").map(String::as_str)
}

/// What a person would look for in `kubectl describe`: the phase, the conditions that do not hold, and why
/// containers wait, restart, or ended.
pub fn pod_story(pod: &Pod) -> String {
    let name = pod.metadata.name.as_deref().unwrap_or("?");
    let Some(status) = &pod.status else { return format!("pod {name} has no status yet") };
    let mut parts = vec![format!("pod {name} is {}", status.phase.as_deref().unwrap_or("of no phase"))];
    if is_going(pod) {
        parts.push("it is being deleted".to_owned());
    }
    for condition in status.conditions.iter().flatten().filter(|condition| condition.status != "True") {
        let why = condition.message.as_deref().or(condition.reason.as_deref()).unwrap_or("no reason given");
        parts.push(format!("not {}: {why}", condition.type_));
    }
    parts.extend(status.message.clone());
    parts.extend(status.container_statuses.iter().flatten().filter_map(container_story));
    parts.join("; ")
}

fn container_story(status: &ContainerStatus) -> Option<String> {
    let state = status.state.as_ref()?;
    let now = match (&state.waiting, &state.terminated) {
        (Some(waiting), _) => format!(
            "waits: {} {}",
            waiting.reason.as_deref().unwrap_or("no reason given"),
            waiting.message.as_deref().unwrap_or_default()
        ),
        (_, Some(ended)) => format!("ended with exit code {}", ended.exit_code),
        _ if status.restart_count == 0 => return None,
        _ => "runs".to_owned(),
    };
    let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let last = last.map(|ended| format!(", last exit code {}", ended.exit_code)).unwrap_or_default();
    Some(format!("container {} {}, {} restarts{last}", status.name, now.trim_end(), status.restart_count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_is_of_the_node_on_which_it_is_or_will_be() {
        let pod =
            |spec: serde_json::Value| -> Pod { serde_json::from_value(json!({ "spec": spec })).unwrap() };
        let meant = |node: &str| {
            json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
                { "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [node] }] }
            ] } } })
        };
        for (spec, expected) in [
            (json!({ "containers": [], "nodeName": "cp1" }), true),
            (json!({ "containers": [], "nodeName": "cp11" }), false),
            (json!({ "containers": [], "affinity": meant("cp1") }), true),
            (json!({ "containers": [], "affinity": meant("cp2") }), false),
            (json!({ "containers": [], "nodeName": "cp1", "affinity": meant("cp2") }), true),
            (json!({ "containers": [] }), true),
        ] {
            assert_eq!(is_of_node(&pod(spec.clone()), "cp1"), expected, "{spec}");
        }
    }

    #[test]
    fn a_pods_story_says_why_it_is_not_ready() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "p" },
            "status": {
                "phase": "Pending",
                "conditions": [{ "type": "Ready", "status": "False", "message": "containers with unready status: [c]" },
                               { "type": "PodScheduled", "status": "True" }],
                "containerStatuses": [{
                    "name": "c", "ready": false, "restartCount": 3, "image": "i", "imageID": "",
                    "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 40s" } },
                    "lastState": { "terminated": { "exitCode": 1 } }
                }]
            }
        }))
        .unwrap();
        assert!(!is_ready(&pod));
        assert_eq!(
            pod_story(&pod),
            "pod p is Pending; not Ready: containers with unready status: [c]; \
             container c waits: CrashLoopBackOff back-off 40s, 3 restarts, last exit code 1"
        );
    }
}
