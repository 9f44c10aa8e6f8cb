//! The Secrets that a pod mounts. A kubelet starts no container before it has written them.

use super::Desired;
use crate::object::{Key, text};
use crate::store::Store;
use serde_json::Value;

/// The first Secret that the pod mounts and that is not there, or lacks a key. Static pods mount none.
pub(super) fn missing(store: &Store, wanted: &Desired) -> Option<String> {
    let namespace = text(&wanted.object, "/metadata/namespace");
    let volumes = wanted.object["spec"]["volumes"].as_array().into_iter().flatten();
    let own = volumes.clone().map(|volume| (&volume["secret"], "secretName"));
    let projected =
        volumes.flat_map(|volume| volume["projected"]["sources"].as_array().into_iter().flatten());
    let projected = projected.map(|source| (&source["secret"], "name"));
    own.chain(projected).filter(|(secret, _)| secret.is_object() && secret["optional"] != true).find_map(
        |(secret, field)| {
            let name = secret[field].as_str().unwrap_or_default();
            let live = store.get(&Key::new("secrets", namespace, name));
            let has = |item: &Value| {
                let key = item["key"].as_str().unwrap_or_default();
                live.is_some_and(|live| live["data"].get(key).is_some())
            };
            let whole = live.is_some() && secret["items"].as_array().into_iter().flatten().all(has);
            (!whole).then(|| name.to_owned())
        },
    )
}
