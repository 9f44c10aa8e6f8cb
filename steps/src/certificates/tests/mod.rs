//! What files and processes mean together, by values.

use super::judge::{Clock, Inventory, State, judge};
use super::read::{self, Certificate, Leads, OnDisk};
use super::reload::Reload;
use super::renewable::{Renewable, UnknownName, renewable_at};
use super::renewal::Renewal;
use super::seen::{Running, Seen};
use super::used::{Program, Usage};
use crate::component::Component;
use crate::host::Process;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::fs;
use std::path::Path;

const PEM: &str = include_str!("../../../tests/fixtures/until-2033.crt");
const OTHER: &str = include_str!("../../../tests/fixtures/server.crt");
const ROOT: &str = "/etc/kubernetes";

fn of(pem: &str) -> Certificate {
    Certificate::of_pem(pem.as_bytes()).unwrap()
}

fn now() -> Timestamp {
    "2027-01-01T00:00:00Z".parse().unwrap()
}

fn clock() -> Clock {
    Clock { now: now(), minute: std::time::Duration::from_secs(60) }
}

fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

fn on_disk(pem: &str, changed: Timestamp, inline: bool) -> OnDisk {
    OnDisk { certificate: of(pem), changed, inline }
}

/// A process in a DaemonSet's pod, started a day ago, which presents `pem`.
fn running(words: &str, pem: &str) -> Running {
    let command: Vec<String> = words.split(' ').map(str::to_owned).collect();
    let program = Program::of(&command).unwrap();
    let uses = program.uses(&command);
    let pod_uid = Some("6a1c1f9e-5a0c-4f5e-8f6f-0d6f5b1f3c2d".to_owned());
    let process = Process { pid: 7, command, pod_uid, memory: 0 };
    let started = Ok(ago(86400));
    Running { program, process, started, uses, presents: Ok(of(pem)), loopback: None }
}

/// What is found where this file was changed so long ago, and this process runs.
fn found(path: &str, file: OnDisk, process: Running) -> Inventory {
    let mut seen = Seen::default();
    seen.files.insert(path.into(), Ok(file));
    seen.processes.push(process);
    judge(&seen, Path::new(ROOT), clock())
}

const SERVING: &str = "/etc/kubernetes/pki/apiserver.crt";
const SERVER: &str = "kube-apiserver --tls-cert-file=/etc/kubernetes/pki/apiserver.crt";

#[test]
fn what_a_server_presents_is_compared_with_its_file() {
    let state = |file: OnDisk, shown: &str| {
        let found = found(SERVING, file, running(SERVER, shown));
        assert_eq!(found.entries.len(), 1, "{found:?}");
        assert_eq!(found.entries[0].name, "apiserver");
        (found.entries[0].users[0].state.clone(), found.needs_action(now()))
    };
    assert_eq!(state(on_disk(PEM, ago(10), false), PEM), (State::Presented, false));
    assert_eq!(state(on_disk(PEM, ago(10), false), OTHER), (State::Due, false), "it looks each minute");
    let ends = of(OTHER).not_after;
    assert_eq!(state(on_disk(PEM, ago(600), false), OTHER), (State::PresentsOther(ends), true));
    let mut mute = running(SERVER, PEM);
    mute.presents = Err("refused".to_owned());
    let unseen = found(SERVING, on_disk(PEM, ago(600), false), mute);
    assert_eq!(unseen.entries[0].users[0].state, State::Unseen("refused".to_owned()));
}

/// What was not looked at is not in order.
#[test]
fn an_inventory_is_complete_if_all_of_it_was_seen() {
    let seen = |process: Running| found(SERVING, on_disk(PEM, ago(600), false), process);
    assert!(seen(running(SERVER, PEM)).is_complete());
    let mut mute = running(SERVER, PEM);
    mute.presents = Err("refused".to_owned());
    assert!(!seen(mute).is_complete(), "a process that does not answer");
    let unread = Inventory { unread: vec!["denied".to_owned()], ..seen(running(SERVER, PEM)) };
    assert!(!unread.is_complete());
    let mut files_alone = Seen::default();
    files_alone.files.insert(SERVING.into(), Ok(on_disk(PEM, ago(600), false)));
    assert!(!judge(&files_alone, Path::new(ROOT), clock()).is_complete(), "no process was found");
}

