//! The API server's treatment of one object.

use super::failed::{Failed, expect, refused};
use super::ground::{Ground, NAMESPACE};
use super::make::{config_map, daemon_set, typed};
use super::names::LABEL;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};

const NAME: &str = "behaves";

fn post() -> PostParams {
    PostParams::default()
}

async fn merge(ground: &Ground, patch: Value) -> kube::Result<ConfigMap> {
    ground.api::<ConfigMap>().patch(NAME, &PatchParams::default(), &Patch::Merge(patch)).await
}

/// Optimistic concurrency: a write names the version that its author read.
pub(super) async fn stale_update(ground: &Ground) -> Result<(), Failed> {
    let maps = ground.api::<ConfigMap>();
    let first = maps.create(&post(), &config_map(NAME, "1")?).await?;
    let second = merge(ground, json!({"data": {"value": "2"}})).await?;
    let versions = (&first.metadata.resource_version, &second.metadata.resource_version);
    expect(versions.0 != versions.1, "a change makes a new version", versions)?;
    refused(maps.replace(NAME, &post(), &first).await, "an update of what was read before", 409, "Conflict")?;
    // Without a version, the write is not conditional.
    let mut blind = first.clone();
    blind.metadata.resource_version = None;
    maps.replace(NAME, &post(), &blind).await?;
    Ok(())
}

pub(super) async fn made_twice(ground: &Ground) -> Result<(), Failed> {
    let (maps, map) = (ground.api::<ConfigMap>(), config_map(NAME, "1")?);
    maps.create(&post(), &map).await?;
    refused(maps.create(&post(), &map).await, "a second creation", 409, "AlreadyExists")
}

pub(super) async fn absent(ground: &Ground) -> Result<(), Failed> {
    let (maps, map) = (ground.api::<ConfigMap>(), config_map(NAME, "1")?);
    refused(maps.get(NAME).await, "reading", 404, "NotFound")?;
    refused(maps.replace(NAME, &post(), &map).await, "an update", 404, "NotFound")?;
    refused(merge(ground, json!({"data": {"value": "2"}})).await, "a patch", 404, "NotFound")?;
    refused(maps.delete(NAME, &DeleteParams::default()).await, "a deletion", 404, "NotFound")
}

pub(super) async fn invalid(ground: &Ground) -> Result<(), Failed> {
    let sets = ground.api::<DaemonSet>();
    let mut set = daemon_set(ground, NAME, ("fulcrum-behaviour", "nowhere"))?;
    let sound = set.spec.clone();
    if let Some(spec) = &mut set.spec {
        spec.selector.match_labels = Some([("app".to_owned(), "another".to_owned())].into());
    }
    let what = "a selector that does not match the template";
    refused(sets.create(&post(), &set).await, what, 422, "Invalid")?;
    set.spec = sound;
    let containers = set.spec.as_mut().and_then(|spec| spec.template.spec.as_mut());
    if let Some(spec) = containers {
        spec.restart_policy = Some("Never".into());
    }
    let what = "a DaemonSet's pod that is not always restarted";
    refused(sets.create(&post(), &set).await, what, 422, "Invalid")?;
    let upper = config_map("Behaves", "1")?;
    refused(ground.api::<ConfigMap>().create(&post(), &upper).await, "a name in capitals", 422, "Invalid")
}

pub(super) async fn other_uid(ground: &Ground) -> Result<(), Failed> {
    let maps = ground.api::<ConfigMap>();
    let map = maps.create(&post(), &config_map(NAME, "1")?).await?;
    let only = |uid: Option<String>| {
        DeleteParams::default().preconditions(Preconditions { uid, resource_version: None })
    };
    let stranger = Some("00000000-0000-0000-0000-000000000000".to_owned());
    refused(maps.delete(NAME, &only(stranger)).await, "deleting another object", 409, "Conflict")?;
    maps.delete(NAME, &only(map.metadata.uid)).await?;
    refused(maps.get(NAME).await, "reading what was deleted", 404, "NotFound")
}

pub(super) async fn no_change(ground: &Ground) -> Result<(), Failed> {
    let maps = ground.api::<ConfigMap>();
    let first = maps.create(&post(), &config_map(NAME, "1")?).await?;
    let same = merge(ground, json!({"data": {"value": "1"}})).await?;
    let versions = (&first.metadata.resource_version, &same.metadata.resource_version);
    expect(versions.0 == versions.1, "a patch that changes nothing makes no version", versions)
}

pub(super) async fn dry_run(ground: &Ground) -> Result<(), Failed> {
    let maps = ground.api::<ConfigMap>();
    let dry = PostParams { dry_run: true, field_manager: None };
    maps.create(&dry, &config_map(NAME, "1")?).await?;
    refused(maps.get(NAME).await, "reading what was made for trial", 404, "NotFound")?;
    maps.create(&post(), &config_map(NAME, "1")?).await?;
    refused(maps.create(&dry, &config_map(NAME, "1")?).await, "making it again", 409, "AlreadyExists")
}

