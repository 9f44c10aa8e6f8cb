//! A watch: an answer that goes on, with a line of JSON for every change.
//!
//! A watch belongs to the API server that took it. That server knows no older versions than the one at which
//! it began to serve (its watch cache begins with a list). When its process goes, the connection is cut. A
//! client goes on from the last version that it saw, at another server if there is one.

use super::api::{Asked, served};
use super::failure::Failure;
use super::list::{forbidden, parse_version};
use super::object::text;
use super::resource::Resource;
use super::route::Query;
use super::select::Selector;
use super::world::{Caller, Now, World};
use serde_json::{Value, json};
use std::time::Duration;

/// An API server grants this time if `timeoutSeconds` is not given: 30 min, the shortest that it may draw.
const TIMEOUT: Duration = Duration::from_secs(1800);

/// An open watch.
#[derive(Debug)]
pub(super) struct Watch {
    resource: &'static Resource,
    namespace: Option<String>,
    name: Option<String>,
    selector: Selector,
    /// Who watches, and the pid of the API server.
    server: (Caller, u32),
    /// How many cuts there had been when it was opened.
    cuts: u64,
    /// The events that come before anything that happens from now on.
    first: Vec<Value>,
    /// The watch has told everything up to and including this version.
    told: u64,
    /// After this line there is nothing more to tell.
    over: bool,
    bookmark_at: Option<Duration>,
    ends_at: Duration,
}

/// The news of a watch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Lines of JSON.
    Lines(String),
    /// Nothing yet, and nothing before this instant unless something changes.
    NothingUntil(Duration),
    /// The watch is over: its time is up.
    Ended,
    /// The connection is gone.
    Cut,
}

/// Whether this request is a watch.
pub(super) fn is_asked(asked: &Asked) -> bool {
    asked.method == http::Method::GET && Query::of(&asked.query).is_true("watch")
}

impl Watch {
    /// Opens a watch of this caller at the API server with this pid.
    pub(super) fn open(
        world: &World,
        asked: &Asked,
        server: (Caller, u32),
        now: Now,
    ) -> Result<Self, Failure> {
        let (route, query) = (served(world, &asked.path)?, Query::of(&asked.query));
        check_options(&query, world.options.kubernetes_version)?;
        let from = parse_version(query.get("resourceVersion").unwrap_or_default())?;
        let timeout = query.get("timeoutSeconds").and_then(|seconds| seconds.parse().ok());
        let bookmarks = query.is_true("allowWatchBookmarks");
        let (labels, fields) = (query.get("labelSelector"), query.get("fieldSelector"));
        let mut watch = Self {
            selector: Selector::parse(route.resource.plural, labels, fields)?,
            resource: route.resource,
            namespace: route.namespace,
            name: route.name,
            server,
            cuts: world.watch_cuts,
            first: Vec::new(),
            told: from,
            over: false,
            bookmark_at: bookmarks.then(|| now.at + world.options.pace.bookmark),
            // These are the caller's own seconds, not simulated ones: the connection is the caller's.
            ends_at: now.at + timeout.map_or(TIMEOUT, Duration::from_secs),
        };
        let known = world.known_since(server.1);
        if from == 0 || query.is_true("sendInitialEvents") {
            watch.begin_with_what_is_there(world, bookmarks);
        } else if from < known {
            // The answer's status stays good: the request was right. So the watch begins, and ends with this.
            let failure = Failure::expired(format!("too old resource version: {from} ({known})"));
            watch.first.push(json!({"type": "ERROR", "object": failure.status()}));
            watch.over = true;
        }
        Ok(watch)
    }