/// kubeadm's kubeconfigs of the controller manager and the scheduler have their certificates in themselves.
#[test]
fn a_process_that_never_reads_again_is_told_by_its_start() {
    let path = "/etc/kubernetes/controller-manager.conf";
    let words = format!("kube-controller-manager --kubeconfig={path} --authentication-kubeconfig={path}");
    let manager = |changed, inline| {
        let found = found(path, on_disk(PEM, changed, inline), running(&words, OTHER));
        assert_eq!(found.entries.len(), 2, "the file, and what it presents: {found:?}");
        assert_eq!(found.entries[1].name, "kube-controller-manager (in memory)");
        let [user] = &found.entries[0].users[..] else { panic!("one purpose: {found:?}") };
        user.clone()
    };
    let old = manager(ago(60), true);
    let holds = State::HoldsOlder { started: ago(86400), changed: ago(60) };
    assert_eq!((old.reload, old.state), (Reload::Never, holds));
    assert_eq!(old.remedy, "kubectl -n kube-system rollout restart ds/self-hosted-kube-controller-manager");
    assert_eq!(manager(ago(90_000), true).state, State::Current, "it was started after that");
    assert_eq!(manager(ago(60), false).state, State::Due, "files are read each five minutes");
    assert_eq!(manager(ago(600), false).state, State::Current);
}

/// kubeadm's kubelet has its serving certificate in a file that no flag names, and keeps it over a restart.
#[test]
fn the_kubelets_own_certificate_goes_with_its_files() {
    let found = found("/k", on_disk(PEM, ago(60), true), running("kubelet --kubeconfig=/k", OTHER));
    assert_eq!(found.entries[1].name, "kubelet (serving)", "{found:?}");
    assert!(found.entries[1].renewal.starts_with("remove kubelet.crt"), "{found:?}");
}

#[test]
fn each_program_names_its_files_in_its_own_way() {
    let uses = |words: &str| {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let program = Program::of(&words).unwrap();
        let uses = program.uses(&words).into_iter();
        (program, uses.map(|used| (used.usage, used.path.display().to_string())).collect::<Vec<_>>())
    };
    let (etcd, files) = uses("etcd --cert-file=/a --peer-cert-file /b --trusted-ca-file=/c --data-dir=/d");
    assert_eq!(etcd, Program::Etcd);
    let expected = [(Usage::Serves, "/a"), (Usage::Peer, "/b"), (Usage::Trusts, "/c")];
    assert_eq!(files, expected.map(|(usage, path)| (usage, path.to_owned())));
    let (kubelet, files) = uses("/usr/bin/kubelet --kubeconfig=/k --config=/c");
    assert_eq!((kubelet, files), (Program::Kubelet, vec![(Usage::Client, "/k".to_owned())]));
    let (server, files) = uses("kube-apiserver --etcd_certfile=/e --kubelet-client-certificate=/f");
    assert_eq!(server, Program::Component(Component::ApiServer));
    assert_eq!(files.len(), 2, "{files:?}");
    assert_eq!(Program::of(&["nginx".to_owned()]), None);
}

/// As in the kubelet's `kubelet-client-current.pem`.
#[test]
fn a_certificate_is_found_before_and_after_its_key() {
    let key = include_str!("../../../tests/fixtures/server.key");
    for text in [format!("{OTHER}{key}"), format!("{key}{OTHER}"), format!("a comment\n{OTHER}{key}{PEM}")] {
        assert!(of(&text).is(&of(OTHER)), "{text}");
    }
    for text in ["", "\n", key, "-----BEGIN CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\nAAAA\n"] {
        Certificate::of_pem(text.as_bytes()).unwrap_err();
    }
}

