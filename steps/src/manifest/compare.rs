//! Compares a DaemonSet in the cluster with the one that we would make.

use std::fmt;

use serde_json::Value;

use super::quantity;

/// One place at which the live DaemonSet differs from ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// E.g. `spec.template.spec.containers[0].image`.
    pub path: String,
    /// Our value. `None` where only the live list has an element.
    pub ours: Option<Value>,
    /// The live value. `None` where there is none.
    pub live: Option<Value>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: &Option<Value>| value.as_ref().map_or("absent".to_owned(), Value::to_string);
        write!(f, "{}: ours {}, live {}", self.path, show(&self.ours), show(&self.live))
    }
}

/// Whether the DaemonSet `live` has the `spec` of `ours`, apart from the API server's own changes.
///
/// The live one may have more fields (defaults, and additions by others). Where ours has a value, the live
/// one must have it too. Lists are compared element by element. A value that Go leaves out of JSON equals an
/// absent one, and quantities are compared as amounts.
///
/// # Errors
///
/// Every difference, in the order of ours.
pub fn same_spec(ours: &Value, live: &Value) -> Result<(), Vec<Difference>> {
    let mut differences = Vec::new();
    compare("spec", Keys::default(), ours.get("spec"), live.get("spec"), &mut differences);
    if differences.is_empty() { Ok(()) } else { Err(differences) }
}

/// Whether nothing has changed the spec of the object `live` since its creation.
pub fn as_created(live: &Value) -> bool {
    live["metadata"]["generation"] == 1
}

/// Fields with words of people's choosing: an empty string in them is a value.
const FREE_MAPS: [&str; 4] = ["nodeSelector", "labels", "matchLabels", "annotations"];

/// Fields whose entries are quantities.
const AMOUNTS: [&str; 3] = ["requests", "limits", "overhead"];

/// Fields in which the API server cannot tell zero or false from absent, because their Go type has no third
/// state. The server leaves them out.
const ZERO_IS_ABSENT: [&str; 9] = [
    "readOnly",
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "stdin",
    "stdinOnce",
    "tty",
    "initialDelaySeconds",
    "minReadySeconds",
];

/// Fields in which the API server replaces zero by their default.
const ZERO_IS_DEFAULT: [&str; 4] =
    ["timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"];

/// The last two keys on the way to a value.
#[derive(Clone, Copy, Default)]
struct Keys<'a> {
    parent: &'a str,
    own: &'a str,
}

fn compare(
    path: &str,
    keys: Keys<'_>,
    ours: Option<&Value>,
    live: Option<&Value>,
    out: &mut Vec<Difference>,
) {
    let Some(ours) = ours.filter(|ours| says_something(keys, ours)) else { return };
    match (ours, live) {
        (Value::Object(ours), Some(Value::Object(live))) => {
            for (key, value) in ours {
                let keys = Keys { parent: keys.own, own: key };
                compare(&join(path, key), keys, Some(value), live.get(key), out);
            }
        }
        (Value::Array(ours), Some(Value::Array(live))) => {
            for at in 0..ours.len().max(live.len()) {
                let path = format!("{path}[{at}]");
                match (ours.get(at), live.get(at)) {
                    (Some(ours), Some(live)) => compare(&path, keys, Some(ours), Some(live), out),
                    (ours, live) => {
                        out.push(Difference { path, ours: ours.cloned(), live: live.cloned() });
                    }
                }
            }
        }
        (ours, None) if is_zero(ours) && ZERO_IS_ABSENT.contains(&keys.own) => {}
        (ours, _) if is_zero(ours) && ZERO_IS_DEFAULT.contains(&keys.own) => {}
        (_, Some(live)) if same_scalar(keys, ours, live) => {}
        (_, live) => {
            out.push(Difference { path: path.to_owned(), ours: Some(ours.clone()), live: live.cloned() });
        }
    }
}

/// Whether our value claims anything. If not, Go reads it as absent.
fn says_something(keys: Keys<'_>, ours: &Value) -> bool {
    match ours {
        Value::Null => false,
        // The only member of a volume is empty and still says which kind of volume it is.
        Value::Object(map) => !map.is_empty() || keys.own == "emptyDir",
        Value::Array(list) => !list.is_empty(),
        Value::String(text) => !text.is_empty() || FREE_MAPS.contains(&keys.parent),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

fn is_zero(value: &Value) -> bool {
    value == &Value::Bool(false) || value.as_f64() == Some(0.0)
}

fn same_scalar(keys: Keys<'_>, ours: &Value, live: &Value) -> bool {
    let amount = AMOUNTS.contains(&keys.parent) || matches!(keys.own, "sizeLimit" | "divisor");
    let same_amount = || quantity::nanos(ours).is_some_and(|ours| quantity::nanos(live) == Some(ours));
    let same_number = || ours.as_f64().is_some_and(|ours| live.as_f64() == Some(ours));
    ours == live || same_number() || amount && same_amount()
}

/// A key with dots or slashes in it (a label) goes into brackets. Otherwise the path could not be read.
fn join(path: &str, key: &str) -> String {
    if key.contains(['.', '/']) { format!("{path}[{key}]") } else { format!("{path}.{key}") }
}
