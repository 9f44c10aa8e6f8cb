//! Makes a static pod out of a DaemonSet: the way back from [`StaticPod::daemonset`].

use super::daemonset::{
    HOST_IP, NODE_RESOLVER, SELECTOR_LABEL, Target, is_host_ip, our_toleration, variable,
};
use super::error::ManifestError;
use super::in_secrets::{InSecrets, out_of_secrets};
use super::own_address;
use super::references::reference;
use super::static_pod::StaticPod;
use crate::cluster::CERTIFICATES_ANNOTATION;
use crate::component::Component;
use serde_json::{Map, Value, json};

/// `kubectl rollout restart` writes the first, `fulcrum certs renew` the second: they change when the pods
/// started, and nothing else.
pub(super) const RESTARTS: [&str; 2] = ["kubectl.kubernetes.io/restartedAt", CERTIFICATES_ANNOTATION];

/// Why a DaemonSet's pod cannot be a static pod.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StandbyError {
    /// It needs another object of the API.
    #[error(
        "spec.template.{at} refers to {what}: a static pod is started without the API and may not; put what it \
         holds into a file on the node and mount that"
    )]
    NeedsTheApi {
        /// The path in the template.
        at: String,
        /// The kind of the object.
        what: &'static str,
    },
    /// It does not run the component.
    #[error("its pod is not one that runs the component: {0}")]
    Manifest(#[from] ManifestError),
}

/// The static manifest that runs what the DaemonSet `live` runs, as JSON. Removes what
/// [`StaticPod::daemonset`] added, except for `--permit-port-sharing`: with it both can run side by side
/// while they change hands.
///
/// # Errors
/// When the DaemonSet refers to an object of the API (a Secret, a ConfigMap, a ServiceAccount), or does not
/// run the component. Certificates in Secrets are none of these: the standby reads the mirror's files.
pub fn standby_of(component: Component, live: &Value, target: &Target) -> Result<String, StandbyError> {
    let template = &live["spec"]["template"];
    let mut spec = template["spec"].as_object().cloned().unwrap_or_default();
    // An object writes an empty name for none.
    spec.retain(|key, value| key != "serviceAccountName" || value != "");
    if let Some(InSecrets { mirror, .. }) = &target.in_secrets {
        out_of_secrets(&mut spec, mirror);
    }
    spec.remove("serviceAccount"); // The old name of the same field; the API server keeps both alike.
    if let Some((at, what)) = reference("spec", &Value::Object(spec.clone())) {
        return Err(StandbyError::NeedsTheApi { at, what });
    }
    let mut document = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(component, template),
        "spec": unplaced(spec, target),
    });
    resolve_own_address(component, &mut document, target)?;
    let pod = StaticPod::parse(component, document.to_string().as_bytes())?;
    Ok(String::from_utf8_lossy(&pod.with_port_sharing()).into_owned())
}

fn metadata(component: Component, template: &Value) -> Value {
    let of_template = |key: &str| template["metadata"][key].as_object().cloned().unwrap_or_default();
    let mut labels = of_template("labels");
    labels.remove(SELECTOR_LABEL);
    let mut annotations = of_template("annotations");
    annotations.retain(|name, _| !RESTARTS.contains(&name.as_str()));
    let mut metadata = json!({ "name": component.name(), "namespace": "kube-system", "labels": labels });
    if !annotations.is_empty() {
        metadata["annotations"] = annotations.into();
    }
    metadata
}

/// The spec without its ties to labels and taints: a kubelet that has not reached the API yet does not know
/// its node's.
fn unplaced(mut spec: Map<String, Value>, target: &Target) -> Map<String, Value> {
    if let Some(selector) = spec.get_mut("nodeSelector").and_then(Value::as_object_mut) {
        selector.retain(|label, _| *label != target.role_label && *label != target.opt_in_label);
    }
    if let Some(tolerations) = spec.get_mut("tolerations").and_then(Value::as_array_mut) {
        tolerations.retain(|toleration| !our_toleration(toleration, target));
    }
    for (field, ours) in [
        ("automountServiceAccountToken", json!(false)),
        ("dnsPolicy", json!(NODE_RESOLVER)),
        ("nodeSelector", json!({})),
        ("tolerations", json!([])),
    ] {
        if spec.get(field) == Some(&ours) {
            spec.remove(field);
        }
    }
    spec
}

/// Writes the node's own address into the component's words. They then need no variable for it, which the kubelet takes
/// from the API's node.
fn resolve_own_address(
    component: Component,
    document: &mut Value,
    target: &Target,
) -> Result<(), ManifestError> {
    let Some(address) = target.node_addresses.first().map(ToString::to_string) else { return Ok(()) };
    let pod = StaticPod::parse(component, document.to_string().as_bytes())?;
    let mut line = pod.line.clone();
    let Some(container) = document["spec"]["containers"][pod.container].as_object_mut() else {
        return Ok(());
    };
    for name in HOST_IP {
        if !variable(container, name).is_some_and(is_host_ip) {
            continue;
        }
        // One word, as earlier versions wrote it: the guard compares it with what they have kept.
        if component == Component::ApiServer
            && line.written("advertise-address").is_some_and(|written| written == format!("$({name})"))
        {
            line.set("advertise-address", &address);
        }
        line.replace_words(|word| own_address::resolved(word, name, &address));
        line.write(container);
        drop_variable(container, name);
    }
    Ok(())
}

/// Takes the variable with the node's address out, unless something else in the container has its name.
fn drop_variable(container: &mut Map<String, Value>, name: &str) {
    let mut rest = container.clone();
    let is_ours = |variable: &Value| variable["name"] == name && is_host_ip(variable);
    if let Some(env) = rest.get_mut("env").and_then(Value::as_array_mut) {
        env.retain(|variable| !is_ours(variable));
        if env.is_empty() {
            rest.remove("env");
        }
    }
    if !mentions(&Value::Object(rest.clone()), name) {
        *container = rest;
    }
}

fn mentions(value: &Value, name: &str) -> bool {
    match value {
        Value::String(text) => text.contains(name),
        Value::Array(list) => list.iter().any(|value| mentions(value, name)),
        Value::Object(map) => map.values().any(|value| mentions(value, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
