//! What facts mean, without a machine. Broken nodes of the simulator are in `tests/doctor.rs`.

use super::facts::{
    ApiFacts, ComponentFacts, DaemonsetFacts, Facts, Files, Ground, GuardFacts, JournalFacts, Leader,
    ListenerFacts, Origin, Serving,
};
use super::finding::{Area, Finding, Health};
use super::judge::judge;
use crate::certificates::{Certificate, Entry, Inventory, Program, Reload, State, Usage, User};
use crate::component::Component;
use crate::host::RedirectState;
use crate::upgrade::Outrun;
use fulcrum_engine::state::RunId;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use std::time::Duration;

/// A self-hosted node on which all is well.
fn well() -> Facts {
    let component = |component: Component| ComponentFacts {
        path: format!("/m/{}", component.manifest_file()).into(),
        manifest: false,
        is_standby: false,
        standby: None,
        standby_since: None,
        port: component.default_port(),
        listeners: Ok(vec![ListenerFacts { origin: Origin::Api, who: format!("{component} (pid 1)") }]),
        serving: Serving::By(Origin::Api),
    };
    let daemonset = DaemonsetFacts { made_by: Some("r".into()), desired: 1, ready: 1 };
    let leader = Leader { holder: "cp1".into(), age: Some(Duration::from_secs(1)) };
    Facts {
        now: Timestamp::UNIX_EPOCH,
        journal: JournalFacts::Whole { runs: 1 },
        writer: None,
        ground: Some(Ground::SelfHosted(RunId::new())),
        unfinished: Vec::new(),
        components: Component::ALL.into_iter().map(|one| (one, component(one))).collect(),
        prefers_one: None,
        shares_port: Some(true),
        api: Ok(ApiFacts {
            daemonsets: Component::ALL.into_iter().map(|one| (one, daemonset.clone())).collect(),
            lock: None,
            leaders: [Component::ControllerManager, Component::Scheduler]
                .map(|one| (one, leader.clone()))
                .into(),
        }),
        guard: Ok(GuardFacts { installed: true, enabled: true, active: true, says: String::new() }),
        certificates: Inventory { entries: vec![ends_in(365)], ..Inventory::default() },
        etcd: Some(Ok(200)),
        outrun: None,
        files: Files { bridge: None, half_written: Vec::new(), spares: Some(true) },
        redirect: Ok(RedirectState::Absent),
    }
}

fn ends_in(days: i64) -> Entry {
    let pem = include_bytes!("../../tests/fixtures/until-2033.crt");
    let mut certificate = Certificate::of_pem(pem).unwrap();
    certificate.not_after = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * days);
    Entry {
        name: "apiserver".to_owned(),
        path: Some("/pki/apiserver.crt".into()),
        certificate,
        users: Vec::new(),
        renewal: "kubeadm certs renew apiserver".to_owned(),
    }
}

/// What is not good, of these facts.
fn ill(facts: &Facts) -> Vec<Finding> {
    judge(facts).into_iter().filter(|finding| finding.health != Health::Good).collect()
}

#[test]
fn a_healthy_node_has_a_good_finding_in_every_area() {
    let findings = judge(&well());
    assert!(findings.iter().all(|finding| finding.health == Health::Good), "{findings:?}");
    let areas: Vec<Area> = findings.iter().map(|finding| finding.area).collect();
    assert!(areas.is_sorted(), "{areas:?}");
    let distinct: BTreeSet<Area> = areas.into_iter().collect();
    assert_eq!(distinct.len(), 14);
}

/// What is wrong, where it is found, how bad it is, a part of the remedy, and what makes the facts so.
type Case = (&'static str, Area, Health, &'static str, fn(&mut Facts));

#[test]
fn each_fact_alone_is_found_and_has_a_remedy() {
    let cases: [Case; 13] = [
        (
            "a certificate that ends soon",
            Area::Certificates,
            Health::Warning,
            "kubeadm certs renew",
            |facts| {
                facts.certificates.entries.push(ends_in(12));
            },
        ),
        ("a certificate that has ended", Area::Certificates, Health::Bad, "kubeadm certs renew", |facts| {
            facts.certificates.entries.push(ends_in(-1));
        }),
        ("two servers without a rule", Area::Preference, Health::Bad, "restart fulcrum-guard", |facts| {
            facts.prefers_one = Some(false);
        }),
        ("an exclusive port", Area::Preference, Health::Bad, "--permit-port-sharing", |facts| {
            facts.shares_port = Some(false);
        }),
        ("a finalized upgrade", Area::Manifests, Health::Warning, "stay self-hosted", |facts| {
            facts.outrun = Some(Outrun::Here(RunId::new()));
        }),
        ("no unit", Area::Guard, Health::Bad, "fulcrum guard install", |facts| {
            facts.guard = Ok(GuardFacts::default());
        }),
        ("a unit that no boot starts", Area::Guard, Health::Bad, "enable --now", |facts| {
            facts.guard.as_mut().unwrap().enabled = false;
        }),
        ("a guard that is dead", Area::Guard, Health::Bad, "systemctl start", |facts| {
            facts.guard.as_mut().unwrap().active = false;
        }),
        ("a guard that complains", Area::Guard, Health::Warning, "journalctl", |facts| {
            facts.guard.as_mut().unwrap().says = "no room".into();
        }),
        ("etcd without its quorum", Area::Etcd, Health::Bad, "etcdctl", |facts| facts.etcd = Some(Ok(503))),
        ("a foreign process", Area::Serving, Health::Bad, "end that process", |facts| {
            facts.components.get_mut(&Component::Scheduler).unwrap().serving = Serving::By(Origin::Other);
        }),
        ("a redirect that has ended", Area::Leftovers, Health::Warning, "nft delete table", |facts| {
            facts.redirect = Ok(RedirectState::Ended);
        }),
        ("a long journal", Area::Journal, Health::Unknown, "history --verify", |facts| {
            facts.journal = JournalFacts::NotAllRead;
        }),
    ];
    for (what, area, health, remedy, change) in cases {
        let mut facts = well();
        change(&mut facts);
        let found = ill(&facts);
        assert_eq!(found.len(), 1, "{what}: {found:?}");
        assert_eq!((found[0].area, found[0].health), (area, health), "{what}: {found:?}");
        assert!(found[0].remedy.contains(remedy), "{what}: {found:?}");
    }
}

#[test]
fn a_process_that_uses_an_older_certificate_is_found() {
    let mut facts = well();
    facts.certificates.entries[0].users.push(User {
        program: Program::Component(Component::ControllerManager),
        pid: 7,
        usage: Usage::Client,
        reload: Reload::Never,
        state: State::HoldsOlder { started: facts.now, changed: facts.now },
        remedy: "kubectl rollout restart".to_owned(),
        restart: String::new(),
    });
    let found = ill(&facts);
    let [found] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((found.area, found.health), (Area::Certificates, Health::Warning));
    assert_eq!(found.remedy, "kubectl rollout restart");
}

/// What cannot be seen is said, and is neither good nor bad.
#[test]
fn an_api_that_is_down_hides_only_what_it_alone_knows() {
    let mut facts = well();
    facts.api = Err("connection refused".into());
    let unknown = ill(&facts).into_iter().filter(|one| one.health == Health::Unknown).map(|one| one.area);
    assert_eq!(unknown.collect::<Vec<_>>(), [Area::Daemonsets, Area::Leaders, Area::Lock]);
}
