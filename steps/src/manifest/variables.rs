//! `$(NAME)` in a container's words, as the kubelet replaces it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A container's `command` and its `args` as the kubelet starts them. `field` has the values of the pod's fields.
pub fn expanded(container: &Map<String, Value>, field: impl Fn(&str) -> Option<String>) -> [Vec<String>; 2] {
    let variables = Variables::with(container, field);
    ["command", "args"].map(|key| {
        let words = container.get(key).and_then(Value::as_array).into_iter().flatten();
        words.filter_map(Value::as_str).map(|word| variables.expand(word)).collect()
    })
}

/// The values of a container's environment variables, as far as the manifest has them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Variables {
    /// The variables whose value is in the manifest.
    known: BTreeMap<String, String>,
    /// The variables that the kubelet takes from a field of the pod, with that field's path.
    fields: BTreeMap<String, String>,
}

impl Variables {
    /// The variables of a container's `env`, in order. A value may refer to earlier variables. The last
    /// variable of a name counts.
    pub(super) fn of(container: &Map<String, Value>) -> Self {
        Self::with(container, |_| None)
    }

    /// As [`Variables::of`], where `field` has the values of the pod's fields.
    fn with(container: &Map<String, Value>, field: impl Fn(&str) -> Option<String>) -> Self {
        let mut variables = Self::default();
        for variable in container.get("env").and_then(Value::as_array).into_iter().flatten() {
            let Some(name) = variable["name"].as_str() else { continue };
            variables.known.remove(name);
            variables.fields.remove(name);
            if let Some(path) = variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
                match field(path) {
                    Some(value) => variables.known.insert(name.to_owned(), value),
                    None => variables.fields.insert(name.to_owned(), path.to_owned()),
                };
            } else if variable.get("valueFrom").is_none_or(Value::is_null) {
                let value = variables.expand(variable["value"].as_str().unwrap_or_default());
                variables.known.insert(name.to_owned(), value);
            }
        }
        variables
    }

    /// `text` with each `$(NAME)` replaced whose value the manifest has. `$$` is a dollar. An unknown
    /// reference stays as it is written, as with the kubelet.
    pub(super) fn expand(&self, text: &str) -> String {
        replaced(text, "$", |name| self.known.get(name).map(String::as_str))
    }

    /// The field of the pod for `text`, if that is one reference and nothing else.
    pub(super) fn field(&self, text: &str) -> Option<&str> {
        let name = text.strip_prefix("$(")?.strip_suffix(')')?;
        self.fields.get(name).map(String::as_str)
    }
}

/// `text` with each `$(NAME)` replaced that `value_of` knows, and `dollar` for each `$$`, which is no reference. All else
/// stays as it is written.
pub(super) fn replaced<'a>(text: &str, dollar: &str, value_of: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push_str(dollar);
            rest = after;
            continue;
        }
        let reference = after.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        match reference.and_then(|(name, after)| Some((value_of(name)?, after))) {
            Some((value, after)) => {
                out.push_str(value);
                rest = after;
            }
            None => {
                out.push('$');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_are_replaced_as_the_kubelet_does() {
        let container = json!({ "env": [
            { "name": "A", "value": "1" },
            { "name": "B", "value": "$(A)$(C)" },
            { "name": "C", "value": "3" },
            { "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "status.hostIP" } } },
            { "name": "S", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } },
            { "name": "E" },
        ]});
        let variables = Variables::of(container.as_object().unwrap());
        for (text, expected) in [
            ("--x=$(A)$(B)", "--x=11$(C)"),
            ("$(C)", "3"),
            ("$$(A)", "$(A)"),
            ("$(IP)", "$(IP)"),
            ("$(S)", "$(S)"),
            ("[$(E)]", "[]"),
            ("$A $( $", "$A $( $"),
            ("$(nobody)$(A)", "$(nobody)1"),
        ] {
            assert_eq!(variables.expand(text), expected);
        }
        assert_eq!(variables.field("$(IP)"), Some("status.hostIP"));
        assert_eq!((variables.field("$(A)"), variables.field("x$(IP)")), (None, None));
    }
}
