//! Shows the certificates of a control plane.

use crate::shell::Shell;
use fulcrum_steps::certificates::{Entry, Inventory, Reload, State, Usage, User};
use jiff::Timestamp;
use serde::Serialize;
use std::fmt::Write;

/// The version of what `certs check -o json` prints. A new field leaves the version as it is.
const FORMAT_VERSION: u32 = 1;

#[derive(Debug, Serialize)]
struct CertificatesView<'a> {
    format_version: u32,
    needs_action: bool,
    certificates: Vec<CertificateView<'a>>,
    /// What could not be read, and why.
    unread: &'a [String],
    /// Files that flags name and that are not there.
    missing: Vec<String>,
}

#[derive(Debug, Serialize)]
struct CertificateView<'a> {
    name: &'a str,
    path: Option<String>,
    subject: &'a str,
    issuer: &'a str,
    not_after: String,
    days_left: i64,
    renewal: &'a str,
    users: Vec<UserView<'a>>,
}

#[derive(Debug, Serialize)]
struct UserView<'a> {
    program: &'static str,
    pid: u32,
    usage: Usage,
    reload: Reload,
    state: &'static str,
    /// Why the state cannot be seen, or since when it holds.
    detail: Option<String>,
    remedy: &'a str,
}

/// Every certificate, who uses it, and what is to be done.
pub(crate) fn show_certificates(found: &Inventory, now: Timestamp, shell: &Shell) {
    match shell.json() {
        true => shell.data_json(&view(found, now)),
        false => shell.words(text(found, now).trim_end()),
    }
}

fn view(found: &Inventory, now: Timestamp) -> CertificatesView<'_> {
    CertificatesView {
        format_version: FORMAT_VERSION,
        needs_action: found.needs_action(now),
        certificates: found.entries.iter().map(|entry| certificate_view(entry, now)).collect(),
        unread: &found.unread,
        missing: found.missing.iter().map(|path| path.display().to_string()).collect(),
    }
}

fn certificate_view(entry: &Entry, now: Timestamp) -> CertificateView<'_> {
    CertificateView {
        name: &entry.name,
        path: entry.path.as_ref().map(|path| path.display().to_string()),
        subject: &entry.certificate.subject,
        issuer: &entry.certificate.issuer,
        not_after: entry.certificate.not_after.to_string(),
        days_left: days(entry, now),
        renewal: &entry.renewal,
        users: entry.users.iter().map(user_view).collect(),
    }
}

fn user_view(user: &User) -> UserView<'_> {
    let (state, detail) = match &user.state {
        State::Presented => ("presented", None),
        State::Current => ("current", None),
        State::Due => ("due", None),
        State::PresentsOther(end) => ("presents-other", Some(format!("what it presents ends at {end}"))),
        State::HoldsOlder { started, changed } => (
            "holds-older",
            Some(format!("the process was started at {started}, the file changed at {changed}")),
        ),
        State::Unseen(why) => ("unseen", Some(why.clone())),
    };
    let User { program, pid, usage, reload, remedy, .. } = user;
    UserView { program: program.name(), pid: *pid, usage: *usage, reload: *reload, state, detail, remedy }
}

fn days(entry: &Entry, now: Timestamp) -> i64 {
    entry.left(now).as_hours().div_euclid(24)
}

fn text(found: &Inventory, now: Timestamp) -> String {
    let mut text = format!("{:<30} {:>5}  {:<10}  SIGNED BY\n", "CERTIFICATE", "DAYS", "ENDS");
    for entry in &found.entries {
        let ends = entry.certificate.not_after.strftime("%Y-%m-%d");
        let (name, issuer) = (&entry.name, &entry.certificate.issuer);
        let _ = writeln!(text, "{name:<30} {:>5}  {ends:<10}  {issuer}", days(entry, now));
        for user in &entry.users {
            text += &format!(
                "  {:<24} {:<15} {:<18} {}",
                user.program.name(),
                usage(user.usage),
                reload(user.reload),
                state(&user.state)
            );
            text = text.trim_end().to_owned() + "\n";
        }
    }
    for unread in &found.unread {
        let _ = writeln!(text, "not read: {unread}");
    }
    for missing in &found.missing {
        let _ = writeln!(text, "not there, though a flag names it: {}", missing.display());
    }
    let to_do = to_do(found, now);
    match (to_do.is_empty(), found.first_to_end()) {
        (false, _) => text + "\nTo do:\n" + &to_do,
        (true, Some(first)) => {
            let so_far = match found.is_complete() {
                true => "nothing to do",
                false => "nothing to do in what was seen, which is not all",
            };
            text + &format!("\n{so_far}: the first to end is {}, in {} days\n", first.name, days(first, now))
        }
        (true, None) => text,
    }
}