/// The API server neither stores a person's slip nor refuses it.
pub(super) async fn unknown_field(ground: &Ground) -> Result<(), Failed> {
    let set = daemon_set(ground, NAME, ("fulcrum-behaviour", "nowhere"))?;
    let mut set =
        serde_json::to_value(set).map_err(|error| Failed::new("making an object", error.to_string()))?;
    set["spec"]["template"]["spec"]["priorityClass"] = json!("system-node-critical");
    let kind = ApiResource::erase::<DaemonSet>(&());
    let sets: Api<DynamicObject> = Api::namespaced_with(ground.client.clone(), NAMESPACE, &kind);
    let made = sets.create(&post(), &typed(set)?).await?;
    let spec = &made.data["spec"]["template"]["spec"];
    expect(spec.get("priorityClass").is_none() && spec["hostNetwork"] == true, "it alone is dropped", spec)
}

pub(super) async fn finalizer(ground: &Ground) -> Result<(), Failed> {
    let maps = ground.api::<ConfigMap>();
    let mut map = config_map(NAME, "1")?;
    map.metadata.finalizers = Some(vec!["fulcrum.invalid/held".into()]);
    maps.create(&post(), &map).await?;
    let answer = maps.delete(NAME, &DeleteParams::default()).await?;
    let told = answer.left().and_then(|map| map.metadata.deletion_timestamp);
    expect(told.is_some(), "the deletion is answered with the object, which is to go", &told)?;
    let held = maps.get(NAME).await?;
    let since = &held.metadata.deletion_timestamp;
    expect(since.is_some(), "what has a finalizer is still there, and to go", since)?;
    let more = json!({"metadata": {"finalizers": ["fulcrum.invalid/held", "fulcrum.invalid/more"]}});
    refused(merge(ground, more).await, "another finalizer", 422, "Invalid")?;
    merge(ground, json!({"metadata": {"finalizers": null}})).await?;
    refused(maps.get(NAME).await, "reading what nothing holds", 404, "NotFound")
}

pub(super) async fn status_apart(ground: &Ground) -> Result<(), Failed> {
    let sets = ground.api::<DaemonSet>();
    let set = daemon_set(ground, NAME, ("fulcrum-behaviour", "nowhere"))?;
    let made = sets.create(&post(), &set).await?;
    expect(made.metadata.generation == Some(1), "the first generation is 1", made.metadata.generation)?;
    let patch = json!({"status": {"numberReady": 7}, "metadata": {"annotations": {"a": "b"}}});
    let patched = sets.patch(NAME, &PatchParams::default(), &Patch::Merge(patch)).await?;
    let ready = patched.status.map(|status| status.number_ready);
    expect(ready == Some(0), "a write of the object leaves its status alone", ready)?;
    let generation = patched.metadata.generation;
    expect(generation == Some(1), "an annotation makes no new generation", generation)?;
    let patch = json!({"spec": {"minReadySeconds": 3}});
    let changed = sets.patch(NAME, &PatchParams::default(), &Patch::Merge(patch)).await?;
    let generation = changed.metadata.generation;
    expect(generation == Some(2), "a change of the spec makes a new generation", generation)
}

pub(super) async fn lease(ground: &Ground) -> Result<(), Failed> {
    let leases = ground.api::<Lease>();
    let spec = json!({"holderIdentity": "a", "leaseDurationSeconds": 15});
    let lease = json!({"metadata": {"name": NAME, "labels": {LABEL: "yes"}}, "spec": spec});
    let made: Lease = leases.create(&post(), &typed(lease)?).await?;
    let with = |lease: &Lease, holder: &str| {
        let mut lease = lease.clone();
        lease.spec.get_or_insert_default().holder_identity = Some(holder.to_owned());
        lease
    };
    let mut renewed = made.clone();
    renewed.spec.get_or_insert_default().lease_transitions = Some(1);
    leases.replace(NAME, &post(), &renewed).await?;
    refused(
        leases.replace(NAME, &post(), &with(&made, "b")).await,
        "taking a renewed lease",
        409,
        "Conflict",
    )?;
    let mut blind = with(&made, "b");
    blind.metadata.resource_version = None;
    refused(leases.replace(NAME, &post(), &blind).await, "taking a lease unseen", 422, "Invalid")?;
    let seen = leases.get(NAME).await?;
    let taken = leases.replace(NAME, &post(), &with(&seen, "b")).await?;
    let holder = taken.spec.and_then(|spec| spec.holder_identity);
    expect(holder.as_deref() == Some("b"), "who has seen the lease can take it", holder)
}
