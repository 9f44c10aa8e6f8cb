//! The events of a watch.

use super::failed::{Failed, expect, refused};
use super::ground::{Ground, NAMESPACE};
use super::make::config_map;
use super::names::SELECTOR;
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;
use std::pin::Pin;

const NAME: &str = "behaves";

/// An event, as far as these checks care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) kind: &'static str,
    /// Name of the object; the reason of an error.
    pub(super) name: String,
    pub(super) version: u64,
    /// The object's value.
    pub(super) value: String,
    /// Whether it marks the end of a streamed list.
    ends_list: bool,
}

/// An open watch of ConfigMaps.
pub(super) struct Watching<'a> {
    ground: &'a Ground,
    stream: Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<ConfigMap>>>>>,
}

impl<'a> Watching<'a> {
    pub(super) async fn from(
        ground: &'a Ground,
        maps: &Api<ConfigMap>,
        which: &WatchParams,
        version: u64,
    ) -> kube::Result<Self> {
        let stream = maps.watch(which, &version.to_string()).await?;
        Ok(Self { ground, stream: stream.boxed_local() })
    }

    /// The next event. `None` at the end, whatever its cause.
    pub(super) async fn next(&mut self, what: &str) -> Result<Option<Event>, Failed> {
        let soon = self.ground.tempo.soon;
        match tokio::time::timeout(soon, self.stream.next()).await {
            Ok(Some(Ok(event))) => Ok(Some(Event::of(event))),
            Ok(Some(Err(kube::Error::ReadEvents(_))) | None) => Ok(None),
            Ok(Some(Err(error))) => Err(error.into()),
            Err(_) => Err(Failed::new(what, format!("the watch told nothing within {soon:?}"))),
        }
    }

    /// The next event that is no bookmark.
    pub(super) async fn told(&mut self, what: &str) -> Result<Event, Failed> {
        loop {
            match self.next(what).await? {
                Some(event) if event.kind == "BOOKMARK" => {}
                Some(event) => return Ok(event),
                None => return Err(Failed::new(what, "the watch ended before")),
            }
        }
    }

    /// Expects that the next event is this one.
    pub(super) async fn tells(&mut self, kind: &str, value: &str) -> Result<u64, Failed> {
        let what = format!("{kind} of {NAME} with value {value}");
        let event = self.told(&what).await?;
        let seen = (event.kind, event.name.as_str(), event.value.as_str());
        expect(seen == (kind, NAME, value), &what, &event)?;
        Ok(event.version)
    }
}

impl Event {
    fn of(event: WatchEvent<ConfigMap>) -> Self {
        let (kind, map) = match event {
            WatchEvent::Added(map) => ("ADDED", map),
            WatchEvent::Modified(map) => ("MODIFIED", map),
            WatchEvent::Deleted(map) => ("DELETED", map),
            WatchEvent::Bookmark(bookmark) => {
                let version = bookmark.metadata.resource_version.parse().unwrap_or(0);
                let ends_list = bookmark.metadata.annotations.contains_key("k8s.io/initial-events-end");
                return Self { version, ends_list, ..Self::plain("BOOKMARK") };
            }
            WatchEvent::Error(status) => {
                return Self { name: status.reason, version: status.code.into(), ..Self::plain("ERROR") };
            }
        };
        let value = map.data.unwrap_or_default().remove("value").unwrap_or_default();
        let version = map.metadata.resource_version.and_then(|v| v.parse().ok()).unwrap_or(0);
        Self { name: map.metadata.name.unwrap_or_default(), version, value, ..Self::plain(kind) }
    }

    fn plain(kind: &'static str) -> Self {
        Self { kind, name: String::new(), version: 0, value: String::new(), ends_list: false }
    }
}

pub(super) fn marked() -> WatchParams {
    WatchParams::default().labels(SELECTOR)
}

/// The cluster's present version.
pub(super) async fn version_now(ground: &Ground) -> Result<u64, Failed> {
    let list = ground.api::<ConfigMap>().list(&ListParams::default().labels(SELECTOR)).await?;
    let version = list.metadata.resource_version.unwrap_or_default();
    version.parse().map_err(|_| Failed::new("a list's version is a number", version))
}

pub(super) async fn create(ground: &Ground, value: &str) -> Result<u64, Failed> {
    let map = ground.api::<ConfigMap>().create(&PostParams::default(), &config_map(NAME, value)?).await?;
    let version = map.metadata.resource_version.unwrap_or_default();
    version.parse().map_err(|_| Failed::new("an object's version is a number", version))
}

