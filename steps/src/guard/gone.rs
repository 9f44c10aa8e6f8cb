//! Components whose DaemonSet is gone: nothing starts them again, and there is nothing to wait for.

use super::boot::static_ones;
use super::watch::Watch;
use crate::component::Component;
use std::collections::BTreeSet;

impl Watch<'_> {
    /// The components that do not run and whose DaemonSet the API does not have. Asks only about those that do
    /// not run. Says nothing of the API server: it would have to be asked about itself.
    pub(super) async fn gone(&self) -> BTreeSet<Component> {
        let by_file = static_ones(&self.site.node.manifests);
        let mut gone = BTreeSet::new();
        for component in [Component::ControllerManager, Component::Scheduler] {
            if by_file.contains(&component) || self.listens(component) {
                continue;
            }
            if let Ok(None) = self.site.cluster.daemonset(component.daemonset_name()).await {
                gone.insert(component);
            }
        }
        gone
    }
}
