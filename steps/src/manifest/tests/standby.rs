//! From a DaemonSet back to a static pod.

use super::{GOLDEN, target};
use crate::component::Component;
use crate::manifest::{StaticPod, same_spec, standby_of};
use serde_json::{Value, json};

const LIVE: &str = include_str!("../fixtures/v1.35/kube-apiserver.live.json");

fn a_daemonset() -> (Component, Value) {
    let (component, minor, manifest, _) = GOLDEN[0];
    (component, StaticPod::parse(component, manifest).unwrap().daemonset(&target(minor)))
}

/// There and back, and there again: nothing that the DaemonSet runs is lost.
#[test]
fn a_standby_makes_the_same_daemonset() {
    // The last one mounts a ConfigMap.
    for (component, minor, _, golden) in GOLDEN.into_iter().take(6) {
        let daemonset: Value = serde_json::from_str(golden).unwrap();
        let standby = standby_of(component, &daemonset, &target(minor)).unwrap();
        let pod = StaticPod::parse(component, standby.as_bytes()).unwrap();
        assert_eq!(same_spec(&pod.daemonset(&target(minor)), &daemonset), Ok(()), "{component} 1.{minor}");
        assert_eq!(same_spec(&daemonset, &pod.daemonset(&target(minor))), Ok(()), "{component} 1.{minor}");
        assert_eq!(pod.name(), component.name());
        assert!(pod.permits_port_sharing());
        assert!(!standby.contains("HOST_IP") && !standby.contains("node-role"), "{standby}");
    }
}

/// The API server's defaults are no reason to refuse.
#[test]
fn a_standby_is_made_of_what_the_api_tells() {
    let live: Value = serde_json::from_str(LIVE).unwrap();
    let standby = standby_of(Component::ApiServer, &live, &target(35)).unwrap();
    let pod = StaticPod::parse(Component::ApiServer, standby.as_bytes()).unwrap();
    assert_eq!(same_spec(&pod.daemonset(&target(35)), &live), Ok(()));
    assert_eq!(pod.advertise_address(), target(35).node_addresses.first().copied());
}

#[test]
fn what_needs_the_api_is_refused_by_its_place() {
    for (pointer, value, expected) in [
        (
            "/spec/template/spec/volumes/0",
            json!({"name": "v", "secret": {"secretName": "s"}}),
            "spec.volumes[0].secret refers to a Secret",
        ),
        (
            "/spec/template/spec/volumes/0",
            json!({"name": "v", "projected": {"sources": [{"configMap": {"name": "c"}}]}}),
            "sources[0].configMap refers to a ConfigMap",
        ),
        (
            "/spec/template/spec/containers/0/env",
            json!([{"name": "E", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
            "env[0].valueFrom.secretKeyRef refers to a Secret",
        ),
        (
            "/spec/template/spec/serviceAccountName",
            json!("who"),
            "spec.serviceAccountName refers to a ServiceAccount",
        ),
    ] {
        let (component, mut daemonset) = a_daemonset();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = daemonset.pointer_mut(parent).unwrap();
        match parent {
            Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
            parent => parent[key] = value,
        }
        let refused = standby_of(component, &daemonset, &target(35)).unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
}

/// `kubectl rollout restart` changes nothing that a standby has.
#[test]
fn a_restart_is_no_change() {
    let (component, mut daemonset) = a_daemonset();
    let before = standby_of(component, &daemonset, &target(35)).unwrap();
    daemonset["spec"]["template"]["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/restartedAt": "now"});
    assert_eq!(standby_of(component, &daemonset, &target(35)).unwrap(), before);
}
