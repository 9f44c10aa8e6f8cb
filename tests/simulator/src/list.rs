//! Lists: their objects, their moment, their pages. The rules are those of `ValidateListOptions` and of
//! "Resource versions" in Kubernetes' API concepts.

use super::failure::Failure;
use super::object::Key;
use super::route::{Query, Route};
use super::select::Selector;
use super::store::Store;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use std::sync::Arc;

/// Answers a GET of a collection that is no watch.
pub(super) fn list(store: &Store, route: &Route, query: &Query) -> Result<List, Failure> {
    if query.get("sendInitialEvents").is_some() {
        return Err(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
    }
    let (labels, fields) = (query.get("labelSelector"), query.get("fieldSelector"));
    let selector = Selector::parse(route.resource.plural, labels, fields)?;
    let token = query.get("continue").filter(|token| !token.is_empty()).map(Token::read).transpose()?;
    let version = match &token {
        Some(_) if query.get("resourceVersionMatch").is_some() => {
            let why = "resourceVersionMatch is forbidden when continue is provided";
            return Err(forbidden("resourceVersionMatch", why));
        }
        Some(token) => token.version,
        None => moment(store, query)?,
    };
    let at = store.at(route.resource.plural, version).ok_or_else(|| {
        let oldest = store.history.oldest();
        Failure::expired(format!(
            "The resourceVersion for the provided list is too old: {version} ({oldest})"
        ))
    })?;
    let within = |key: &Key| route.namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace);
    let later =
        |key: &Key| token.as_ref().is_none_or(|t| (&key.namespace, &key.name) > (&t.namespace, &t.name));
    let mut found = at
        .into_iter()
        .filter(|(key, object)| within(key) && later(key) && selector.matches(object))
        .peekable();
    let limit = query.get("limit").and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0);
    let page: Vec<(Key, Arc<Value>)> = found.by_ref().take(limit.unwrap_or(usize::MAX)).collect();
    let mut meta = json!({"resourceVersion": version.to_string()});
    if let (Some((last, _)), Some(_)) = (page.last(), found.peek()) {
        meta["continue"] = json!(Token::write(version, last));
    }
    Ok(List {
        kind: format!("{}List", route.resource.kind),
        api_version: route.resource.api_version(),
        metadata: meta,
        items: page.into_iter().map(|(_, object)| Item(object)).collect(),
    })
}

/// A typed list. It shares its items with the store.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct List {
    kind: String,
    api_version: String,
    metadata: Value,
    items: Vec<Item>,
}

/// The items of a typed list name neither kind nor version: the list does.
#[derive(Debug)]
struct Item(Arc<Value>);

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let fields = self.0.as_object().into_iter().flatten();
        to.collect_map(fields.filter(|(field, _)| !matches!(field.as_str(), "kind" | "apiVersion")))
    }
}

/// The version to list. Without `resourceVersion` and for "not older than" it is the newest one.
fn moment(store: &Store, query: &Query) -> Result<u64, Failure> {
    let asked = query.get("resourceVersion").unwrap_or_default();
    let matching = query.get("resourceVersionMatch").unwrap_or_default();
    if asked.is_empty() && !matching.is_empty() {
        let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
        return Err(forbidden("resourceVersionMatch", why));
    }
    let version = parse_version(asked)?;
    if version > store.version() {
        return Err(too_large(version, store.version()));
    }
    match matching {
        "Exact" if version == 0 => Err(forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        )),
        "Exact" => Ok(version),
        "" | "NotOlderThan" => Ok(store.version()),
        other => Err(invalid(format!(
            "resourceVersionMatch: Unsupported value: {other:?}: supported values: \"Exact\", \"NotOlderThan\""
        ))),
    }
}

/// A version as a query gives it. An absent one is 0.
pub(super) fn parse_version(text: &str) -> Result<u64, Failure> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| invalid(format!("resourceVersion: Invalid value: {text:?}")))
}

/// Refuses a field of the options because of another one.
pub(super) fn forbidden(field: &str, why: &str) -> Failure {
    invalid(format!("{field}: Forbidden: {why}"))
}

fn invalid(why: String) -> Failure {
    Failure::invalid("ListOptions.meta.k8s.io", "", why)
}

/// The real server waits 3 s for the version to come, and then says this.
fn too_large(version: u64, current: u64) -> Failure {
    Failure::timeout(format!("Too large resource version: {version}, current: {current}"))
}

/// Where the next page begins, and its moment: all pages are of one.
struct Token {
    version: u64,
    namespace: String,
    name: String,
}

impl Token {
    fn write(version: u64, last: &Key) -> String {
        format!("{version}/{}/{}", last.namespace, last.name)
    }

    fn read(text: &str) -> Result<Self, Failure> {
        let mut parts = text.splitn(3, '/');
        let (version, namespace, name) = (parts.next(), parts.next(), parts.next());
        match (version.and_then(|v| v.parse().ok()), namespace, name) {
            (Some(version), Some(namespace), Some(name)) => {
                Ok(Self { version, namespace: namespace.into(), name: name.into() })
            }
            _ => Err(Failure::bad_request("continue key is not valid")),
        }
    }
}
