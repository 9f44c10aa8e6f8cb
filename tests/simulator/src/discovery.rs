//! What the API server says that it serves: groups, versions and resources.

use super::resource::RESOURCES;
use super::world::World;
use fulcrum_steps::release::Release;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The answer to `/api`, `/apis`, `/api/v1` and `/apis/<group>/v1`. `None` for any other path.
pub(super) fn answer(world: &World, path: &str) -> Option<Value> {
    let release = Release(world.options.kubernetes_version.1.into());
    let is_served = |group: &str| release.serves(group, "v1");
    match path.split('/').collect::<Vec<_>>().as_slice() {
        ["", "api"] => Some(json!({ "kind": "APIVersions", "versions": ["v1"] })),
        ["", "apis"] => {
            let all: BTreeSet<&str> =
                RESOURCES.iter().map(|one| one.group).filter(|one| !one.is_empty()).collect();
            let groups: Vec<Value> = all.into_iter().filter(|group| is_served(group)).map(group).collect();
            Some(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups }))
        }
        ["", "api", "v1"] => Some(resources("")),
        ["", "apis", group, "v1"] if is_served(group) => Some(resources(group)),
        _ => None,
    }
}

fn group(name: &str) -> Value {
    let version = json!({ "groupVersion": format!("{name}/v1"), "version": "v1" });
    json!({ "name": name, "versions": [&version], "preferredVersion": version })
}

fn resources(group: &str) -> Value {
    let of_group = RESOURCES.iter().filter(|one| one.group == group);
    let resources: Vec<Value> = of_group
        .map(|one| {
            json!({
                "name": one.plural, "kind": one.kind, "namespaced": one.namespaced,
                "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
            })
        })
        .collect();
    let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
    json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources })
}
