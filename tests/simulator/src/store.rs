//! The objects, as etcd would keep them: they outlive every process and every boot.
//!
//! Invariants: `resourceVersion` comes from one counter and changes with every change of an object and only
//! then. `uid`, `name`, `namespace` and `creationTimestamp` never change. `generation` grows with the spec.
//! An object that is being deleted and has no finalizer and no running pod is gone. A deletion has a version
//! of its own, as in etcd.
//!
//! An object is never changed in place, but replaced. So all readers can share it.

use super::defaults;
use super::failure::Failure;
use super::history::{Change, History};
use super::object::{Key, text, time};
use super::resource::Resource;
use super::validate;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The part of an object that a write changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Main,
    Status,
}

/// The options of a DELETE.
#[derive(Debug, Clone, Default)]
pub(super) struct Deletion {
    pub(super) uid: Option<String>,
    pub(super) resource_version: Option<String>,
    /// Seconds. `Some(0)` removes a pod without waiting for its kubelet.
    pub(super) grace: Option<i64>,
    /// `Foreground`, `Background` or `Orphan`. Only DaemonSets have dependents here.
    pub(super) propagation: Option<String>,
}

/// The result of a DELETE.
#[derive(Debug)]
#[must_use]
pub(super) enum Deleted {
    /// Finalizers or the kubelet have yet to act. The object as it is now.
    Pending(Arc<Value>),
    /// The object is gone. This is its last state.
    Gone(Arc<Value>),
}

/// The objects, the version counter, and the newest changes.
#[derive(Debug, Default)]
pub(super) struct Store {
    objects: BTreeMap<Key, Arc<Value>>,
    version: u64,
    /// The version of each resource's last change.
    changed: BTreeMap<&'static str, u64>,
    pub(super) history: History,
}

impl Store {
    /// An empty store that keeps this many changes.
    pub(super) fn new(keep: usize) -> Self {
        Self { history: History::new(keep), ..Self::default() }
    }

