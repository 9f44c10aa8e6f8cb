//! Tests of the whole way from bytes to a DaemonSet. kubeadm 1.35.3 wrote the manifests in fixtures/v1.35,
//! kubeadm 1.20 those in fixtures/v1.20. An API server 1.35.3 made each `.live.json` from our DaemonSet (a
//! dry run with strict field validation).

mod compare;
mod daemonset;
mod flags;
mod fuzz;
mod grammar;
mod in_secrets;
mod own_address;
mod parse;
mod properties;
mod standby;
mod yaml;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{ManifestError, StaticPod, Target};
use crate::component::Component;

const HAND_EDITED: &[u8] = include_bytes!("../fixtures/hand-edited.yaml");

/// Component, minor release, manifest, DaemonSet.
const GOLDEN: [(Component, u32, &[u8], &str); 7] = [
    (
        Component::ApiServer,
        35,
        include_bytes!("../fixtures/v1.35/kube-apiserver.yaml"),
        include_str!("../fixtures/v1.35/kube-apiserver.daemonset.json"),
    ),
    (
        Component::ControllerManager,
        35,
        include_bytes!("../fixtures/v1.35/kube-controller-manager.yaml"),
        include_str!("../fixtures/v1.35/kube-controller-manager.daemonset.json"),
    ),
    (
        Component::Scheduler,
        35,
        include_bytes!("../fixtures/v1.35/kube-scheduler.yaml"),
        include_str!("../fixtures/v1.35/kube-scheduler.daemonset.json"),
    ),
    (
        Component::ApiServer,
        20,
        include_bytes!("../fixtures/v1.20/kube-apiserver.yaml"),
        include_str!("../fixtures/v1.20/kube-apiserver.daemonset.json"),
    ),
    (
        Component::ControllerManager,
        20,
        include_bytes!("../fixtures/v1.20/kube-controller-manager.yaml"),
        include_str!("../fixtures/v1.20/kube-controller-manager.daemonset.json"),
    ),
    (
        Component::Scheduler,
        20,
        include_bytes!("../fixtures/v1.20/kube-scheduler.yaml"),
        include_str!("../fixtures/v1.20/kube-scheduler.daemonset.json"),
    ),
    (Component::ApiServer, 35, HAND_EDITED, include_str!("../fixtures/hand-edited.daemonset.json")),
];

fn target(kubernetes_minor: u32) -> Target {
    let role = if kubernetes_minor >= 24 { "control-plane" } else { "master" };
    Target {
        role_label: format!("node-role.kubernetes.io/{role}"),
        opt_in_label: "fulcrum.example/self-hosted".to_owned(),
        kubernetes_minor,
        node_addresses: vec!["192.0.2.10".parse().unwrap()],
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        in_secrets: None,
    }
}

fn parse(component: Component, document: &Value) -> Result<StaticPod, ManifestError> {
    StaticPod::parse(component, document.to_string().as_bytes())
}

/// A scheduler with these words, each list left out if it is empty.
fn scheduler(command: &[&str], args: &[&str]) -> Value {
    let mut container = json!({ "name": "kube-scheduler", "image": "kube-scheduler:v1.35.3" });
    for (key, words) in [("command", command), ("args", args)] {
        if !words.is_empty() {
            container[key] = json!(words);
        }
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "kube-scheduler", "namespace": "kube-system" },
        "spec": { "hostNetwork": true, "containers": [container] },
    })
}

/// The fixture of a component for 1.35 as a document to change.
fn fixture(component: Component) -> Value {
    let (_, _, bytes, _) = GOLDEN.into_iter().find(|(golden, ..)| *golden == component).unwrap();
    let pod = StaticPod::parse(component, bytes).unwrap();
    pod.document
}
