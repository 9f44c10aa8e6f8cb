//! The fields that the API server adds to an object that lacks them.
//!
//! Only the fields that appear in control-plane manifests. They matter: an object read back differs from the
//! one that was sent, and a step that compares the two byte by byte would never be done.

use super::canonical;
use super::object::{items, object_at, text};
use super::resource::Resource;
use serde_json::{Map, Value, json};

pub(super) fn fill(resource: &Resource, object: &mut Value) {
    match resource.kind {
        "Pod" => {
            if let Some(spec) = object_at(object, "spec") {
                set(spec, "enableServiceLinks", json!(true));
            }
            if let Some(spec) = object.get_mut("spec") {
                pod_spec(spec);
                host_ports(spec);
            }
            if object.get("status").is_none() {
                object["status"] = json!({"phase": "Pending", "qosClass": "Burstable"});
            }
        }
        "DaemonSet" => daemon_set(object),
        _ => {}
    }
}

fn set(fields: &mut Map<String, Value>, name: &str, value: Value) {
    fields.entry(name).or_insert(value);
}

fn daemon_set(object: &mut Value) {
    template_generation(object);
    let Some(spec) = object_at(object, "spec") else { return };
    set(spec, "revisionHistoryLimit", json!(10));
    set(spec, "updateStrategy", json!({}));
    if let Some(strategy) = spec.get_mut("updateStrategy").and_then(Value::as_object_mut) {
        set(strategy, "type", json!("RollingUpdate"));
        if strategy["type"] == "RollingUpdate" {
            set(strategy, "rollingUpdate", json!({}));
            if let Some(rolling) = strategy["rollingUpdate"].as_object_mut() {
                set(rolling, "maxUnavailable", json!(1));
                set(rolling, "maxSurge", json!(0));
            }
        }
    }
    let template = spec.entry("template").or_insert_with(|| json!({}));
    if let Some(meta) = object_at(template, "metadata") {
        meta.remove("creationTimestamp");
    }
    object_at(template, "spec");
    if let Some(spec) = template.get_mut("spec") {
        pod_spec(spec);
    }
    if object.get("status").is_none() {
        object["status"] = json!({
            "currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0,
        });
    }
}

/// A field of `apps/v1beta2`: the conversion keeps it as an annotation, 1 at first.
fn template_generation(object: &mut Value) {
    if let Some(meta) = object_at(object, "metadata") {
        let annotations = meta.entry("annotations").or_insert_with(|| json!({}));
        if let Some(annotations) = annotations.as_object_mut() {
            set(annotations, "deprecated.daemonset.template.generation", json!("1"));
        }
    }
}

fn pod_spec(spec: &mut Value) {
    for list in ["containers", "initContainers"] {
        for container in items(spec, list) {
            canonical::container(container);
            fill_container(container);
        }
    }
    for volume in items(spec, "volumes") {
        if let Some(path) = volume.get_mut("hostPath").and_then(Value::as_object_mut) {
            set(path, "type", json!(""));
        }
    }
    let Some(fields) = spec.as_object_mut() else { return };
    set(fields, "restartPolicy", json!("Always"));
    set(fields, "dnsPolicy", json!("ClusterFirst"));
    set(fields, "schedulerName", json!("default-scheduler"));
    set(fields, "terminationGracePeriodSeconds", json!(30));
    set(fields, "securityContext", json!({}));
    fields.retain(|_, value| !value.is_null());
}

fn fill_container(container: &mut Value) {
    let latest = {
        let image = text(container, "/image").rsplit('/').next().unwrap_or_default();
        image.ends_with(":latest") || !image.contains([':', '@'])
    };
    let Some(fields) = container.as_object_mut() else { return };
    set(fields, "imagePullPolicy", json!(if latest { "Always" } else { "IfNotPresent" }));
    set(fields, "terminationMessagePath", json!("/dev/termination-log"));
    set(fields, "terminationMessagePolicy", json!("File"));
    set(fields, "resources", json!({}));
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = fields.get_mut(name).and_then(Value::as_object_mut) else { continue };
        for (field, value) in
            [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
        {
            set(probe, field, json!(value));
        }
        if let Some(get) = probe.get_mut("httpGet").and_then(Value::as_object_mut) {
            set(get, "path", json!("/"));
            set(get, "scheme", json!("HTTP"));
        }
    }
    for port in fields.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(port) = port.as_object_mut() {
            set(port, "protocol", json!("TCP"));
        }
    }
    for variable in fields.get_mut("env").and_then(Value::as_array_mut).into_iter().flatten() {
        let field = variable.get_mut("valueFrom").and_then(|v| v.get_mut("fieldRef"));
        if let Some(field) = field.and_then(Value::as_object_mut) {
            set(field, "apiVersion", json!("v1"));
        }
    }
}

/// In a pod, every port on the host's network is a host port, and two pods with one such port do not fit on a
/// node. In a template, the server leaves the ports alone since 1.28.
fn host_ports(spec: &mut Value) {
    if spec["hostNetwork"] != json!(true) {
        return;
    }
    for container in items(spec, "containers") {
        for port in items(container, "ports") {
            let number = port["containerPort"].clone();
            if let Some(port) = port.as_object_mut() {
                set(port, "hostPort", number);
            }
        }
    }
}
