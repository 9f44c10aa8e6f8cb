//! What the files and the processes mean together. Pure.

use super::ENDS_SOON;
use super::read::{Certificate, OnDisk};
use super::reload::Reload;
use super::renewable::{Authority, Renewable, authority_at, renewable_at};
use super::seen::{Running, Seen};
use super::used::{Program, Usage};
use crate::host::Process;
use crate::site::in_api_pod;
use jiff::{SignedDuration, Timestamp};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Every certificate that was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// The certificates: those in files in the order of their paths, then those in memory only.
    pub entries: Vec<Entry>,
    /// What could not be read, and why.
    pub unread: Vec<String>,
    /// Files that flags name and that are not there. A container may see them under another path.
    pub missing: Vec<PathBuf>,
}

/// A certificate and the processes that use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name by which kubeadm renews it, or else its file. What is in memory only has its process's name.
    pub name: String,
    /// Its file. `None` if it is in memory only.
    pub path: Option<PathBuf>,
    /// The certificate.
    pub certificate: Certificate,
    /// The processes that use it. Empty if none was seen to.
    pub users: Vec<User>,
    /// How it is renewed.
    pub renewal: String,
}

/// A process that uses a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The program.
    pub program: Program,
    /// Its process.
    pub pid: u32,
    /// What it does with the certificate.
    pub usage: Usage,
    /// When it reads a changed file.
    pub reload: Reload,
    /// What it has of the certificate at present.
    pub state: State,
    /// The command that makes it read the file, if one is needed. Else empty.
    pub remedy: String,
    /// The command that makes a process read its files that reads them at its start only.
    pub restart: String,
}

/// What a process has of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It has presented that very certificate.
    Presented,
    /// It was started after the file was changed, or reads the file by itself and had the time to.
    Current,
    /// The file was changed a moment ago. The process will have read it soon.
    Due,
    /// It presents another certificate, which ends then.
    PresentsOther(Timestamp),
    /// It was started before the file was changed, and never reads again.
    HoldsOlder {
        /// When the process was started.
        started: Timestamp,
        /// When the file was changed.
        changed: Timestamp,
    },
    /// It cannot be seen.
    Unseen(String),
}

/// When the inventory was made, and how long a minute is for the processes that look at their files each minute.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    pub(super) now: Timestamp,
    pub(super) minute: Duration,
}

impl Clock {
    /// Start times are known to some 10 ms after the boot, and the time of the boot to a second: 2 s.
    fn slack(self) -> SignedDuration {
        SignedDuration::try_from(self.minute / 30).unwrap_or_default()
    }

    fn is_due(self, reload: Reload, on_disk: &OnDisk) -> bool {
        let age = self.now.duration_since(on_disk.changed);
        reload.within(self.minute).is_some_and(|within| age.unsigned_abs() < within)
    }
}

impl State {
    /// Whether the process uses another certificate than the file has, and will go on to.
    pub fn is_old(&self) -> bool {
        matches!(self, Self::PresentsOther(_) | Self::HoldsOlder { .. })
    }
}

impl Entry {
    /// How long it is valid from `now` on.
    pub fn left(&self, now: Timestamp) -> SignedDuration {
        self.certificate.not_after.duration_since(now)
    }

    /// Whether it is to be renewed now.
    pub fn ends_soon(&self, now: Timestamp) -> bool {
        self.left(now) < ENDS_SOON
    }
}

impl Inventory {
    /// Whether a person has something to do: a certificate ends soon, or a process uses an old one.
    pub fn needs_action(&self, now: Timestamp) -> bool {
        let old = |entry: &Entry| entry.users.iter().any(|user| user.state.is_old());
        self.entries.iter().any(|entry| entry.ends_soon(now) || old(entry))
    }

    /// Whether all of it was seen: every file was read, processes were found, and each was judged.
    pub fn is_complete(&self) -> bool {
        let mut users = self.entries.iter().flat_map(|entry| &entry.users).peekable();
        self.unread.is_empty()
            && users.peek().is_some()
            && users.all(|user| !matches!(user.state, State::Unseen(_)))
    }

    /// The certificate that ends first.
    pub fn first_to_end(&self) -> Option<&Entry> {
        self.entries.iter().min_by_key(|entry| entry.certificate.not_after)
    }
}

/// Puts each certificate together with the processes that use it.
pub(super) fn judge(seen: &Seen, root: &Path, clock: Clock) -> Inventory {
    let mut inventory = Inventory { missing: seen.missing.iter().cloned().collect(), ..Inventory::default() };
    for (path, read) in &seen.files {
        let on_disk = match read {
            Ok(on_disk) => on_disk,
            Err(error) => {
                inventory.unread.push(error.clone());
                continue;
            }
        };
        let users = seen.processes.iter().flat_map(|one| {
            let usages = one.usages(path, &seen.links).into_iter();
            usages.map(|usage| user(one, usage, on_disk, root, clock))
        });
        let mut users: Vec<User> = users.collect();
        users.sort_by_key(|user| user.program);
        inventory.entries.push(Entry {
            name: name(path, root),
            path: Some(path.clone()),
            certificate: on_disk.certificate.clone(),
            users,
            renewal: renewal(path, root, &on_disk.certificate),
        });
    }
    inventory.entries.extend(seen.processes.iter().flat_map(|one| in_memory(one, root)));
    inventory
}

