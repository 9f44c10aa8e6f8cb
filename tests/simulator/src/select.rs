//! Label and field selectors of a list.

use super::failure::Failure;
use super::object::text;
use serde_json::Value;

/// Both selectors of one list request.
#[derive(Debug, Default)]
pub(super) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
}

#[derive(Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// The fields by which objects of a resource can be selected, as far as they are text.
fn selectable(plural: &str) -> &'static [&'static str] {
    match plural {
        "pods" => &[
            "metadata.name",
            "metadata.namespace",
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "status.phase",
            "status.podIP",
        ],
        "secrets" => &["metadata.name", "metadata.namespace", "type"],
        _ => &["metadata.name", "metadata.namespace"],
    }
}

impl Selector {
    pub(super) fn parse(plural: &str, labels: Option<&str>, fields: Option<&str>) -> Result<Self, Failure> {
        let known = selectable(plural);
        let selector = Self { labels: requirements(labels)?, fields: requirements(fields)? };
        for requirement in &selector.fields {
            match requirement {
                Requirement::In(key, _) | Requirement::NotIn(key, _) if known.contains(&key.as_str()) => {}
                other => {
                    return Err(Failure::bad_request(format!(
                        "field label not supported: {other:?}; supported: {known:?}"
                    )));
                }
            }
        }
        Ok(selector)
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        let label = |key: &str| object["metadata"]["labels"][key].as_str();
        let field = |key: &str| Some(text(object, &format!("/{}", key.replace('.', "/"))));
        self.labels.iter().all(|r| r.holds(label)) && self.fields.iter().all(|r| r.holds(field))
    }
}

impl Requirement {
    fn holds<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> bool {
        match self {
            Self::In(key, values) => value(key).is_some_and(|v| values.iter().any(|x| x == v)),
            Self::NotIn(key, values) => value(key).is_none_or(|v| values.iter().all(|x| x != v)),
            Self::Exists(key) => value(key).is_some(),
            Self::Absent(key) => value(key).is_none(),
        }
    }
}

fn requirements(selector: Option<&str>) -> Result<Vec<Requirement>, Failure> {
    split(selector.unwrap_or_default()).iter().map(|part| requirement(part)).collect()
}

/// Splits at commas outside of parentheses.
fn split(selector: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for c in selector.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts.iter().map(|p| p.trim().to_owned()).filter(|p| !p.is_empty()).collect()
}

fn requirement(part: &str) -> Result<Requirement, Failure> {
    let own = |s: &str| s.trim().to_owned();
    if let Some((key, value)) = part.split_once("!=") {
        return Ok(Requirement::NotIn(own(key), vec![own(value)]));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Requirement::In(own(key), vec![own(value)]));
    }
    if let Some((head, values)) = part.strip_suffix(')').and_then(|p| p.split_once('(')) {
        let values = values.split(',').map(own).collect();
        return match head.split_whitespace().collect::<Vec<_>>().as_slice() {
            [key, "in"] => Ok(Requirement::In(own(key), values)),
            [key, "notin"] => Ok(Requirement::NotIn(own(key), values)),
            _ => Err(Failure::bad_request(format!("unable to parse requirement {part:?}"))),
        };
    }
    match part.strip_prefix('!') {
        Some(key) => Ok(Requirement::Absent(own(key))),
        None if part.contains(char::is_whitespace) => {
            Err(Failure::bad_request(format!("unable to parse requirement {part:?}")))
        }
        None => Ok(Requirement::Exists(own(part))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_select() {
        let pod =
            json!({"metadata": {"name": "p", "labels": {"a": "1", "b": ""}}, "spec": {"nodeName": "n"}});
        let check = |labels, fields, expect| {
            let selector = Selector::parse("pods", Some(labels), Some(fields)).unwrap();
            assert_eq!(selector.matches(&pod), expect, "{labels} {fields}");
        };
        check("", "", true);
        check("a=1,b", "metadata.name=p,spec.nodeName=n", true);
        check("a==2", "", false);
        check("a!=1", "", false);
        check("c!=1,!c", "", true);
        check("a in (1, 2),c notin (x)", "spec.nodeName!=m", true);
        check("", "spec.nodeName=", false);
        assert!(Selector::parse("pods", None, Some("spec.other=1")).is_err());
        assert!(Selector::parse("nodes", None, Some("spec.nodeName=n")).is_err());
        assert!(Selector::parse("pods", Some("a of (1)"), None).is_err());
    }
}
