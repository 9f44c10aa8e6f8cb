//! The signs of life of the components, and what their absence means.

use super::GuardError;
use super::boot::static_ones;
use super::decide::{Pulse, Watched, fall_back, stagger};
use super::watch::{Sign, Watch};
use crate::component::Component;
use crate::handover::removal::users;
use crate::look::once;
use crate::plan;
use fulcrum_engine::Plan;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

impl Watch<'_> {
    /// The run that brings static pods back, if components are silent or their DaemonSets are gone.
    pub(super) async fn fallback(&mut self, answers: bool) -> Result<Option<Plan>, GuardError> {
        let gone = if answers { self.gone().await } else { BTreeSet::new() };
        let Some((components, why)) = fall_back(&self.pulses(&gone)) else { return Ok(None) };
        tracing::warn!(?components, "falling back to the static pods: {why}");
        Ok(Some(plan::fall_back(&self.told.settings, self.told.pivot, &components, &why)?))
    }

    pub(super) fn alive(&mut self, component: Component) {
        if let Some(sign) = self.signs.get_mut(&component) {
            sign.last = Instant::now();
        }
    }

    pub(super) fn silent(&self, component: Component) -> Duration {
        self.signs.get(&component).map_or(Duration::ZERO, |sign| sign.last.elapsed())
    }

    /// Looks at the leases of the components that elect a leader. While the API does not answer, no component
    /// can renew its lease, and the guard blames none for it.
    pub(super) async fn study(&mut self) {
        if let Ok(Ok(users)) = once(users(&self.site).await) {
            self.users = users;
        }
        for component in Component::ALL {
            let Some(name) = component.lease_name() else { continue };
            let Ok(lease) = self.site.cluster.lease(name).await else {
                self.alive(component);
                continue;
            };
            let renewed = lease.and_then(|lease| lease.spec?.renew_time).map(|time| time.0.to_string());
            let Some(sign) = self.signs.get_mut(&component) else { continue };
            if sign.renewed != renewed {
                *sign = Sign { last: Instant::now(), renewed };
            }
        }
    }

    fn pulses(&mut self, gone: &BTreeSet<Component>) -> Watched {
        let silent = self.silent(Component::ApiServer) >= self.guard.intervals.ask * 2;
        if silent {
            self.alive(Component::ControllerManager);
            self.alive(Component::Scheduler);
        }
        let patience = self.guard.intervals.patience;
        let by_file = static_ones(&self.site.node.manifests);
        let mut hosted = BTreeMap::new();
        for component in Component::ALL.into_iter().filter(|component| !by_file.contains(component)) {
            let silent = self.silent(component);
            let silent = if gone.contains(&component) { silent.max(patience) } else { silent };
            hosted.insert(component, Pulse { silent, listens: self.listens(component) });
        }
        Watched { patience, stagger: stagger(&self.site.settings.node, &self.users, patience), hosted }
    }
}