/// What a person has to do, each with its command.
fn to_do(found: &Inventory, now: Timestamp) -> String {
    let mut text = String::new();
    for entry in &found.entries {
        if entry.left(now).is_negative() {
            let _ = writeln!(text, "{} has ended:\n  {}", entry.name, entry.renewal);
        } else if entry.ends_soon(now) {
            let _ = writeln!(text, "{} ends in {} days:\n  {}", entry.name, days(entry, now), entry.renewal);
        }
    }
    for entry in &found.entries {
        for user in entry.users.iter().filter(|user| user.state.is_old()) {
            let User { program, pid, remedy, .. } = user;
            let _ = writeln!(text, "{program} (pid {pid}) uses an older {}:\n  {remedy}", entry.name);
        }
    }
    text
}

fn usage(usage: Usage) -> &'static str {
    match usage {
        Usage::Serves => "serves",
        Usage::Peer => "to members",
        Usage::Client => "to API server",
        Usage::EtcdClient => "to etcd",
        Usage::KubeletClient => "to kubelets",
        Usage::Proxies => "to other APIs",
        Usage::Signs => "signs",
        Usage::TrustsClients => "CA of clients",
        Usage::Trusts => "CA of servers",
        Usage::Loopback => "serves itself",
    }
}

pub(super) fn reload(reload: Reload) -> &'static str {
    match reload {
        Reload::EachMinute => "reads each minute",
        Reload::EachConnection => "at connecting",
        Reload::FiveMinutes => "reads each 5 min",
        Reload::Rotates => "renews it itself",
        Reload::Never => "at its start only",
    }
}

fn state(state: &State) -> &'static str {
    match state {
        State::Presented => "presents it",
        State::Current => "has it",
        State::Due => "will have it soon",
        State::PresentsOther(_) => "PRESENTS ANOTHER",
        State::HoldsOlder { .. } => "HOLDS AN OLDER",
        State::Unseen(_) => "? not seen",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulcrum_steps::certificates::{Certificate, Program};
    use fulcrum_steps::component::Component;
    use jiff::SignedDuration;

    const PEM: &[u8] = include_bytes!("../../../steps/tests/fixtures/until-2033.crt");

    /// Two certificates, of which one ends soon, and each state that a process can be in.
    fn found() -> (Inventory, Timestamp) {
        let certificate = Certificate::of_pem(PEM).unwrap();
        let now = certificate.not_after - SignedDuration::from_hours(24 * 12);
        let user = |program, usage, reload, state: State| {
            let remedy = if state.is_old() { "kubectl -n kube-system rollout restart ds/x" } else { "" };
            let (remedy, restart) = (remedy.to_owned(), String::new());
            User { program, pid: 7, usage, reload, state, remedy, restart }
        };
        let manager = Program::Component(Component::ControllerManager);
        let server = Program::Component(Component::ApiServer);
        let older = State::HoldsOlder { started: now, changed: now };
        let users = vec![
            user(server, Usage::Serves, Reload::EachMinute, State::Presented),
            user(server, Usage::Loopback, Reload::Never, State::PresentsOther(now)),
            user(manager, Usage::Client, Reload::Never, older),
            user(manager, Usage::Signs, Reload::EachMinute, State::Due),
            user(Program::Etcd, Usage::Peer, Reload::EachConnection, State::Current),
            user(Program::Kubelet, Usage::Client, Reload::Rotates, State::Unseen("no answer".into())),
        ];
        let entry = |name: &str, path: Option<&str>, users| Entry {
            name: name.to_owned(),
            path: path.map(Into::into),
            certificate: certificate.clone(),
            users,
            renewal: format!("kubeadm certs renew {name}"),
        };
        let unread = vec!["read /etc/kubernetes/pki/etcd/ca.crt: permission denied".to_owned()];
        let entries = vec![
            entry("apiserver", Some("/etc/kubernetes/pki/apiserver.crt"), users),
            entry("kube-scheduler (in memory)", None, Vec::new()),
        ];
        let missing = vec!["/etc/elsewhere/ca.crt".into()];
        (Inventory { entries, unread, missing }, now)
    }

    /// Only what was looked at is called in order.
    #[test]
    fn what_was_not_seen_is_not_said_to_need_nothing() {
        let (mut found, _) = found();
        let long_before = found.entries[0].certificate.not_after - SignedDuration::from_hours(24 * 300);
        found.entries[0].users.retain(|user| !user.state.is_old());
        assert!(text(&found, long_before).contains("which is not all: the first to end"));
        found.unread.clear();
        found.entries[0].users.retain(|user| !matches!(user.state, State::Unseen(_)));
        assert!(text(&found, long_before).contains("\nnothing to do: the first to end"));
    }

    /// What a script reads never changes, but for new fields.
    #[test]
    fn the_json_of_certificates_is_golden() {
        let (found, now) = found();
        let written = serde_json::to_string_pretty(&view(&found, now)).unwrap();
        assert_eq!(written.trim(), include_str!("../../tests/golden/certs.json").trim(), "{written}");
    }

    #[test]
    fn the_screen_of_certificates_is_golden_and_fits() {
        let (found, now) = found();
        let shown = text(&found, now);
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
        assert_eq!(shown.trim(), include_str!("../../tests/golden/certs.txt").trim(), "{shown}");
    }
}
