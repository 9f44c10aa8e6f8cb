//! Rolls out what goes on with a certificate that somebody has renewed, if the guard was told to.

use super::GuardError;
use super::boot::static_ones;
use super::decide::{RunFacts, Standing, Workflow};
use super::expiry::AGAIN_AFTER;
use super::watch::{Watch, due};
use crate::certificates::{Inventory, Program, Reload, Renewable};
use crate::component::Component;
use crate::manifest::can_roll_out;
use crate::plan;
use fulcrum_engine::Plan;
use fulcrum_engine::state::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

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
    now.since(last.begun) >= pause
}

impl Watch<'_> {
    /// Now and then tells what there is to tell of certificates. Returns the run that is needed, if the guard was told to
    /// begin one.
    pub(super) async fn see_to_certificates(
        &mut self,
        answers: bool,
        last: &mut Option<Instant>,
    ) -> Result<Option<Plan>, GuardError> {
        if !answers || !due(last, self.guard.intervals.certificates) {
            return Ok(None);
        }
        let found = self.tell_of_certificates().await;
        self.certificates_to_roll(&found).await
    }

    /// The run that starts the pods which go on with older certificates. `None` if there are none, or if the guard was
    /// not told to.
    async fn certificates_to_roll(&self, found: &Inventory) -> Result<Option<Plan>, GuardError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::{Certificate, Entry, State, Usage, User};
    use fulcrum_engine::state::RunId;
    use std::collections::BTreeSet;

    const PEM: &[u8] = include_bytes!("../../tests/fixtures/until-2033.crt");

    #[test]
    fn who_reads_at_its_start_only_is_rolled_and_nobody_else() {
        let certificate = Certificate::of_pem(PEM).unwrap();
        let older = State::HoldsOlder { started: certificate.not_after, changed: certificate.not_after };
        let user = |program, reload, state| User {
            program,
            pid: 7,
            usage: Usage::Client,
            reload,
            state,
            remedy: String::new(),
            restart: String::new(),
        };
        let [scheduler, manager] =
            [Component::Scheduler, Component::ControllerManager].map(Program::Component);
        let users = vec![
            user(scheduler, Reload::Never, older.clone()),
            user(manager, Reload::Never, State::Current),
            user(Program::Component(Component::ApiServer), Reload::EachMinute, older.clone()),
            user(Program::Kubelet, Reload::Never, older),
        ];
        let entry = |name: &str| Entry {
            name: name.to_owned(),
            path: None,
            certificate: certificate.clone(),
            users: users.clone(),
            renewal: String::new(),
        };
        let entries = vec![entry("scheduler.conf"), entry("of-my-own")];
        let found = Inventory { entries, ..Inventory::default() };
        assert_eq!(to_roll(&found), BTreeMap::from([(Component::Scheduler, vec![Renewable::SchedulerConf])]));
    }

    #[test]
    fn what_has_failed_is_tried_again_a_day_later() {
        let (minute, begun) = (60_000_000, Timestamp::from_micros(0));
        let run = |standing| RunFacts {
            run: RunId::new(),
            workflow: Workflow::RollCerts,
            standing,
            begun,
            boot_id: String::new(),
            by_guard: true,
            retired: BTreeSet::new(),
        };
        let may = |runs: &[RunFacts], minutes: u64| {
            may_roll(runs, Duration::from_secs(600), Timestamp::from_micros(minutes * minute))
        };
        assert!(may(&[], 0));
        let completed = run(Standing::Completed);
        assert_eq!([9, 10].map(|minutes| may(std::slice::from_ref(&completed), minutes)), [false, true]);
        let failed = [completed, run(Standing::RolledBack)];
        assert_eq!([10, 1439, 1440].map(|minutes| may(&failed, minutes)), [false, false, true]);
    }
}