    /// The objects without their history, for a dry run, which is thrown away.
    pub(super) fn scratch(&self) -> Self {
        let (objects, changed) = (self.objects.clone(), self.changed.clone());
        Self { objects, version: self.version, changed, history: History::default() }
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The version at which an object of this resource last changed, was made or went. While it stays, so do they.
    pub(super) fn changed(&self, plural: &str) -> u64 {
        self.changed.get(plural).copied().unwrap_or_default()
    }

    /// As [`Self::changed`], of each of these.
    pub(super) fn all_changed<const N: usize>(&self, plurals: [&str; N]) -> [u64; N] {
        plurals.map(|plural| self.changed(plural))
    }

    /// The next version, at which an object of this resource changes.
    fn next_version(&mut self, plural: &'static str) -> u64 {
        self.version += 1;
        self.changed.insert(plural, self.version);
        self.version
    }

    /// The objects of a resource as they were at `version`. `None` if that is no longer known.
    pub(super) fn at(&self, plural: &'static str, version: u64) -> Option<BTreeMap<Key, Arc<Value>>> {
        if version < self.history.oldest() || version > self.version {
            return None;
        }
        let own = self.objects.range(Key::new(plural, "", "")..).take_while(|(key, _)| key.plural == plural);
        let mut objects: BTreeMap<Key, Arc<Value>> = own.map(|(k, v)| (k.clone(), Arc::clone(v))).collect();
        for change in self.history.after(version).rev().filter(|change| change.key.plural == plural) {
            match &change.old {
                Some(old) => objects.insert(change.key.clone(), Arc::clone(old)),
                None => objects.remove(&change.key),
            };
        }
        Some(objects)
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// All objects of a resource, of one namespace or of all.
    pub(super) fn list<'a>(
        &'a self,
        plural: &'static str,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Arc<Value>> + 'a {
        self.objects
            .range(Key::new(plural, "", "")..)
            .take_while(move |(key, _)| key.plural == plural)
            .filter(move |(key, _)| namespace.is_none_or(|ns| key.namespace == ns))
            .map(|(_, object)| object)
    }

    pub(super) fn create(
        &mut self,
        resource: &Resource,
        namespace: &str,
        mut object: Value,
        wall: Timestamp,
    ) -> Result<Arc<Value>, Failure> {
        validate::envelope(resource, namespace, &mut object)?;
        if resource.namespaced && !self.objects.contains_key(&Key::new("namespaces", "", namespace)) {
            return Err(Failure::not_found("namespaces", namespace));
        }
        name_it(resource, &mut object)?;
        validate::drop_unknown(resource, &mut object);
        defaults::fill(resource, &mut object);
        validate::object(resource, &object, None)?;
        let Some(plural) = Resource::named(resource.plural).map(|r| r.plural) else {
            return Err(Failure::no_path(resource.plural));
        };
        let key = Key::new(plural, namespace, text(&object, "/metadata/name"));
        if self.objects.contains_key(&key) {
            return Err(Failure::already_exists(&resource.qualified(), &key.name));
        }
        if let Some(meta) = object["metadata"].as_object_mut() {
            meta.retain(|field, _| !SYSTEM_FIELDS.contains(&field.as_str()));
            meta.insert("uid".into(), json!(uuid::Uuid::now_v7().to_string()));
            meta.insert("creationTimestamp".into(), json!(time(wall)));
        }
        if object.get("spec").is_some() && has_generation(resource) {
            object["metadata"]["generation"] = json!(1);
        }
        Ok(self.put(key, object))
    }

    /// A PUT, or the result of a PATCH: `new` replaces the object.
    pub(super) fn replace(
        &mut self,
        resource: &Resource,
        key: &Key,
        mut new: Value,
        part: Part,
        wall: Timestamp,
    ) -> Result<Arc<Value>, Failure> {
        validate::envelope(resource, &key.namespace, &mut new)?;
        if text(&new, "/metadata/name") != key.name {
            let why = "the name of the object does not match the name on the URL";
            return Err(Failure::bad_request(why));
        }
        let Some(old) = self.objects.get(key).cloned() else {
            let create = resource.create_on_update && part == Part::Main;
            return if create {
                self.create(resource, &key.namespace, new, wall)
            } else {
                Err(Failure::not_found(&resource.qualified(), &key.name))
            };
        };
        check_preconditions(resource, key, &old, &new)?;
        let merged = merge(resource, &old, new, part);
        validate::object(resource, &merged, Some(&old))?;
        validate::finalizers(resource, &merged, &old)?;
        if is_released(resource.plural, &merged) {
            self.remove(key);
            return Ok(Arc::new(merged));
        }
        Ok(if merged == *old { old } else { self.put(key.clone(), merged) })
    }

    pub(super) fn delete(
        &mut self,
        resource: &Resource,
        key: &Key,
        how: &Deletion,
        wall: Timestamp,
    ) -> Result<Deleted, Failure> {
        let Some(old) = self.objects.get(key) else {
            return Err(Failure::not_found(&resource.qualified(), &key.name));
        };
        for (what, wanted, found) in [
            ("UID", &how.uid, text(old, "/metadata/uid")),
            ("ResourceVersion", &how.resource_version, text(old, "/metadata/resourceVersion")),
        ] {
            if let Some(wanted) = wanted.as_ref().filter(|w| *w != found) {
                let why = format!(
                    "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
                );
                return Err(Failure::conflict(&resource.qualified(), &key.name, &why));
            }
        }
        let mut object = (**old).clone();
        add_finalizer(resource, how, &mut object);
        // This includes a mirror pod: its kubelet removes it, and makes another.
        let waits_for_kubelet = resource.plural == "pods"
            && how.grace != Some(0)
            && !text(old, "/spec/nodeName").is_empty()
            && !matches!(text(old, "/status/phase"), "Failed" | "Succeeded");
        if waits_for_kubelet || has_finalizers(&object) {
            let own = object["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(0);
            let grace = if waits_for_kubelet { how.grace.unwrap_or(own) } else { 0 };
            // A second deletion can only shorten the first one's grace.
            let before = object["metadata"]["deletionGracePeriodSeconds"].as_i64();
            if before.is_none_or(|before| grace < before) {
                // The API writes the end of the grace period, not the moment of the request.
                let end = wall.checked_add(jiff::SignedDuration::from_secs(grace)).unwrap_or(wall);
                object["metadata"]["deletionTimestamp"] = json!(time(end));
                object["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
            }
            let unchanged = Some(Arc::clone(old)).filter(|old| **old == object);
            return Ok(Deleted::Pending(unchanged.unwrap_or_else(|| self.put(key.clone(), object))));
        }
        Ok(Deleted::Gone(self.remove(key).unwrap_or_else(|| Arc::new(object))))
    }

    /// Removes an object without asking. The result has the version of the deletion.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Arc<Value>> {
        let old = self.objects.remove(key)?;
        let version = self.next_version(key.plural);
        let mut last = (*old).clone();
        last["metadata"]["resourceVersion"] = json!(version.to_string());
        let change = Change { version, key: key.clone(), old: Some(old), new: None };
        self.history.add(change);
        Some(Arc::new(last))
    }

    /// A change by one of the cluster's own actors, which read the object in this very instant. Returns
    /// whether anything changed.
    pub(super) fn edit(&mut self, key: &Key, change: impl FnOnce(&mut Value)) -> bool {
        let Some(old) = self.objects.get(key) else { return false };
        let mut new = (**old).clone();
        change(&mut new);
        if new == **old {
            return false;
        }
        if is_released(key.plural, &new) {
            self.remove(key);
        } else {
            self.put(key.clone(), new);
        }
        true
    }

    fn put(&mut self, key: Key, mut object: Value) -> Arc<Value> {
        let version = self.next_version(key.plural);
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let object = Arc::new(object);
        let old = self.objects.insert(key.clone(), Arc::clone(&object));
        self.history.add(Change { version, key, old, new: Some(Arc::clone(&object)) });
        object
    }
}

/// The fields that a client cannot set.
const SYSTEM_FIELDS: [&str; 6] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

fn has_generation(resource: &Resource) -> bool {
    matches!(resource.kind, "DaemonSet" | "Pod" | "EndpointSlice")
}

/// Takes `name`, or makes a name from `generateName` as the server does: five random characters.
fn name_it(resource: &Resource, object: &mut Value) -> Result<(), Failure> {
    if text(object, "/metadata/name").is_empty() {
        let prefix = text(object, "/metadata/generateName");
        if prefix.is_empty() {
            let why = "metadata.name: Required value: name or generateName is required";
            return Err(Failure::invalid(resource.kind, "", why));
        }
        let suffix: String = std::iter::repeat_with(fastrand::lowercase).take(5).collect();
        object["metadata"]["name"] = json!(format!("{prefix}{suffix}"));
    }
    Ok(())
}

fn check_preconditions(resource: &Resource, key: &Key, old: &Value, new: &Value) -> Result<(), Failure> {
    let version = text(new, "/metadata/resourceVersion");
    if version.is_empty() && !resource.unconditional_update {
        let why = "metadata.resourceVersion: Invalid value: 0: must be specified for an update";
        return Err(Failure::invalid(resource.kind, &key.name, why));
    }
    if !version.is_empty() && version != text(old, "/metadata/resourceVersion") {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        return Err(Failure::conflict(&resource.qualified(), &key.name, why));
    }
    let (wanted, found) = (text(new, "/metadata/uid"), text(old, "/metadata/uid"));
    if !wanted.is_empty() && wanted != found {
        let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}");
        return Err(Failure::conflict(&resource.qualified(), &key.name, &why));
    }
    Ok(())
}

fn merge(resource: &Resource, old: &Value, new: Value, part: Part) -> Value {
    if part == Part::Status {
        let mut merged = old.clone();
        merged["status"] = new.get("status").cloned().unwrap_or_else(|| json!({}));
        return merged;
    }
    let mut new = new;
    for field in SYSTEM_FIELDS {
        match old["metadata"].get(field) {
            Some(value) => new["metadata"][field] = value.clone(),
            None => {
                new["metadata"].as_object_mut().map(|meta| meta.remove(field));
            }
        }
    }
    if resource.status
        && let Some(object) = new.as_object_mut()
    {
        object.remove("status");
        old.get("status").map(|status| object.insert("status".into(), status.clone()));
    }
    defaults::fill(resource, &mut new);
    if has_generation(resource) && new.get("spec") != old.get("spec") {
        new["metadata"]["generation"] = json!(old["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
    }
    new
}

fn add_finalizer(resource: &Resource, how: &Deletion, object: &mut Value) {
    let finalizer = match how.propagation.as_deref() {
        Some("Foreground") if resource.plural == "daemonsets" => "foregroundDeletion",
        Some("Orphan") if resource.plural == "daemonsets" => "orphan",
        _ => return,
    };
    let meta = object["metadata"].as_object_mut();
    let list = meta.map(|m| m.entry("finalizers").or_insert_with(|| json!([])));
    if let Some(list) = list.and_then(Value::as_array_mut)
        && !list.iter().any(|f| f == finalizer)
    {
        list.push(json!(finalizer));
    }
}

fn has_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty())
}

/// Whether the object is being deleted, has no finalizer left, and, if a pod, has no kubelet that must end it
/// first.
fn is_released(plural: &str, object: &Value) -> bool {
    let meta = &object["metadata"];
    let ended = plural != "pods" || meta["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0;
    !meta["deletionTimestamp"].is_null() && !has_finalizers(object) && ended
}
