//! What a pod needs of the API: a static pod may not.

use serde_json::Value;

/// Keys that refer to another object of the API. A kubelet without an API cannot read such an object.
const NEEDS_THE_API: [(&str, &str); 13] = [
    ("secret", "a Secret"),
    ("secretKeyRef", "a Secret"),
    ("secretRef", "a Secret"),
    ("nodePublishSecretRef", "a Secret"),
    ("imagePullSecrets", "a Secret"),
    ("configMap", "a ConfigMap"),
    ("configMapKeyRef", "a ConfigMap"),
    ("configMapRef", "a ConfigMap"),
    ("serviceAccountName", "a ServiceAccount"),
    ("serviceAccountToken", "a ServiceAccount"),
    ("persistentVolumeClaim", "a PersistentVolumeClaim"),
    ("ephemeral", "a PersistentVolumeClaim"),
    ("resourceClaims", "a ResourceClaim"),
];

/// What a pod's spec needs of the API, and a static pod may not have: the path, and the kind of the object.
pub fn api_reference(spec: &Value) -> Option<(String, &'static str)> {
    let by_old_name = spec["serviceAccount"].as_str().is_some_and(|name| !name.is_empty());
    let by_old_name = by_old_name.then(|| ("spec.serviceAccount".to_owned(), "a ServiceAccount"));
    by_old_name.or_else(|| reference("spec", spec))
}

/// The first reference to another object of the API in the value at `at`: its path, and the kind of the object.
pub(super) fn reference(at: &str, value: &Value) -> Option<(String, &'static str)> {
    match value {
        Value::Object(fields) => {
            fields.iter().filter(|(_, value)| !is_nothing(value)).find_map(|(key, value)| {
                let at = format!("{at}.{key}");
                match NEEDS_THE_API.iter().find(|(known, _)| known == key) {
                    Some((_, what)) => Some((at, *what)),
                    None => reference(&at, value),
                }
            })
        }
        Value::Array(list) => {
            list.iter().enumerate().find_map(|(index, value)| reference(&format!("{at}[{index}]"), value))
        }
        _ => None,
    }
}

fn is_nothing(value: &Value) -> bool {
    value.is_null() || value == "" || value.as_array().is_some_and(Vec::is_empty)
}