fn user(one: &Running, usage: Usage, on_disk: &OnDisk, root: &Path, clock: Clock) -> User {
    let reload = Reload::of(one.program, usage, on_disk.inline);
    let state = match usage {
        Usage::Serves => presented(one, reload, on_disk, clock),
        _ => held(one, reload, on_disk, clock),
    };
    let restart = restart(one.program, &one.process, root);
    let remedy = if state.is_old() { restart.clone() } else { String::new() };
    User { program: one.program, pid: one.process.pid, usage, reload, state, remedy, restart }
}

fn presented(one: &Running, reload: Reload, on_disk: &OnDisk, clock: Clock) -> State {
    match &one.presents {
        Ok(shown) if shown.is(&on_disk.certificate) => State::Presented,
        Ok(_) if clock.is_due(reload, on_disk) => State::Due,
        Ok(shown) => State::PresentsOther(shown.not_after),
        Err(why) => State::Unseen(why.clone()),
    }
}

fn held(one: &Running, reload: Reload, on_disk: &OnDisk, clock: Clock) -> State {
    let started = match &one.started {
        Ok(started) => *started,
        Err(why) => return State::Unseen(why.clone()),
    };
    let changed = on_disk.changed;
    match reload {
        _ if changed.duration_since(started) <= clock.slack() => State::Current,
        Reload::Never => State::HoldsOlder { started, changed },
        _ if clock.is_due(reload, on_disk) => State::Due,
        _ => State::Current,
    }
}

/// What a process presents without a file that a flag names.
fn in_memory(one: &Running, root: &Path) -> Vec<Entry> {
    let serves_a_file = one.uses.iter().any(|used| used.usage == Usage::Serves);
    let own = one.presents.as_ref().ok().filter(|_| !serves_a_file);
    let entry = |(usage, what, certificate): (Usage, &str, &Certificate)| Entry {
        name: format!("{} ({what})", one.program),
        path: None,
        certificate: certificate.clone(),
        users: vec![User {
            program: one.program,
            pid: one.process.pid,
            usage,
            reload: Reload::Never,
            state: State::Presented,
            remedy: String::new(),
            restart: restart(one.program, &one.process, root),
        }],
        renewal: renewal_in_memory(one, root),
    };
    // No flag names the kubelet's, but it is in a file.
    let what = if one.program == Program::Kubelet { "serving" } else { "in memory" };
    let own = own.map(|own| (Usage::Serves, what, own));
    let loopback = one.loopback.as_ref().map(|own| (Usage::Loopback, "loopback", own));
    own.into_iter().chain(loopback).map(entry).collect()
}

/// A restart makes another one, but the kubelet keeps its files, as long as they are there.
fn renewal_in_memory(one: &Running, root: &Path) -> String {
    match one.program {
        Program::Kubelet => {
            "remove kubelet.crt and kubelet.key in /var/lib/kubelet/pki, then systemctl restart \
                             kubelet; with serverTLSBootstrap: kubectl certificate approve"
                .to_owned()
        }
        _ => restart(one.program, &one.process, root),
    }
}

fn name(path: &Path, root: &Path) -> String {
    let known = renewable_at(path, root)
        .map(Renewable::name)
        .or_else(|| authority_at(path, root).map(Authority::name));
    known.map_or_else(|| path.display().to_string(), str::to_owned)
}

fn renewal(path: &Path, root: &Path, certificate: &Certificate) -> String {
    if let Some(name) = renewable_at(path, root) {
        return format!("kubeadm certs renew {name}");
    }
    if authority_at(path, root).is_some() || certificate.is_self_signed() {
        return "a CA is renewed by hand: see docs/certificates.md".to_owned();
    }
    if path.starts_with("/var/lib/kubelet") {
        return "the kubelet renews it: journalctl -u kubelet says why it has not".to_owned();
    }
    "renew it the way it was made".to_owned()
}

/// How a process is made to read its files again.
fn restart(program: Program, process: &Process, root: &Path) -> String {
    match program {
        Program::Component(component) if in_api_pod(process) => {
            format!("kubectl -n kube-system rollout restart ds/{}", component.daemonset_name())
        }
        Program::Component(_) | Program::Etcd => {
            format!("move {}/manifests/{program}.yaml elsewhere, and back after 20 s", root.display())
        }
        Program::Kubelet => "systemctl restart kubelet".to_owned(),
    }
}
