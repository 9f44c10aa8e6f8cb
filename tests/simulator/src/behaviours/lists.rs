//! Lists: the objects in a list, and its moment.

use super::failed::{Failed, expect, refused};
use super::ground::Ground;
use super::make::config_map;
use super::names::SELECTOR;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DeleteParams, ListParams, PostParams, VersionMatch};

async fn make(ground: &Ground, name: &str, value: &str) -> Result<ConfigMap, Failed> {
    Ok(ground.api::<ConfigMap>().create(&PostParams::default(), &config_map(name, value)?).await?)
}

async fn names(ground: &Ground, which: &ListParams) -> Result<Vec<String>, Failed> {
    let list = ground.api::<ConfigMap>().list(which).await?;
    Ok(list.items.into_iter().filter_map(|map| map.metadata.name).collect())
}

pub(super) async fn selectors(ground: &Ground) -> Result<(), Failed> {
    for (name, value) in [("behaves-a", "1"), ("behaves-b", "2"), ("behaves-c", "3")] {
        make(ground, name, value).await?;
    }
    for (labels, fields, expected) in [
        (SELECTOR.to_owned(), "", &["behaves-a", "behaves-b", "behaves-c"][..]),
        (format!("{SELECTOR},value=2"), "", &["behaves-b"]),
        (format!("{SELECTOR},value!=2"), "", &["behaves-a", "behaves-c"]),
        (format!("{SELECTOR},value in (1, 3)"), "", &["behaves-a", "behaves-c"]),
        (format!("{SELECTOR},value notin (1),value"), "", &["behaves-b", "behaves-c"]),
        (format!("{SELECTOR},!value"), "", &[]),
        (String::new(), "metadata.name=behaves-c", &["behaves-c"]),
        (SELECTOR.to_owned(), "metadata.name!=behaves-c", &["behaves-a", "behaves-b"]),
    ] {
        let found = names(ground, &ListParams::default().labels(&labels).fields(fields)).await?;
        expect(
            found == expected,
            &format!("labels {labels:?}, fields {fields:?} select {expected:?}"),
            found,
        )?;
    }
    let here = ListParams::default().fields(&format!("spec.nodeName={},status.phase=Running", ground.node));
    let pods = ground.api::<Pod>().list(&here).await?.items;
    expect(!pods.is_empty(), "pods are found by the node that they are bound to", pods.len())?;
    for field in ["data.value=1", "spec.nodeName=n"] {
        let unknown = ListParams::default().fields(field);
        refused(names_raw(ground, &unknown).await, "a field that cannot be selected on", 400, "BadRequest")?;
    }
    Ok(())
}

async fn names_raw(ground: &Ground, which: &ListParams) -> kube::Result<usize> {
    Ok(ground.api::<ConfigMap>().list(which).await?.items.len())
}

/// An object that is deleted between two pages is in the second one.
pub(super) async fn pages(ground: &Ground) -> Result<(), Failed> {
    for name in ["behaves-a", "behaves-b", "behaves-c"] {
        make(ground, name, "1").await?;
    }
    let maps = ground.api::<ConfigMap>();
    let page = ListParams::default().labels(SELECTOR).limit(2);
    let first = maps.list(&page).await?;
    let token = first.metadata.continue_.clone().unwrap_or_default();
    expect(
        first.items.len() == 2 && !token.is_empty(),
        "a page of two, and more to come",
        first.items.len(),
    )?;
    maps.delete("behaves-c", &DeleteParams::default()).await?;
    let second = maps.list(&page.continue_token(&token)).await?;
    let name = second.items.first().and_then(|map| map.metadata.name.as_deref());
    let last = (name, second.metadata.continue_.as_deref().unwrap_or_default());
    expect(last == (Some("behaves-c"), ""), "the second page shows what was there at the first", last)?;
    let versions = (&first.metadata.resource_version, &second.metadata.resource_version);
    expect(versions.0 == versions.1, "all pages have one version", versions)
}

/// The real server waits 3 s for that version to come, and gives up.
pub(super) async fn from_the_future(ground: &Ground) -> Result<(), Failed> {
    let which = ListParams::default().at("900000000000").matching(VersionMatch::NotOlderThan);
    refused(names_raw(ground, &which).await, "a list that is not older than the future", 504, "Timeout")
}

pub(super) async fn exact(ground: &Ground) -> Result<(), Failed> {
    let made = make(ground, "behaves-a", "1").await?;
    make(ground, "behaves-b", "1").await?;
    let version = made.metadata.resource_version.unwrap_or_default();
    let which = ListParams::default().labels(SELECTOR).at(&version);
    let then = names(ground, &which.clone().matching(VersionMatch::Exact)).await?;
    expect(then == ["behaves-a"], "a list of a version shows what was there then", then)?;
    let now = names(ground, &which.matching(VersionMatch::NotOlderThan)).await?;
    expect(now == ["behaves-a", "behaves-b"], "a list not older than it shows what is there now", now)
}
