//! The Secrets of the control plane's namespace. What is in them is in no message, and only digests are recorded.

use super::client::{Cluster, gone, only, within};
use super::error::ClusterError;
use super::names::NAMESPACE;
use crate::change;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;

impl Cluster {
    /// A Secret of the control plane's namespace.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn secret(&self, name: &str) -> Result<Option<Secret>, ClusterError> {
        within(&format!("get Secret {NAMESPACE}/{name}"), self.secrets().get_opt(name)).await
    }

    /// Creates a Secret.
    ///
    /// # Errors
    /// When the API server cannot be asked, refuses, or has one of that name (a conflict).
    pub(crate) async fn create_secret(&self, secret: &Secret) -> Result<Secret, ClusterError> {
        let attempt = format!("create Secret {NAMESPACE}/{}", name_of(secret));
        let made = within(&attempt, self.secrets().create(&PostParams::default(), secret)).await?;
        change::record_object("Secret", None, Some(&made));
        Ok(made)
    }

    /// Replaces a Secret that was read, with the version in which it was read: a conflict if it has changed since.
    ///
    /// # Errors
    /// When the API server cannot be asked, or refuses.
    pub(crate) async fn replace_secret(
        &self,
        before: &Secret,
        secret: &Secret,
    ) -> Result<Secret, ClusterError> {
        let name = name_of(secret);
        let attempt = format!("replace Secret {NAMESPACE}/{name}");
        let made = within(&attempt, self.secrets().replace(name, &PostParams::default(), secret)).await?;
        change::record_object("Secret", Some(before), Some(&made));
        Ok(made)
    }

    /// Deletes this very Secret. No error if it is gone.
    ///
    /// # Errors
    /// When the API server cannot be asked, or refuses.
    pub(crate) async fn delete_secret(&self, secret: &Secret) -> Result<(), ClusterError> {
        let name = name_of(secret);
        let uid = secret.metadata.uid.as_deref().unwrap_or_default();
        let attempt = format!("delete Secret {NAMESPACE}/{name}");
        gone(within(&attempt, self.secrets().delete(name, &only(uid))).await.map(|_| ()))?;
        change::record_object("Secret", Some(secret), None);
        Ok(())
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }
}

fn name_of(secret: &Secret) -> &str {
    secret.metadata.name.as_deref().unwrap_or_default()
}
