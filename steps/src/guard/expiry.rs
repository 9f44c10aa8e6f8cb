//! Tells of certificates: those that end soon, and those that a process goes on without. A plain `kubeadm certs
//! renew` renews files, and nobody says that the controller manager still holds the former ones.

use super::watch::Watch;
use crate::certificates::{Inventory, Program, Renewable, inventory};
use jiff::Timestamp;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// What was said is said again after this time.
const AGAIN_AFTER: Duration = Duration::from_secs(24 * 3600);

/// What is told of certificates, in the log and as an Event on the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) reason: &'static str,
    pub(super) words: String,
}

/// What there is to tell. Nothing if no certificate ends within 30 days, and every process has what its file has.
pub(super) fn to_tell(found: &Inventory, now: Timestamp) -> Vec<Told> {
    let mut told = Vec::new();
    let ends: Vec<String> = found
        .entries
        .iter()
        .filter(|entry| entry.ends_soon(now))
        .map(|entry| format!("{} ends at {:.0} ({})", entry.name, entry.certificate.not_after, entry.renewal))
        .collect();
    if !ends.is_empty() {
        let words = format!("{}; `fulcrum certs renew` renews what kubeadm can renew", ends.join("; "));
        told.push(Told { reason: "CertificatesEndSoon", words });
    }
    let mut older = Vec::new();
    for entry in &found.entries {
        for user in entry.users.iter().filter(|user| user.state.is_old()) {
            let renewable = entry.name.parse::<Renewable>().is_ok();
            let how = match user.program {
                Program::Component(_) if renewable => {
                    format!("`fulcrum certs renew {}`, or {}", entry.name, user.remedy)
                }
                _ => user.remedy.clone(),
            };
            older.push(format!(
                "{} (pid {}) goes on with an older {}: {how}",
                user.program, user.pid, entry.name
            ));
        }
    }
    if !older.is_empty() {
        told.push(Told { reason: "OlderCertificateInUse", words: older.join("; ") });
    }
    told
}

/// What was told, and when.
#[derive(Debug, Default)]
pub(super) struct Teller {
    last: Vec<Told>,
    at: Option<Instant>,
    /// The last change of the guard's own kubeconfig, as it was when the guard read it.
    kubeconfig: Option<SystemTime>,
}

impl Watch<'_> {
    /// Looks at the certificates, and tells what there is to tell: when it has changed, and once a day.
    pub(super) async fn tell_of_certificates(&mut self) {
        let site = &self.site;
        let (ports, root, minute) = (site.ports(), site.kubernetes_dir(), site.timeouts.minute);
        let told = to_tell(&inventory(&*site.node.host, &ports, &root, minute).await, Timestamp::now());
        let is_known =
            self.teller.last == told && self.teller.at.is_some_and(|at| at.elapsed() < AGAIN_AFTER);
        if is_known {
            return;
        }
        for Told { reason, words } in &told {
            tracing::warn!("{words}");
            if let Err(error) = site.cluster.node_event(&site.settings.node, reason, words).await {
                tracing::debug!(%error, "an Event about certificates was not written");
                return;
            }
        }
        self.teller.last = told;
        self.teller.at = Some(Instant::now());
    }

    /// Whether the guard's own kubeconfig has changed since the last call. The certificate in it was read once, and
    /// will end.
    pub(super) fn kubeconfig_has_changed(&mut self) -> bool {
        let changed = std::fs::metadata(&self.site.settings.kubeconfig).and_then(|file| file.modified()).ok();
        let before = self.teller.kubeconfig.replace(changed.unwrap_or(SystemTime::UNIX_EPOCH));
        changed.is_some() && before.is_some() && before != changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::{Certificate, Entry, Reload, State, Usage, User};
    use crate::component::Component;
    use jiff::SignedDuration;

    const PEM: &[u8] = include_bytes!("../../tests/fixtures/until-2033.crt");

    #[test]
    fn what_ends_soon_and_what_is_held_longer_than_it_should_be_is_told() {
        let certificate = Certificate::of_pem(PEM).unwrap();
        let ends = certificate.not_after;
        let days = |days: i64| ends - SignedDuration::from_hours(24 * days);
        let user = User {
            program: Program::Component(Component::Scheduler),
            pid: 7,
            usage: Usage::Client,
            reload: Reload::Never,
            state: State::Current,
            remedy: "kubectl rollout restart".to_owned(),
            restart: String::new(),
        };
        let entry = Entry {
            name: "scheduler.conf".to_owned(),
            path: None,
            certificate,
            users: vec![user],
            renewal: "kubeadm certs renew scheduler.conf".to_owned(),
        };
        let mut found = Inventory { entries: vec![entry], ..Inventory::default() };
        assert_eq!(to_tell(&found, days(31)), []);
        let [soon] = &to_tell(&found, days(12))[..] else { panic!("one thing") };
        assert_eq!(soon.reason, "CertificatesEndSoon");
        assert!(soon.words.contains("scheduler.conf ends at 2033"), "{}", soon.words);
        found.entries[0].users[0].state = State::HoldsOlder { started: days(40), changed: days(39) };
        let [older] = &to_tell(&found, days(31))[..] else { panic!("one thing") };
        assert_eq!(older.reason, "OlderCertificateInUse");
        assert!(older.words.contains("`fulcrum certs renew scheduler.conf`"), "{}", older.words);
        assert_eq!(to_tell(&found, days(12)).len(), 2);
    }
}
