//! What there is to tell of certificates: those that end soon, and those that a process goes on without. A plain `kubeadm certs
//! renew` renews files, and nobody says that the controller manager still holds the former ones.

use crate::certificates::{Inventory, Program, Renewable};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// What was told is told again after this time.
pub(super) const AGAIN_AFTER: Duration = Duration::from_secs(24 * 3600);

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
    pub(super) last: Vec<Told>,
    pub(super) at: Option<Instant>,
    /// The last change of the guard's own kubeconfig, as it was when the guard read it.
    pub(super) kubeconfig: Option<SystemTime>,
    /// What is known of the Secrets.
    pub(super) mirroring: Mirroring,
}

/// What is known of the Secrets with certificates.
#[derive(Debug, Default)]
pub(super) struct Mirroring {
    pub(super) looked: Option<Instant>,
    /// The digest of each Secret that is not in the mirror yet.
    pub(super) seen: BTreeMap<&'static str, String>,
    /// What was told last.
    pub(super) told: Option<String>,
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
