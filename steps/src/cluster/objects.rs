//! Objects of which fulcrum keeps and restores a part. Untyped: no field is lost that this program's types do not know.

use super::client::{Cluster, from_value, to_value, within};
use super::error::ClusterError;
use super::names::NAMESPACE;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use serde_json::Value;
use std::fmt;

/// A part of an object: that which is kept, written and restored as one. The rest is other people's, as the number of replicas
/// is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ObjectPart {
    /// The API group; empty for the core.
    pub(crate) group: &'static str,
    /// The kind.
    pub(crate) kind: &'static str,
    /// The name, in `kube-system` unless the kind has no namespace.
    pub(crate) name: &'static str,
    /// The part, as a JSON pointer.
    pub(crate) part: &'static str,
}

impl ObjectPart {
    fn is_namespaced(self) -> bool {
        self.kind != "ClusterRole"
    }

    /// The part in this object.
    pub(crate) fn of(self, object: &Value) -> &Value {
        object.pointer(self.part).unwrap_or(&Value::Null)
    }

    /// Writes the part into the object. No effect where the object has no such place.
    pub(crate) fn put(self, object: &mut Value, part: &Value) {
        if let Some(place) = object.pointer_mut(self.part) {
            *place = part.clone();
        }
    }
}

impl fmt::Display for ObjectPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_namespaced() {
            true => write!(f, "{} {NAMESPACE}/{}", self.kind, self.name),
            false => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

impl Cluster {
    /// The object. `None` if there is none.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub(crate) async fn object_with(&self, what: ObjectPart) -> Result<Option<Value>, ClusterError> {
        let attempt = format!("get {what}");
        let found = within(&attempt, self.objects(what).get_opt(what.name)).await?;
        found.map(|object| to_value(&attempt, &object)).transpose()
    }

    /// Replaces the object, if it is still the version that `object` was made from.
    ///
    /// # Errors
    /// When the API server cannot be asked, refuses, or has another version (a conflict).
    pub(crate) async fn replace_object(
        &self,
        what: ObjectPart,
        object: &Value,
    ) -> Result<Value, ClusterError> {
        let attempt = format!("replace {what}");
        let object: DynamicObject = from_value(&attempt, object)?;
        let parameters = PostParams { field_manager: Some("fulcrum".to_owned()), ..PostParams::default() };
        let made = within(&attempt, self.objects(what).replace(what.name, &parameters, &object)).await?;
        to_value(&attempt, &made)
    }

    fn objects(&self, what: ObjectPart) -> Api<DynamicObject> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(what.group, "v1", what.kind));
        match what.is_namespaced() {
            true => Api::namespaced_with(self.client.clone(), NAMESPACE, &kind),
            false => Api::all_with(self.client.clone(), &kind),
        }
    }
}
