//! What a DaemonSet's pod has that its static pod has not, and the other way round, field by field.

use super::daemonset::Target;
use super::static_pod::StaticPod;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// One field in which two values differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// E.g. `spec.containers[kube-apiserver].command[]`. An entry of a list is named by its `name`, `key` or
    /// `mountPath`, an entry that is a plain value by nothing.
    pub path: String,
    /// The value before. `None` where there was none.
    pub before: Option<Value>,
    /// The value after. `None` where there is none.
    pub after: Option<Value>,
}

impl StaticPod {
    /// What the DaemonSet's pod changes in this pod: in `metadata` what a template can have, and all of `spec`.
    /// Pure; equal manifests and targets give equal lists.
    pub fn changes(&self, target: &Target) -> Vec<Change> {
        let daemonset = self.daemonset(target);
        let after = &daemonset["spec"]["template"];
        let mut changes = Vec::new();
        for part in ["labels", "annotations"] {
            let path = format!("metadata.{part}");
            compare(&path, self.document["metadata"].get(part), after["metadata"].get(part), &mut changes);
        }
        compare("spec", self.document.get("spec"), after.get("spec"), &mut changes);
        changes
    }
}

/// Every field in which two documents differ, in the order of their paths.
pub fn changes(before: &Value, after: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    compare("", Some(before), Some(after), &mut changes);
    changes
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, out: &mut Vec<Change>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                compare(&join(path, key), old.get(key), new.get(key), out);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => lists(path, old, new, out),
        (before, after) => {
            out.push(Change { path: path.to_owned(), before: before.cloned(), after: after.cloned() });
        }
    }
}

/// Entries with names are compared by their names, plain values as a set. Otherwise one entry more would make
/// all that follow differ.
fn lists(path: &str, old: &[Value], new: &[Value], out: &mut Vec<Change>) {
    if let Some(key) = ["mountPath", "name", "key"].into_iter().find(|key| named_by(key, old, new)) {
        let name = |entry: &Value| entry[key].as_str().unwrap_or_default().to_owned();
        let names: Vec<String> = old.iter().chain(new).map(name).collect();
        let mut seen = BTreeSet::new();
        for one in names.into_iter().filter(|one| seen.insert(one.clone())) {
            let of = |list: &'_ [Value]| list.iter().find(|entry| name(entry) == one).cloned();
            compare(&format!("{path}[{one}]"), of(old).as_ref(), of(new).as_ref(), out);
        }
        return;
    }
    if old.iter().chain(new).any(|entry| entry.is_object() || entry.is_array()) {
        for at in 0..old.len().max(new.len()) {
            compare(&format!("{path}[{at}]"), old.get(at), new.get(at), out);
        }
        return;
    }
    let path = format!("{path}[]");
    let gone = old.iter().filter(|entry| !new.contains(entry));
    let come = new.iter().filter(|entry| !old.contains(entry));
    let before = gone.map(|entry| Change { path: path.clone(), before: Some(entry.clone()), after: None });
    out.extend(before);
    out.extend(come.map(|entry| Change { path: path.clone(), before: None, after: Some(entry.clone()) }));
}

/// Whether every entry has this key, and no two of a list have one value in it.
fn named_by(key: &str, old: &[Value], new: &[Value]) -> bool {
    let distinct = |list: &[Value]| {
        let names: Option<BTreeSet<&str>> = list.iter().map(|entry| entry.get(key)?.as_str()).collect();
        names.is_some_and(|names| names.len() == list.len())
    };
    !(old.is_empty() && new.is_empty()) && distinct(old) && distinct(new)
}

fn join(path: &str, key: &str) -> String {
    match (path.is_empty(), key.contains(['.', '/'])) {
        (true, _) => key.to_owned(),
        (false, true) => format!("{path}[{key}]"),
        (false, false) => format!("{path}.{key}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn entries_are_compared_by_name_and_plain_values_as_a_set() {
        let before = json!({ "c": [{ "name": "a", "args": ["x", "y"] }, { "name": "b" }], "t": [1, 2] });
        let after = json!({ "c": [{ "name": "n" }, { "name": "a", "args": ["w", "x"] }], "t": [2, 3] });
        let seen: Vec<String> = changes(&before, &after)
            .iter()
            .map(|change| {
                let show = |value: &Option<Value>| value.as_ref().map_or("-".to_owned(), Value::to_string);
                format!("{} {} {}", change.path, show(&change.before), show(&change.after))
            })
            .collect();
        assert_eq!(
            seen,
            [
                "c[a].args[] \"y\" -",
                "c[a].args[] - \"w\"",
                "c[b] {\"name\":\"b\"} -",
                "c[n] - {\"name\":\"n\"}",
                "t[] 1 -",
                "t[] - 3",
            ]
        );
        assert_eq!(changes(&before, &before), []);
    }

    /// What is applied to the one gives the other: nothing is left out.
    #[test]
    fn a_change_of_type_or_a_swap_is_seen() {
        assert_eq!(changes(&json!({ "a": 1 }), &json!({ "a": { "b": 1 } })).len(), 1);
        assert_eq!(changes(&json!([{ "x": 1 }, { "x": 2 }]), &json!([{ "x": 2 }, { "x": 1 }])).len(), 2);
    }
}
