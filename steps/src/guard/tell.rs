//! Looks at the certificates now and then, and tells what there is to tell.

use super::expiry::{AGAIN_AFTER, Told, to_tell};
use super::watch::Watch;
use crate::certificates::{Inventory, Pace, inventory};
use jiff::Timestamp;
use std::time::SystemTime;
use tokio::time::Instant;

impl Watch<'_> {
    /// Looks at the certificates, and tells what there is to tell: when it has changed, and once a day. Returns what was
    /// seen.
    pub(super) async fn tell_of_certificates(&mut self) -> Inventory {
        let site = &self.site;
        let (ports, root, minute) = (site.ports(), site.kubernetes_dir(), site.timeouts.minute);
        let found = inventory(&*site.node.host, &ports, &root, Pace::patient(minute)).await;
        let told = to_tell(&found, Timestamp::now());
        let is_known =
            self.teller.last == told && self.teller.at.is_some_and(|at| at.elapsed() < AGAIN_AFTER);
        if is_known {
            return found;
        }
        for Told { reason, words } in &told {
            tracing::warn!("{words}");
            if let Err(error) = site.cluster.node_event(&site.settings.node, reason, words).await {
                tracing::debug!(%error, "an Event about certificates was not written");
                return found;
            }
        }
        self.teller.last = told;
        self.teller.at = Some(Instant::now());
        found
    }

    /// Whether the guard's own kubeconfig has changed since the last call. The certificate in it was read once, and
    /// will end.
    pub(super) fn kubeconfig_has_changed(&mut self) -> bool {
        let changed = std::fs::metadata(&self.site.settings.kubeconfig).and_then(|file| file.modified()).ok();
        let before = self.teller.kubeconfig.replace(changed.unwrap_or(SystemTime::UNIX_EPOCH));
        changed.is_some() && before.is_some() && before != changed
    }
}