#[test]
fn certificates_are_read_from_files_and_kubeconfigs() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("a.crt"), PEM).unwrap();
    fs::write(path("broken.crt"), "no certificate").unwrap();
    let config = |user: serde_json::Value| json!({ "users": [{ "name": "a", "user": user }] }).to_string();
    let data = json!({ "client-certificate-data": BASE64_STANDARD.encode(PEM) });
    fs::write(path("inline.conf"), config(data)).unwrap();
    fs::write(path("link.conf"), config(json!({ "client-certificate": "pki/x.pem" }))).unwrap();
    fs::write(path("token.conf"), config(json!({ "token": "t" }))).unwrap();
    fs::write(path("secret.conf"), "client-key-data: [SECRET").unwrap();
    let read = read::pem_file(&path("a.crt")).unwrap();
    assert!(read.certificate.not_after.to_string().starts_with("2033-"));
    assert_eq!(read.certificate.issuer, "kube-apiserver");
    assert!(read::pem_file(&path("broken.crt")).unwrap_err().contains("broken.crt"));
    let Leads::Inline(inline) = read::kubeconfig(&path("inline.conf")).unwrap() else { panic!("it has one") };
    assert!(inline.certificate.is(&read.certificate));
    assert_eq!(read::kubeconfig(&path("link.conf")), Ok(Leads::To(path("pki/x.pem"))));
    assert_eq!(read::kubeconfig(&path("token.conf")), Ok(Leads::Nowhere));
    let error = read::kubeconfig(&path("secret.conf")).unwrap_err();
    assert!(!error.contains("SECRET"), "{error}");
}

/// Each reason why nothing can be renewed, before anything is changed.
#[test]
fn what_cannot_be_renewed_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fs::create_dir_all(root.join("pki/etcd")).unwrap();
    let refused = |names: &[Renewable], now: Timestamp| {
        Renewal::of(names, &Inventory::default(), root, now).unwrap_err().to_string()
    };
    let names = [Renewable::Apiserver];
    assert!(refused(&[], now()).contains("no certificate of kubeadm's is below"));
    assert!(refused(&names, now()).contains("pki/apiserver.crt is not on this node"));
    fs::write(root.join("pki/apiserver.crt"), PEM).unwrap();
    let external = refused(&names, now());
    assert!(external.contains("pki/ca.key is not on this node: apiserver is signed by a CA"), "{external}");
    fs::write(root.join("pki/ca.key"), "").unwrap();
    fs::write(root.join("pki/ca.crt"), PEM).unwrap();
    let ends = of(PEM).not_after;
    let ended = refused(&names, ends - SignedDuration::from_hours(24 * 29));
    assert!(ended.contains("the CA ca ends at 2033"), "{ended}");
    fs::write(root.join("pki/apiserver.key"), "").unwrap();
    let broken = refused(&names, now());
    assert!(broken.contains("pki/apiserver.crt: the key is not whole"), "{broken}");
    // A kubeconfig that names a file has no certificate that kubeadm could renew.
    let conf = "users: [{name: u, user: {client-certificate: /var/lib/x.pem}}]\n";
    fs::write(root.join("scheduler.conf"), conf).unwrap();
    assert!(refused(&[Renewable::SchedulerConf], now()).contains("has no certificate in it"));
}

/// kubeadm's names are in the journal, and on the command line.
#[test]
fn a_certificate_is_stored_by_the_name_that_kubeadm_has_for_it() {
    for name in Renewable::all() {
        assert_eq!(serde_json::to_value(name).unwrap(), json!(name.name()));
        assert_eq!(name.name().parse(), Ok(name));
        assert!(renewable_at(&name.certificate_file(Path::new(ROOT)), Path::new(ROOT)) == Some(name));
    }
    assert_eq!("ca".parse::<Renewable>(), Err(UnknownName));
}
