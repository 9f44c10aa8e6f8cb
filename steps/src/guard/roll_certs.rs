//! Rolls out what goes on with a certificate that somebody has renewed, if the guard was told to.

use super::GuardError;
use super::boot::static_ones;
use super::decide::{RunFacts, Standing, Workflow};
use super::expiry::AGAIN_AFTER;
use super::watch::Watch;
use crate::certificates::{Inventory, Program, Reload, Renewable};
use crate::component::Component;
use crate::manifest::can_roll_out;
use crate::plan;
use fulcrum_engine::Plan;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// The components that go on with older certificates and read them at their start only, with which.
fn to_roll(found: &Inventory) -> BTreeMap<Component, Vec<Renewable>> {
    let mut wanted: BTreeMap<Component, Vec<Renewable>> = BTreeMap::new();
    for entry in &found.entries {
        let Ok(name) = entry.name.parse::<Renewable>() else { continue };
        for user in entry.users.iter().filter(|user| user.state.is_old() && user.reload == Reload::Never) {
            let Program::Component(component) = user.program else { continue };
            let names = wanted.entry(component).or_default();
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    wanted
}

/// Whether the last such roll-out was long enough ago: one that failed is not tried again for a day.
fn may_roll(runs: &[RunFacts], hold_off: Duration, now: Timestamp) -> bool {
    let Some(last) = runs.iter().rfind(|run| run.workflow == Workflow::RollCerts) else { return true };
    let pause = if last.standing == Standing::Completed { hold_off } else { AGAIN_AFTER };
    SignedDuration::try_from(pause).is_ok_and(|pause| now.duration_since(last.begun.into()) >= pause)
}

impl Watch<'_> {
    /// The run that starts the pods which go on with older certificates. `None` if there are none, or if the guard was
    /// not told to.
    pub(super) async fn certificates_to_roll(&self, found: &Inventory) -> Result<Option<Plan>, GuardError> {
        let told = self.told;
        let may = self.guard.roll_certificates
            && !told.has_an_open_change()
            && may_roll(&told.runs, self.guard.intervals.hold_off, Timestamp::now());
        if !may {
            return Ok(None);
        }
        let mut wanted = to_roll(found);
        let by_file = static_ones(&self.site.node.manifests);
        for component in Component::ALL {
            if !wanted.contains_key(&component) {
                continue;
            }
            let live = self.site.cluster.daemonset(component.daemonset_name()).await;
            let can = live.is_ok_and(|live| live.is_some_and(|live| can_roll_out(&live).is_ok()));
            if by_file.contains(&component) || !can {
                wanted.remove(&component);
            }
        }
        if wanted.is_empty() {
            return Ok(None);
        }
        Ok(Some(plan::roll_certs(&told.settings, told.pivot, wanted)?))
    }
}
