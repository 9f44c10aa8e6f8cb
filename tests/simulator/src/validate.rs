//! The API server's refusals, as far as a pivot can meet them.

use super::failure::Failure;
use super::object::{items, text};
use super::resource::Resource;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Kind, version and namespace of a sent object. Fills in the missing ones.
pub(super) fn envelope(resource: &Resource, namespace: &str, object: &mut Value) -> Result<(), Failure> {
    let Some(fields) = object.as_object_mut() else {
        return Err(Failure::bad_request("the body is not a JSON object"));
    };
    fields.entry("metadata").or_insert_with(|| json!({}));
    for (field, expected) in [("kind", resource.kind.to_owned()), ("apiVersion", resource.api_version())] {
        let found = fields.entry(field).or_insert_with(|| json!(expected));
        if *found != expected {
            let message =
                format!("the {field} in the data ({found}) does not match the expected {expected:?}");
            return Err(Failure::bad_request(message));
        }
    }
    if !object["metadata"].is_object() {
        return Err(Failure::bad_request("metadata is not an object"));
    }
    if !resource.namespaced {
        return Ok(());
    }
    match text(object, "/metadata/namespace") {
        "" => object["metadata"]["namespace"] = json!(namespace),
        own if own != namespace => {
            let message = format!(
                "the namespace of the provided object ({own}) does not match the namespace sent on the request ({namespace})"
            );
            return Err(Failure::bad_request(message));
        }
        _ => {}
    }
    Ok(())
}

/// The rules of the kind. `old` is the object that an update replaces.
pub(super) fn object(resource: &Resource, new: &Value, old: Option<&Value>) -> Result<(), Failure> {
    let name = text(new, "/metadata/name");
    let invalid = |why: String| Err(Failure::invalid(resource.kind, name, why));
    if !is_dns_name(name) {
        return invalid(format!(
            "metadata.name: Invalid value: {name:?}: not a lowercase RFC 1123 subdomain"
        ));
    }
    decodes(resource, new)?;
    let broken = match resource.kind {
        "DaemonSet" => daemon_set(new, old),
        "Pod" => pod(new, old),
        _ => None,
    };
    broken.map_or(Ok(()), invalid)
}

/// An object that is being deleted can lose finalizers, but not gain any (`ValidateNoNewFinalizers`).
pub(super) fn finalizers(resource: &Resource, new: &Value, old: &Value) -> Result<(), Failure> {
    let list = |object: &Value| object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let known = list(old);
    let added: Vec<Value> = list(new).into_iter().filter(|f| !known.contains(f)).collect();
    if old["metadata"]["deletionTimestamp"].is_null() || added.is_empty() {
        return Ok(());
    }
    let why = format!(
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, \
         found new finalizers {added:?}"
    );
    Err(Failure::invalid(resource.kind, text(new, "/metadata/name"), why))
}

/// Whether every known field has the type that it should have.
fn decodes(resource: &Resource, object: &Value) -> Result<(), Failure> {
    fn as_type<T: DeserializeOwned>(object: &Value) -> Result<(), serde_json::Error> {
        T::deserialize(object).map(drop)
    }
    let decoded = match resource.kind {
        "Namespace" => as_type::<core::Namespace>(object),
        "Node" => as_type::<core::Node>(object),
        "Pod" => as_type::<core::Pod>(object),
        "Service" => as_type::<core::Service>(object),
        "ConfigMap" => as_type::<core::ConfigMap>(object),
        "Secret" => as_type::<core::Secret>(object),
        "Event" => as_type::<core::Event>(object),
        "Endpoints" => as_type::<core::Endpoints>(object),
        "DaemonSet" => as_type::<DaemonSet>(object),
        "ControllerRevision" => as_type::<ControllerRevision>(object),
        "EndpointSlice" => as_type::<EndpointSlice>(object),
        "Lease" => as_type::<Lease>(object),
        _ => Ok(()),
    };
    decoded.map_err(|e| {
        let message = format!("{} in version \"v1\" cannot be handled as a {0}: {e}", resource.kind);
        Failure::bad_request(message)
    })
}

fn is_dns_name(name: &str) -> bool {
    let part = |p: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !p.is_empty() && p.chars().all(inner) && !p.starts_with('-') && !p.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(part)
}

