//! Objects that phases of kubeadm change. Untyped: no field is lost that this program's types do not know.

use super::client::{Cluster, from_value, to_value, within};
use super::error::ClusterError;
use super::names::NAMESPACE;
use crate::upgrade::Touched;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use serde_json::Value;

impl Cluster {
    /// The object. `None` if there is none.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub(crate) async fn touched(&self, what: Touched) -> Result<Option<Value>, ClusterError> {
        let attempt = format!("get {what}");
        let found = within(&attempt, self.objects(what).get_opt(what.name)).await?;
        found.map(|object| to_value(&attempt, &object)).transpose()
    }

    /// Replaces the object, if it is still the version that `object` was made from.
    ///
    /// # Errors
    /// When the API server cannot be asked, refuses, or has another version (a conflict).
    pub(crate) async fn replace_touched(&self, what: Touched, object: &Value) -> Result<Value, ClusterError> {
        let attempt = format!("replace {what}");
        let object: DynamicObject = from_value(&attempt, object)?;
        let parameters = PostParams { field_manager: Some("fulcrum".to_owned()), ..PostParams::default() };
        let made = within(&attempt, self.objects(what).replace(what.name, &parameters, &object)).await?;
        to_value(&attempt, &made)
    }

    fn objects(&self, what: Touched) -> Api<DynamicObject> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(what.group, "v1", what.kind));
        match what.is_namespaced() {
            true => Api::namespaced_with(self.client.clone(), NAMESPACE, &kind),
            false => Api::all_with(self.client.clone(), &kind),
        }
    }
}
