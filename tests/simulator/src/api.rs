//! The API server's verbs: one request in, one answer out.

use super::discovery;
use super::failure::Failure;
use super::list::{List, list};
use super::object::{Key, text};
use super::patch;
use super::resource::Resource;
use super::route::{Query, Route};
use super::store::{Deleted, Deletion, Part, Store};
use super::world::{Now, World};
use fulcrum_steps::release::Release;
use http::Method;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use std::sync::Arc;

/// One HTTP request, taken apart.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
}

impl Asked {
    /// A request without a body.
    pub(super) fn get(path: &str, query: &str) -> Self {
        let (path, query) = (path.to_owned(), query.to_owned());
        Self { method: Method::GET, path, query, content_type: String::new(), body: Vec::new() }
    }
}

/// The HTTP status and the body.
pub(super) type Reply = (u16, Body);

/// The body of an answer. What is in the store is shared with it, and written out when the world goes on.
#[derive(Debug)]
pub(super) enum Body {
    /// Made for this answer.
    Made(Value),
    /// An object.
    Stored(Arc<Value>),
    /// A list of objects.
    Listed(List),
}

impl Body {
    /// As it is sent: plain text as it is, all else as JSON.
    pub(super) fn text(&self) -> serde_json::Result<String> {
        match self {
            Self::Made(Value::String(text)) => Ok(text.clone()),
            other => serde_json::to_string(other),
        }
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Made(value) => value.serialize(to),
            Self::Stored(object) => object.serialize(to),
            Self::Listed(list) => list.serialize(to),
        }
    }
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Self {
        (failure.code, Body::Made(failure.status()))
    }
}

/// The answer of an API server that is up.
pub(super) fn answer(world: &mut World, asked: &Asked, now: Now) -> Reply {
    match asked.path.as_str() {
        "/version" => (200, Body::Made(version(world))),
        "/healthz" | "/livez" | "/readyz" => (200, Body::Made(json!("ok"))),
        path => match discovery::answer(world, path) {
            Some(found) => (200, Body::Made(found)),
            None => objects(world, asked, now).unwrap_or_else(Reply::from),
        },
    }
}

fn version(world: &World) -> Value {
    let (major, minor, patch) = world.options.kubernetes_version;
    json!({
        "major": major.to_string(), "minor": minor.to_string(),
        "gitVersion": format!("v{major}.{minor}.{patch}"),
        "gitCommit": "rehearsal", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none", "compiler": "none", "platform": "linux/amd64",
    })
}

/// The resource that the path names, if this release serves it.
pub(super) fn served(world: &World, path: &str) -> Result<Route, Failure> {
    let route = Route::of(path)?;
    let release = Release(world.options.kubernetes_version.1.into());
    match release.serves(route.resource.group, &route.version) {
        true => Ok(route),
        false => Err(Failure::no_path(path)),
    }
}

fn objects(world: &mut World, asked: &Asked, now: Now) -> Result<Reply, Failure> {
    let (route, query) = (served(world, &asked.path)?, Query::of(&asked.query));
    if query.get("dryRun").is_some() || (asked.method == Method::DELETE && body_asks_dry_run(asked)) {
        // The request is carried out on a copy that is thrown away.
        return on_store(&mut world.store.scratch(), &route, &query, asked, now);
    }
    let reply = on_store(&mut world.store, &route, &query, asked, now);
    if asked.method != Method::GET {
        let outcome = reply.as_ref().map_or_else(|f| f.code.to_string(), |(code, _)| code.to_string());
        world.log.add(now.at, "api", format!("{} {} -> {outcome}", asked.method, asked.path));
    }
    reply
}

fn on_store(
    store: &mut Store,
    route: &Route,
    query: &Query,
    asked: &Asked,
    now: Now,
) -> Result<Reply, Failure> {
    let resource = route.resource;
    let namespace = route.namespace.as_deref().unwrap_or_default();
    let Some(name) = route.name.as_deref() else {
        return match asked.method {
            Method::GET => list(store, route, query).map(|list| (200, Body::Listed(list))),
            Method::POST => {
                let made = store.create(resource, namespace, read(asked)?, now.wall);
                made.map(|object| (201, Body::Stored(object)))
            }
            _ => Err(Failure::not_allowed(format!("{} of a collection is not simulated", asked.method))),
        };
    };
    let key = Key::new(resource.plural, namespace, name);
    let part = if route.status { Part::Status } else { Part::Main };
    let absent = || Failure::not_found(&resource.qualified(), name);
    match asked.method {
        Method::GET => Ok((200, Body::Stored(store.get(&key).cloned().ok_or_else(absent)?))),
        Method::PUT => {
            let code = if store.get(&key).is_some() { 200 } else { 201 };
            let written = store.replace(resource, &key, read(asked)?, part, now.wall);
            written.map(|object| (code, Body::Stored(object)))
        }
        Method::PATCH => {
            let old = store.get(&key).cloned().ok_or_else(absent)?;
            let new = patch::apply((*old).clone(), &asked.content_type, &asked.body)?;
            let written = store.replace(resource, &key, new, part, now.wall);
            written.map(|object| (200, Body::Stored(object)))
        }
        Method::DELETE => {
            let how = deletion(query, asked)?;
            store
                .delete(resource, &key, &how, now.wall)
                .map(|deleted| (200, deleted_reply(resource, deleted)))
        }
        _ => Err(Failure::not_allowed(format!("{} of an object is not simulated", asked.method))),
    }
}

fn read(asked: &Asked) -> Result<Value, Failure> {
    serde_json::from_slice(&asked.body)
        .map_err(|e| Failure::bad_request(format!("the body of the request cannot be read: {e}")))
}

fn deletion(query: &Query, asked: &Asked) -> Result<Deletion, Failure> {
    let body = if asked.body.is_empty() { json!({}) } else { read(asked)? };
    let own = |pointer| Some(text(&body, pointer)).filter(|v| !v.is_empty()).map(str::to_owned);
    let asked_grace = query.get("gracePeriodSeconds").and_then(|v| v.parse().ok());
    Ok(Deletion {
        uid: own("/preconditions/uid"),
        resource_version: own("/preconditions/resourceVersion"),
        grace: body["gracePeriodSeconds"].as_i64().or(asked_grace),
        propagation: own("/propagationPolicy").or(query.get("propagationPolicy").map(Into::into)),
    })
}

fn body_asks_dry_run(asked: &Asked) -> bool {
    let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    body["dryRun"].as_array().is_some_and(|values| values.iter().any(|v| v == "All"))
}

/// A pod is answered with itself, any other deleted object with a `Status`, as in the real server.
fn deleted_reply(resource: &Resource, deleted: Deleted) -> Body {
    match deleted {
        Deleted::Pending(object) => Body::Stored(object),
        Deleted::Gone(object) if resource.plural == "pods" => Body::Stored(object),
        Deleted::Gone(object) => Body::Made(json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": {
                "name": object["metadata"]["name"], "uid": object["metadata"]["uid"],
                "group": resource.group, "kind": resource.plural,
            },
        })),
    }
}
