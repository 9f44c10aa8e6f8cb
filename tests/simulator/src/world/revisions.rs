//! The ControllerRevisions of a DaemonSet, as the DaemonSet controller writes them: one for each template. The newest
//! one is that of the template now, also where the template was there before.
//!
//! Unlike the real ones they are not limited in number, and do not contain the template.

use super::garbage::owner_uid;
use super::{Now, World};
use crate::object::{Key, object_at, text};
use crate::resource::Resource;
use serde_json::{Value, json};

/// The label of a revision, and of the pods of its template.
pub(super) const HASH_LABEL: &str = "controller-revision-hash";

/// Makes the revision with this hash the newest one of the DaemonSet.
pub(super) fn make_newest(world: &mut World, set: &Value, hash: &str, now: Now) {
    let (uid, namespace) = (text(set, "/metadata/uid"), text(set, "/metadata/namespace"));
    let own = world.store.list("controllerrevisions", Some(namespace));
    let own = own.filter(|revision| owner_uid(revision) == uid);
    let newest = own.max_by_key(|revision| revision["revision"].as_i64());
    if newest.is_some_and(|newest| newest["metadata"]["labels"][HASH_LABEL] == hash) {
        return;
    }
    let number = newest.and_then(|newest| newest["revision"].as_i64()).unwrap_or(0) + 1;
    let name = format!("{}-{hash}", text(set, "/metadata/name"));
    if world.store.edit(&Key::new("controllerrevisions", namespace, &name), |made| {
        made["revision"] = json!(number);
    }) {
        return;
    }
    let Some(revisions) = Resource::named("controllerrevisions") else { return };
    let mut revision = json!({
        "metadata": {
            "name": name,
            "labels": set["spec"]["template"]["metadata"]["labels"],
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "DaemonSet", "name": set["metadata"]["name"], "uid": uid,
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "revision": number,
    });
    if let Some(labels) = object_at(&mut revision["metadata"], "labels") {
        labels.insert(HASH_LABEL.into(), json!(hash));
    }
    if let Err(failure) = world.store.create(revisions, namespace, revision, now.wall) {
        world.log.add(now.at, format!("daemonset {}", text(set, "/metadata/name")), failure.message);
    }
}
