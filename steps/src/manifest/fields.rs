//! Changes of single fields of a pod template, there and back. Pure.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The keys by which an entry of a list is known, in the order in which they are looked for.
const KEYS: [&str; 3] = ["name", "mountPath", "key"];

/// One field of a pod template that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// The way to the field: keys of objects, and names of a list's entries (`name`, `mountPath` or `key`).
    pub path: Vec<String>,
    /// The value before. `None` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<Value>,
    /// The value after. `None` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Value>,
}

impl FieldChange {
    /// The way to the field as people read it: `spec.containers[kube-apiserver].image`.
    pub fn place(&self) -> String {
        self.path.join(".")
    }
}

/// The name by which a list's entry is known. `None` for an entry without one.
pub(crate) fn name_of(entry: &Value) -> Option<&str> {
    KEYS.iter().find_map(|key| entry.get(key)?.as_str())
}

/// The value at `path`.
pub(crate) fn get<'a>(document: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(document, |at, key| match at {
        Value::Array(list) => list.iter().find(|entry| name_of(entry) == Some(key)),
        other => other.get(key),
    })
}

/// Puts `value` at `path`, or takes away what is there. Returns `false` if there is no way to the field.
pub(crate) fn put(document: &mut Value, path: &[String], value: Option<&Value>) -> bool {
    let Some((last, way)) = path.split_last() else { return false };
    let mut at = document;
    for key in way {
        let next = match at {
            Value::Array(list) => list.iter_mut().find(|entry| name_of(entry) == Some(key)),
            other => other.get_mut(key),
        };
        let Some(next) = next else { return false };
        at = next;
    }
    match (at, value) {
        (Value::Array(list), value) => {
            let found = list.iter().position(|entry| name_of(entry) == Some(last));
            match (found, value) {
                (Some(at), Some(value)) => list[at] = value.clone(),
                (Some(at), None) => drop(list.remove(at)),
                (None, Some(value)) => list.push(value.clone()),
                (None, None) => {}
            }
        }
        (Value::Object(map), Some(value)) => drop(map.insert(last.clone(), value.clone())),
        (Value::Object(map), None) => drop(map.remove(last)),
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn path(text: &str) -> Vec<String> {
        text.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn a_field_is_put_and_taken_away_where_it_stands() {
        let before = json!({ "spec": {
            "containers": [{ "name": "a", "image": "1" }, { "name": "b", "image": "1" }],
            "volumes": [{ "name": "v" }],
        } });
        let mut after = before.clone();
        assert!(put(&mut after, &path("spec.containers.b.image"), Some(&json!("2"))));
        assert!(put(&mut after, &path("spec.volumes.w"), Some(&json!({ "name": "w" }))));
        assert_eq!(get(&after, &path("spec.containers.b.image")), Some(&json!("2")));
        assert_eq!(get(&after, &path("spec.containers.a.image")), Some(&json!("1")));
        assert!(put(&mut after, &path("spec.containers.b.image"), Some(&json!("1"))));
        assert!(put(&mut after, &path("spec.volumes.w"), None));
        assert_eq!(after, before);
        assert!(!put(&mut after, &path("spec.containers.none.image"), Some(&json!("2"))));
        assert!(!put(&mut after, &path("spec.containers.a.image.tag"), Some(&json!("2"))));
        assert_eq!(after, before);
    }
}
