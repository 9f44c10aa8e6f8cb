//! Compares a DaemonSet that is there with the one that a manifest makes.

use super::client::Cluster;
use super::error::ClusterError;
use crate::manifest::{Difference, alike};
use serde_json::Value;

impl Cluster {
    /// Whether the DaemonSet `ours`, as the API server would complete it, has the spec of `live`. The server is asked by a
    /// dry run, under another name: that of `live` is taken. Inside is every difference.
    ///
    /// # Errors
    /// When the API server cannot be asked, or would not take `ours`.
    pub(crate) async fn compare_daemonset(
        &self,
        ours: &Value,
        live: &Value,
    ) -> Result<Result<(), Vec<Difference>>, ClusterError> {
        let mut named = ours.clone();
        let name = ours["metadata"]["name"].as_str().unwrap_or_default();
        named["metadata"]["name"] = format!("{name}-compared").into();
        let made = self.create_daemonset(&named, true).await?;
        Ok(alike(&made, live))
    }
}
