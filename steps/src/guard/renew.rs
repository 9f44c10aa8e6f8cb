//! Keeps the standby true: once a changed DaemonSet has proven itself, the standby becomes what it runs.

use super::GuardError;
use super::boot::{is_proven, static_ones};
use super::watch::Watch;
use crate::cluster::DaemonsetVersion;
use crate::component::Component;
use crate::host::Process;
use crate::look::once;
use crate::manifest::{is_through, standby_of};
use crate::plan;
use crate::site::{Site, in_api_pod};
use fulcrum_engine::Plan;
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// A refusal is not repeated for this long.
const REFUSED_AGAIN_AFTER: Duration = Duration::from_secs(3600);

impl Watch<'_> {
    /// The components whose DaemonSets have changed and have served for long enough since.
    pub(super) async fn renewal(&mut self) -> Result<Option<(Plan, Vec<Component>)>, GuardError> {
        // What an unfinished change has rolled out may be taken back yet.
        if self.told.has_an_open_change() {
            return Ok(None);
        }
        // The standby reads the mirror: it comes first.
        self.mirror_secrets().await;
        let by_file = static_ones(&self.site.node.manifests);
        let mut proven = Vec::new();
        for component in Component::ALL.into_iter().filter(|component| !by_file.contains(component)) {
            let Ok(Some(live)) = self.site.cluster.daemonset(component.daemonset_name()).await else {
                continue;
            };
            let generation = live["metadata"]["generation"].clone();
            let version = DaemonsetVersion::of(&live);
            if self.proven.get(&component) == Some(&version) {
                continue;
            }
            if is_proven(self.guard.env, self.told, &self.site, component, &live)? {
                self.proving.remove(&component);
                self.behind.remove(&component);
                self.proven.insert(component, version);
                continue;
            }
            self.behind.insert(component);
            if is_through(&live).is_err() {
                self.still.entry(component).or_default().end(&self.site, component).await;
            }
            if !self.serves_as_said(component, &live).await? {
                self.proving.remove(&component);
                continue;
            }
            let since = self.proving.entry(component).or_insert_with(|| (generation.clone(), Instant::now()));
            if since.0 != generation {
                *since = (generation, Instant::now());
            }
            if since.1.elapsed() >= self.guard.intervals.proof && self.fits(component, &live) {
                proven.push(component);
            }
        }
        if proven.is_empty() {
            return Ok(None);
        }
        let why = format!(
            "the DaemonSets have changed, and have served for {:?} since",
            self.guard.intervals.proof
        );
        let plan = plan::renew_standby(&self.told.settings, self.told.pivot, &proven, &why)?;
        Ok(Some((plan, proven)))
    }

    /// Whether a static pod may be made from it. If not, the standby stays as it was, and the guard says so
    /// once.
    fn fits(&mut self, component: Component, live: &Value) -> bool {
        let made = standby_of(component, live, &self.site.settings.target(None));
        let Err(refused) = made else { return true };
        tracing::warn!("DaemonSet {}: the standby is not renewed: {refused}", component.daemonset_name());
        if let Some((_, since)) = self.proving.get_mut(&component) {
            *since = Instant::now() + REFUSED_AGAIN_AFTER;
        }
        false
    }

    /// Every pod is of the newest template and Ready, and the pod on this node is the one that answers here.
    async fn serves_as_said(&self, component: Component, live: &Value) -> Result<bool, GuardError> {
        if is_through(live).is_err() {
            return Ok(false);
        }
        let labels = Site::pod_labels(component);
        let Ok(pods) = self.site.cluster.pods_on(&self.site.settings.node, &labels).await else {
            return Ok(false);
        };
        let [pod] = pods.as_slice() else { return Ok(false) };
        let uid = pod.metadata.uid.as_deref();
        let the_one = |process: &Process| in_api_pod(process) && process.pod_uid.as_deref() == uid;
        Ok(once(self.site.serves(component, None, the_one).await)?.is_ok())
    }
}