    fn begin_with_what_is_there(&mut self, world: &World, bookmarks: bool) {
        let objects = world.store.list(self.resource.plural, self.namespace.as_deref());
        let there = objects.filter(|object| self.matches(object));
        self.first = there.map(|object| event("ADDED", (**object).clone())).collect();
        self.told = world.store.version();
        if bookmarks && streams_lists(world.options.kubernetes_version) {
            let mut bookmark = self.bookmark();
            bookmark["object"]["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
            self.first.push(bookmark);
        }
    }

    /// The present news.
    pub(super) fn tell(&mut self, world: &World, now: Now) -> Told {
        let (caller, pid) = self.server;
        let node = world.process(pid).map(|(number, _)| number);
        let Some(number) = node.filter(|number| world.reaches(caller, *number)) else { return Told::Cut };
        if world.watch_cuts != self.cuts {
            return Told::Cut;
        }
        if world.is_cut_off(number) {
            // A server that is cut off hears of no change.
            return Told::NothingUntil(self.ends_at);
        }
        let mut events = std::mem::take(&mut self.first);
        if self.over {
            return if events.is_empty() { Told::Ended } else { lines(&events) };
        }
        if self.told < world.store.history.oldest() {
            // The client is too slow: the server has forgotten changes that it has not read yet, and ends the
            // watch.
            return if events.is_empty() { Told::Ended } else { lines(&events) };
        }
        for change in world.store.history.after(self.told) {
            if change.key.plural == self.resource.plural {
                let version = change.version.to_string();
                events.extend(self.event(change.old.as_deref(), change.new.as_deref(), &version));
            }
        }
        self.told = self.told.max(world.store.version());
        let ends = now.at >= self.ends_at;
        if let Some(at) = self.bookmark_at.filter(|at| ends || now.at >= *at) {
            self.bookmark_at = (!ends).then(|| at.max(now.at) + world.options.pace.bookmark);
            events.push(self.bookmark());
        }
        match (events.is_empty(), ends) {
            (false, _) => lines(&events),
            (true, true) => Told::Ended,
            (true, false) => {
                Told::NothingUntil(self.bookmark_at.map_or(self.ends_at, |at| at.min(self.ends_at)))
            }
        }
    }

    /// A change as seen by a client that only sees matching objects. An object that stops matching is gone,
    /// and is shown as it last matched.
    fn event(&self, old: Option<&Value>, new: Option<&Value>, version: &str) -> Option<Value> {
        let before = old.filter(|object| self.matches(object));
        let after = new.filter(|object| self.matches(object));
        let (kind, object) = match (before, after) {
            (None, Some(new)) => ("ADDED", new),
            (Some(_), Some(new)) => ("MODIFIED", new),
            (Some(old), None) => ("DELETED", old),
            (None, None) => return None,
        };
        let mut object = object.clone();
        object["metadata"]["resourceVersion"] = json!(version);
        Some(event(kind, object))
    }

    fn matches(&self, object: &Value) -> bool {
        let namespace = text(object, "/metadata/namespace");
        self.namespace.as_ref().is_none_or(|own| own == namespace)
            && self.name.as_ref().is_none_or(|own| own == text(object, "/metadata/name"))
            && self.selector.matches(object)
    }

    fn bookmark(&self) -> Value {
        json!({"type": "BOOKMARK", "object": {
            "kind": self.resource.kind, "apiVersion": self.resource.api_version(),
            "metadata": {"resourceVersion": self.told.to_string()},
        }})
    }
}

/// `json!` would copy the object once more.
fn event(kind: &str, object: Value) -> Value {
    Value::Object([("type".to_owned(), json!(kind)), ("object".to_owned(), object)].into_iter().collect())
}

fn lines(events: &[Value]) -> Told {
    Told::Lines(events.iter().map(|event| format!("{event}\n")).collect())
}

/// Whether the API server's feature gate `WatchList` is on by default: since 1.32, but not in 1.33.
fn streams_lists((_, minor, _): (u16, u16, u16)) -> bool {
    minor == 32 || minor >= 34
}

/// `validateWatchOptions` of the real server. `sendInitialEvents` exists since 1.27. Earlier servers do not
/// read it.
fn check_options(query: &Query, version: (u16, u16, u16)) -> Result<(), Failure> {
    if version.1 < 27 {
        return Ok(());
    }
    let asked = query.get("sendInitialEvents").is_some();
    let matching = query.get("resourceVersionMatch").unwrap_or_default();
    if asked && matching != "NotOlderThan" {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        return Err(forbidden("resourceVersionMatch", why));
    }
    if asked && !streams_lists(version) {
        let why = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
        return Err(forbidden("sendInitialEvents", why));
    }
    if !asked && !matching.is_empty() {
        let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        return Err(forbidden("resourceVersionMatch", why));
    }
    Ok(())
}
