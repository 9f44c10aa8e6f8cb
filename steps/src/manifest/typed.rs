//! Whether every field has the type that the API gives it, and a word that the API knows. The kubelet does not run a pod
//! in which one has not.

use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::error::ManifestError;
use super::kind::kind_of;
use super::quantity;

/// Fields whose entries are quantities.
const AMOUNTS: [&str; 3] = ["requests", "limits", "overhead"];
/// Fields that are quantities.
const AMOUNT: [&str; 2] = ["sizeLimit", "divisor"];

/// Fields in which the API knows a few words only, by a name that no other field has.
const WORDS: [(&str, &[&str]); 6] = [
    ("dnsPolicy", &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]),
    ("imagePullPolicy", &["Always", "IfNotPresent", "Never"]),
    ("scheme", &["HTTP", "HTTPS"]),
    ("protocol", &["TCP", "UDP", "SCTP"]),
    ("terminationMessagePolicy", &["File", "FallbackToLogsOnError"]),
    ("mountPropagation", &["None", "HostToContainer", "Bidirectional"]),
];
/// Fields whose keys people choose.
const FREE: [&str; 4] = ["labels", "annotations", "matchLabels", "nodeSelector"];

/// The pod of this document, as the kubelet decodes it: a null is an absent field, a quantity may be a number, and
/// the status does not count. Drops fields that the types do not know.
///
/// # Errors
/// If a field has another type than the API's, or a word that the API does not know.
pub fn typed_pod(document: &Value) -> Result<Pod, ManifestError> {
    let mut document = document.clone();
    if let Some(fields) = document.as_object_mut() {
        fields.remove("status");
    }
    as_the_types_are("", &mut document)?;
    serde_path_to_error::deserialize(&document).map_err(|error| ManifestError::WrongType {
        at: error.path().to_string(),
        detail: error.inner().to_string(),
    })
}

/// Takes nulls away, and writes every quantity as a string.
fn as_the_types_are(path: &str, value: &mut Value) -> Result<(), ManifestError> {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            let own = path.rsplit('.').next().unwrap_or_default();
            let (of_amounts, free) = (AMOUNTS.contains(&own), FREE.contains(&own));
            for (key, value) in fields {
                let at = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                if free {
                    continue;
                }
                if of_amounts || AMOUNT.contains(&key.as_str()) {
                    *value = amount(&at, value)?;
                } else {
                    known_word(&at, key, value)?;
                    as_the_types_are(&at, value)?;
                }
            }
        }
        Value::Array(list) => {
            for (at, value) in list.iter_mut().enumerate() {
                as_the_types_are(&format!("{path}[{at}]"), value)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn known_word(at: &str, key: &str, value: &Value) -> Result<(), ManifestError> {
    let known = WORDS.iter().find(|(field, _)| *field == key).map(|(_, words)| *words);
    match (known, value.as_str()) {
        (Some(words), Some(word)) if !word.is_empty() && !words.contains(&word) => {
            let detail = format!("{word:?} is none of {}", words.join(", "));
            Err(ManifestError::WrongType { at: at.to_owned(), detail })
        }
        _ => Ok(()),
    }
}

fn amount(at: &str, value: &Value) -> Result<Value, ManifestError> {
    let wrong = |detail: String| ManifestError::WrongType { at: at.to_owned(), detail };
    match value {
        Value::Number(number) => Ok(number.to_string().into()),
        Value::String(_) if quantity::nanos(value).is_some() => Ok(value.clone()),
        Value::String(text) => Err(wrong(format!("{text:?} is no quantity such as 250m or 1Gi"))),
        other => Err(wrong(format!("{}, expected a quantity such as 250m or 1Gi", kind_of(other)))),
    }
}
