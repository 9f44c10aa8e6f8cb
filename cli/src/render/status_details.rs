//! The lines of `status` beside the components': ports, leaders, the standby, certificates, and what could not be
//! seen.

use crate::shell::Shell;
use fulcrum_steps::component::Component;
use fulcrum_steps::doctor::{Facts, Ground, Serving};
use serde::Serialize;

/// What `status` says beside the components.
#[derive(Debug, Default, Serialize)]
pub(crate) struct StatusDetails {
    /// Why the node is what it is.
    pub(crate) because: String,
    ports: Vec<PortStatus>,
    leaders: Vec<LeaderStatus>,
    /// Since when the standby of each component is what it is. Empty if none is kept.
    standby: Vec<StandbyStatus>,
    /// The certificate that ends first.
    next_certificate: Option<CertificateStatus>,
    /// The processes that use an older certificate than its file has, each with the command that ends that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    older_certificates: Vec<OlderCertificate>,
    /// What could not be seen, and why.
    unseen: Vec<String>,
}

#[derive(Debug, Serialize)]
struct PortStatus {
    component: Component,
    port: u16,
    /// The processes that listen.
    held_by: Vec<String>,
    /// What was seen instead of good answers.
    silent: Option<String>,
    /// Whether the processes could be seen.
    #[serde(skip)]
    is_seen: bool,
}

#[derive(Debug, Serialize)]
struct LeaderStatus {
    component: Component,
    holder: String,
    renewed_seconds_ago: Option<u64>,
}

#[derive(Debug, Serialize)]
struct StandbyStatus {
    component: Component,
    since: String,
}

#[derive(Debug, Serialize)]
struct OlderCertificate {
    certificate: String,
    process: String,
    remedy: String,
}

#[derive(Debug, Serialize)]
struct CertificateStatus {
    path: String,
    not_after: String,
    days_left: i64,
}

impl StatusDetails {
    /// Another user than root does not see whose sockets there are.
    pub(crate) fn of(facts: &Facts, is_root: bool) -> Self {
        let mut unseen: Vec<String> = Vec::new();
        if !is_root {
            unseen.push("who listens on the ports, and what only root can read: run it as root".to_owned());
        }
        if let Err(error) = &facts.api {
            unseen.push(format!("DaemonSets, leaders and the lock: {error}"));
        }
        let mut ports = Vec::new();
        for (component, seen) in &facts.components {
            let held_by = match &seen.listeners {
                Ok(all) => all.iter().map(|one| one.who.clone()).collect(),
                Err(error) => {
                    unseen.push(format!("who holds port {}: {error}", seen.port));
                    Vec::new()
                }
            };
            let silent = match &seen.serving {
                Serving::Not(why) if is_root => Some(why.clone()),
                _ => None,
            };
            let is_seen = is_root && seen.listeners.is_ok();
            ports.push(PortStatus { component: *component, port: seen.port, held_by, silent, is_seen });
        }
        if let Err(error) = &facts.guard {
            unseen.push(format!("the guard: {error}"));
        }
        unseen.extend(facts.certificates.unread.iter().cloned());
        let leaders = facts.api.iter().flat_map(|api| &api.leaders).map(|(component, leader)| LeaderStatus {
            component: *component,
            holder: leader.holder.clone(),
            renewed_seconds_ago: leader.age.map(|age| age.as_secs()),
        });
        let standby = facts.components.iter().filter_map(|(component, seen)| {
            let since = seen.standby_since.filter(|_| matches!(facts.ground, Some(Ground::SelfHosted(_))))?;
            Some(StandbyStatus { component: *component, since: format!("{since:.0}") })
        });
        Self {
            because: because(facts),
            ports,
            leaders: leaders.collect(),
            standby: standby.collect(),
            next_certificate: next_certificate(facts),
            older_certificates: older_certificates(facts),
            unseen,
        }
    }

    pub(super) fn show(&self, shell: &Shell) {
        for port in &self.ports {
            let by = match port.held_by.as_slice() {
                [] if !port.is_seen => "not seen".to_owned(),
                [] => "no process".to_owned(),
                some => some.join(" and "),
            };
            let silent =
                port.silent.as_ref().map(|why| format!("; does not serve: {why}")).unwrap_or_default();
            shell.words(format_args!("  port {:<19} {by}{silent}", port.port));
        }
        for leader in &self.leaders {
            let holder = if leader.holder.is_empty() { "no process" } else { &leader.holder };
            let age = leader
                .renewed_seconds_ago
                .map_or("never renewed".to_owned(), |age| format!("renewed {age} s ago"));
            shell.words(format_args!("  leader of {}: {holder}, {age}", leader.component));
        }
        if let Some(oldest) = self.standby.iter().min_by(|a, b| a.since.cmp(&b.since)) {
            shell.words(format_args!("  standby: unchanged since {} ({})", oldest.since, oldest.component));
        }
        if let Some(next) = &self.next_certificate {
            shell.words(format_args!(
                "  certificates: the first to end is {}, in {} days",
                next.path, next.days_left
            ));
        }
        for OlderCertificate { certificate, process, remedy } in &self.older_certificates {
            shell.words(format_args!("  {process} goes on with an older {certificate}: {remedy}"));
        }
        for what in &self.unseen {
            shell.talk(format_args!("not seen: {what}"));
        }
    }
}

fn because(facts: &Facts) -> String {
    let fallen = facts.components.values().any(|seen| seen.is_standby);
    match facts.ground {
        None => "the journal does not say".to_owned(),
        Some(Ground::Static) => "no pivot is in force here".to_owned(),
        Some(Ground::SelfHosted(run)) if fallen => {
            format!("run {run} has pivoted it, and it has fallen back to static pods since")
        }
        Some(Ground::SelfHosted(run)) => format!("run {run} has pivoted it"),
        Some(Ground::Between(run)) => format!("run {run}, or one after it, is not at an end"),
    }
}

fn older_certificates(facts: &Facts) -> Vec<OlderCertificate> {
    let mut older = Vec::new();
    for entry in &facts.certificates.entries {
        for user in entry.users.iter().filter(|user| user.state.is_old()) {
            older.push(OlderCertificate {
                certificate: entry.name.clone(),
                process: format!("{} (pid {})", user.program, user.pid),
                remedy: user.remedy.clone(),
            });
        }
    }
    older
}

fn next_certificate(facts: &Facts) -> Option<CertificateStatus> {
    let next = facts.certificates.first_to_end()?;
    Some(CertificateStatus {
        path: next.path.as_ref().map_or_else(|| next.name.clone(), |path| path.display().to_string()),
        not_after: next.certificate.not_after.to_string(),
        days_left: next.left(facts.now).as_hours() / 24,
    })
}
