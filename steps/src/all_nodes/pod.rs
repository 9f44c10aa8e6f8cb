//! The pod that starts a node's run. `packaging/all-nodes.yaml` is the same pod, for people.

use super::task::Task;
use crate::cluster::NAMESPACE;
use crate::manifest::CRITICAL;
use serde_json::{Value, json};
use std::time::Duration;

/// The longest that such a pod watches. The run goes on after that.
pub const POD_DEADLINE: Duration = Duration::from_secs(3600);

/// The pod's data.
#[derive(Debug, Clone, Copy)]
pub struct PodOf<'a> {
    /// What is to be done.
    pub task: Task,
    /// The node.
    pub node: &'a str,
    /// The image: the static program, and nothing else.
    pub image: &'a str,
    /// The options for the command on the node.
    pub options: &'a [String],
}

/// The name of a node's pod. One name for all tasks: two of them never run beside each other.
pub fn pod_name(node: &str) -> String {
    format!("fulcrum-all-nodes-{node}")
}

/// The pod, as it is sent to the API.
pub fn pod(of: &PodOf) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod_name(of.node),
            "namespace": NAMESPACE,
            "labels": { "app.kubernetes.io/name": "fulcrum", "app.kubernetes.io/component": "all-nodes" },
        },
        "spec": {
            // No scheduler is asked, and no taint keeps the pod away.
            "nodeName": of.node,
            "tolerations": [{ "operator": "Exists" }],
            "priorityClassName": CRITICAL,
            "restartPolicy": "Never",
            "activeDeadlineSeconds": POD_DEADLINE.as_secs(),
            "terminationGracePeriodSeconds": 5,
            // It asks nothing of the API.
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            // It works where no network for pods does.
            "hostNetwork": true,
            "dnsPolicy": "Default",
            // It becomes a process of the host by way of process 1, and tells systemd what to start.
            "hostPID": true,
            "containers": [{
                "name": "fulcrum",
                "image": of.image,
                "imagePullPolicy": "IfNotPresent",
                "command": command(of.task, of.options),
                "securityContext": { "privileged": true, "runAsUser": 0 },
                // What it has said last is in the pod's status: no node has to be asked for a log.
                "terminationMessagePolicy": "FallbackToLogsOnError",
            }],
        },
    })
}

/// The command line of the pod's container.
pub(super) fn command(task: Task, options: &[String]) -> Vec<String> {
    let words = ["/fulcrum", "on-host", task.name(), "--"].map(str::to_owned);
    words.into_iter().chain(options.iter().cloned()).collect()
}
