//! An object of the API: its key, and the fields of its JSON.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// The key of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) plural: &'static str,
    /// Empty for a cluster-scoped object.
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Key {
    pub(super) fn new(plural: &'static str, namespace: &str, name: &str) -> Self {
        Self { plural, namespace: namespace.into(), name: name.into() }
    }

    pub(super) fn of(plural: &'static str, object: &Value) -> Self {
        Self::new(plural, text(object, "/metadata/namespace"), text(object, "/metadata/name"))
    }
}

/// The string at a JSON pointer. Empty if there is none. `Value::pointer` would copy each word of the
/// pointer, and this is called all the time. So no word may have an escape.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    let found = pointer.split('/').skip(1).try_fold(object, |value, field| value.get(field));
    found.and_then(Value::as_str).unwrap_or_default()
}

/// An instant as the API writes it in `metadata` and conditions.
pub(super) fn time(wall: Timestamp) -> String {
    wall.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The elements of the list `value[field]`; none if it is no list.
pub(super) fn items<'a>(value: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    value.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

/// An empty object in `value[field]` unless there is one.
pub(super) fn object_at<'a>(value: &'a mut Value, field: &str) -> Option<&'a mut Map<String, Value>> {
    value.as_object_mut()?.entry(field).or_insert_with(|| json!({})).as_object_mut()
}