fn daemon_set(new: &Value, old: Option<&Value>) -> Option<String> {
    let selector = &new["spec"]["selector"];
    let Some(wanted) = selector["matchLabels"].as_object().filter(|labels| !labels.is_empty()) else {
        return Some("spec.selector: Required value".into());
    };
    let labels = &new["spec"]["template"]["metadata"]["labels"];
    if wanted.iter().any(|(key, value)| labels.get(key) != Some(value)) {
        return Some(format!(
            "spec.template.metadata.labels: Invalid value: {labels}: `selector` does not match template `labels`"
        ));
    }
    if old.is_some_and(|old| old["spec"]["selector"] != *selector) {
        return Some(format!("spec.selector: Invalid value: {selector}: field is immutable"));
    }
    let template = &new["spec"]["template"]["spec"];
    if text(template, "/restartPolicy") != "Always" {
        return Some(
            "spec.template.spec.restartPolicy: Unsupported value: supported values: \"Always\"".into(),
        );
    }
    let rolling = &new["spec"]["updateStrategy"]["rollingUpdate"];
    let is_zero = |v: &Value| *v == json!(0) || *v == json!("0%");
    if rolling.is_object() && is_zero(&rolling["maxSurge"]) == is_zero(&rolling["maxUnavailable"]) {
        return Some(format!(
            "spec.updateStrategy.rollingUpdate: Invalid value: {rolling}: \
             exactly one of maxSurge and maxUnavailable must be greater than 0"
        ));
    }
    containers(template, "spec.template.spec")
}

fn pod(new: &Value, old: Option<&Value>) -> Option<String> {
    if let Some(old) = old
        && mutable_blanked(new) != mutable_blanked(old)
    {
        return Some(
            "spec: Forbidden: pod updates may not change fields other than \
             `spec.containers[*].image` and `spec.tolerations`"
                .into(),
        );
    }
    containers(&new["spec"], "spec")
}

/// A pod's spec without what an update may change.
fn mutable_blanked(pod: &Value) -> Value {
    let mut spec = pod["spec"].clone();
    if let Some(fields) = spec.as_object_mut() {
        fields.remove("tolerations");
    }
    for container in items(&mut spec, "containers") {
        container.as_object_mut().map(|fields| fields.remove("image"));
    }
    spec
}

fn containers(spec: &Value, at: &str) -> Option<String> {
    let Some(list) = spec["containers"].as_array().filter(|list| !list.is_empty()) else {
        return Some(format!("{at}.containers: Required value"));
    };
    let mut names = std::collections::BTreeSet::new();
    for (i, container) in list.iter().enumerate() {
        let name = text(container, "/name");
        if !is_dns_name(name) || !names.insert(name) {
            return Some(format!("{at}.containers[{i}].name: Invalid or duplicate value: {name:?}"));
        }
        if text(container, "/image").is_empty() {
            return Some(format!("{at}.containers[{i}].image: Required value"));
        }
        let volumes = spec["volumes"].as_array();
        for mount in container["volumeMounts"].as_array().into_iter().flatten() {
            let volume = text(mount, "/name");
            if !volumes.is_some_and(|v| v.iter().any(|v| v["name"] == volume)) {
                return Some(format!("{at}.containers[{i}].volumeMounts: Not found: {volume:?}"));
            }
        }
    }
    None
}

/// Drops the fields of a DaemonSet that the API server does not know, as it does with a warning. The types of
/// the API have the known fields.
pub(super) fn drop_unknown(resource: &Resource, object: &mut Value) {
    if resource.kind != "DaemonSet" {
        return;
    }
    let known = serde_json::from_value::<DaemonSet>(object.clone()).and_then(serde_json::to_value);
    if let Ok(known) = known {
        keep_known(object, &known);
    }
}

fn keep_known(value: &mut Value, known: &Value) {
    match (value, known) {
        (Value::Object(fields), Value::Object(known)) => {
            fields.retain(|key, value| known.contains_key(key) || says_nothing(value));
            for (key, value) in fields {
                keep_known(value, known.get(key).unwrap_or(&Value::Null));
            }
        }
        (Value::Array(list), Value::Array(known)) => {
            list.iter_mut().zip(known).for_each(|(value, known)| keep_known(value, known));
        }
        _ => {}
    }
}

/// A known field that the types leave out.
fn says_nothing(value: &Value) -> bool {
    value.is_null()
}