pub(super) async fn change(ground: &Ground, value: &str) -> Result<(), Failed> {
    let patch = Patch::Merge(json!({"data": {"value": value}}));
    ground.api::<ConfigMap>().patch(NAME, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// A watch also tells what happened between the list and the watch.
pub(super) async fn in_order(ground: &Ground) -> Result<(), Failed> {
    let maps = ground.api::<ConfigMap>();
    let from = version_now(ground).await?;
    create(ground, "1").await?;
    let mut watching = Watching::from(ground, &maps, &marked(), from).await?;
    change(ground, "2").await?;
    maps.delete(NAME, &DeleteParams::default()).await?;
    let versions = [
        watching.tells("ADDED", "1").await?,
        watching.tells("MODIFIED", "2").await?,
        watching.tells("DELETED", "2").await?,
    ];
    let rising = from < versions[0] && versions.is_sorted_by(|a, b| a < b);
    expect(rising, "each event has a later version, the deletion too", versions)
}

pub(super) async fn stops_matching(ground: &Ground) -> Result<(), Failed> {
    let maps = ground.api::<ConfigMap>();
    let from = create(ground, "1").await?;
    let which = WatchParams::default().labels(&format!("{SELECTOR},value=1"));
    let mut watching = Watching::from(ground, &maps, &which, from).await?;
    let relabel = |value: &str| Patch::Merge(json!({"metadata": {"labels": {"value": value}}}));
    maps.patch(NAME, &PatchParams::default(), &relabel("2")).await?;
    watching.tells("DELETED", "1").await?;
    maps.patch(NAME, &PatchParams::default(), &relabel("1")).await?;
    watching.tells("ADDED", "1").await.map(drop)
}

pub(super) async fn from_zero(ground: &Ground) -> Result<(), Failed> {
    create(ground, "1").await?;
    let maps = ground.api::<ConfigMap>();
    // A watch cache may be a moment behind the last write, and version 0 asks for no better.
    let mut watching = Watching::from(ground, &maps, &marked(), 0).await?;
    watching.tells("ADDED", "1").await?;
    change(ground, "2").await?;
    watching.tells("MODIFIED", "2").await.map(drop)
}

/// Exists since 1.27 and is on by default in 1.32 and since 1.34. Elsewhere the server may refuse it.
pub(super) async fn streamed_list(ground: &Ground) -> Result<(), Failed> {
    let minor = ground.client.apiserver_version().await?.minor;
    if minor.trim_end_matches('+').parse::<u32>().is_ok_and(|minor| minor < 27) {
        return Ok(());
    }
    let raw = format!("/api/v1/namespaces/{NAMESPACE}/configmaps?watch=1&sendInitialEvents=true");
    let request = http::Request::get(raw).body(Vec::new());
    let request = request.map_err(|error| Failed::new("making a request", error.to_string()))?;
    let what = "a streamed list without resourceVersionMatch";
    refused(ground.client.request_text(request).await, what, 422, "Invalid")?;

    let version = create(ground, "1").await?;
    let which = WatchParams { send_initial_events: true, ..marked() };
    let maps = ground.api::<ConfigMap>();
    let mut watching = match Watching::from(ground, &maps, &which, version).await {
        Err(kube::Error::Api(status)) if status.code == 422 && status.message.contains("WatchList") => {
            return Ok(());
        }
        other => other?,
    };
    watching.tells("ADDED", "1").await?;
    let end = watching.next("the end of the list").await?;
    let ends = end.as_ref().is_some_and(|event| event.ends_list && event.version >= version);
    expect(ends, "a bookmark that ends the list, with the list's version", end)
}

pub(super) async fn time_is_up(ground: &Ground) -> Result<(), Failed> {
    let from = create(ground, "1").await?;
    let maps = ground.api::<ConfigMap>();
    let with = marked().timeout(ground.tempo.watch_seconds);
    let mut with = Watching::from(ground, &maps, &with, from).await?;
    let without = marked().timeout(ground.tempo.watch_seconds).disable_bookmarks();
    let mut without = Watching::from(ground, &maps, &without, from).await?;
    while let Some(event) = with.next("the end of a watch").await? {
        // They need not come, least of all to a watch as short as this.
        let sound = event.kind == "BOOKMARK" && event.version >= from;
        expect(sound, "nothing but bookmarks, of no earlier version", event)?;
    }
    let event = without.next("the end of a watch without bookmarks").await?;
    expect(event.is_none(), "nothing at all", event)
}
