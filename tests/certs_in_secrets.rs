//! `pivot --store-certs-in-secrets`: there and back, broken, cut, rotated; and no key anywhere but in Secrets and in
//! files for root.

use crate::secrets::run_with_its_log;
use crate::support::{SOON, TestSite, outcome, reason, setup};
use fulcrum_engine::load::load;
use fulcrum_engine::state::RunId;
use fulcrum_engine::{Ending, Outcome};
use fulcrum_simulator::rehearsal::{
    Case, Change, FOR_ROOT, Fault, FaultRehearsal, Keys, Point, Story, Then, Verb, When, cases, intervals,
};
use fulcrum_steps::certificates::{Pace, Renewable, Renewal, inventory};
use fulcrum_steps::check::Check;
use fulcrum_steps::cluster::ROLE_LABEL;
use fulcrum_steps::component::Component;
use fulcrum_steps::guard::Guard;
use fulcrum_steps::manifest::InSecrets;
use fulcrum_steps::plan;
use fulcrum_steps::preflight::Level;
use fulcrum_steps::run_info::RunInfo;
use fulcrum_steps::settings::{HandoverMode, Settings, Wanted};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Event, Node, Secret};
use kube::Api;
use kube::api::{ListParams, PostParams};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const NAMES: [&str; 10] = [
    "apiserver",
    "apiserver-etcd-client",
    "apiserver-kubelet-client",
    "ca",
    "controller-manager.conf",
    "etcd-ca",
    "front-proxy-ca",
    "front-proxy-client",
    "sa",
    "scheduler.conf",
];

fn of_secrets() -> fulcrum_simulator::rehearsal::Setup {
    setup().with_handover(Wanted::Way(HandoverMode::Steer)).with_certs_in_secrets()
}

async fn pivoted() -> (TestSite, RunId) {
    let world = TestSite::boot_with(&of_secrets()).await;
    let ending = world.pivot(&world.journal()).await;
    assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
    (world, ending.run)
}

fn secrets(world: &TestSite) -> Api<Secret> {
    Api::namespaced(world.simulator.client(), "kube-system")
}

async fn names(world: &TestSite) -> Vec<String> {
    let all = secrets(world).list(&ListParams::default()).await.unwrap().items;
    all.into_iter().filter_map(|secret| secret.metadata.name).collect()
}

fn of(world: &TestSite, run: RunId) -> InSecrets {
    let settings = RunInfo::of(load(&world.journal().reader(), run).unwrap().plan()).unwrap().settings;
    settings.in_secrets.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn there_and_back_leaves_no_secret() {
    for handover in [HandoverMode::Steer, HandoverMode::Restart] {
        let world = TestSite::boot_with(&of_secrets().with_handover(Wanted::Way(handover))).await;
        let ending = world.pivot(&world.journal()).await;
        assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
        world.assert_pivoted("with certificates in Secrets").await;
        assert_eq!(names(&world).await, NAMES);
        for component in Component::ALL {
            let live = world.cluster.daemonset(component.daemonset_name()).await.unwrap().unwrap();
            let root = world.manifests().path().parent().unwrap().display().to_string();
            let volumes = live["spec"]["template"]["spec"]["volumes"].to_string();
            assert!(!volumes.contains(&root) && volumes.contains("projected"), "{volumes}");
        }
        let of = of(&world, ending.run);
        let back = world.rollback(&world.journal(), ending.run).await;
        assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
        world.assert_static("after certificates in Secrets").await;
        assert_eq!(names(&world).await, Vec::<String>::new());
        assert!(!of.mirror.exists());
    }
}

/// At each of its points, in each way, and on both ways; and around the pods that mount the Secrets.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_with_secrets_broken_anywhere_is_brought_to_its_end() {
    let world = TestSite::boot_with(&of_secrets()).await;
    let settings = world.preflight().await.unwrap().settings;
    let all = cases(&plan::pivot(&settings, SOON).unwrap(), "everywhere", 1).unwrap();
    let own = |case: &Case| case.point.step.as_str() == "create-secrets";
    let around =
        |case: &Case| ["label-node", "create-daemonset/kube-apiserver"].contains(&case.point.step.as_str());
    let mine: Vec<Case> = all.iter().filter(|case| own(case)).cloned().collect();
    assert_eq!(mine.len(), 30);
    // Every second one: each instant, each fault, both ways on.
    let some: Vec<Case> = mine.into_iter().step_by(2).collect();
    let others = all.iter().filter(|case| !own(case));
    let others = others.enumerate().filter(|(at, case)| around(case) && at % 8 == 0 || at % 122 == 0);
    let some = some.into_iter().chain(others.map(|(_, case)| case.clone())).collect();
    let dir = tempfile::tempdir().unwrap();
    let program = PathBuf::from(env!("CARGO_BIN_EXE_fulcrum"));
    let rehearsal = FaultRehearsal {
        setup: of_secrets(),
        story: Story::Pivot,
        program,
        root: dir.path().to_owned(),
        steps: None,
    };
    let tried: Vec<_> = rehearsal.try_all(some, 5).collect().await;
    for broken in tried {
        assert!(broken.verdict.is_pass(), "{}: {:?}", broken.case, broken.verdict);
    }
}

/// A static pod cannot mount a Secret: after a power cut the standby reads the mirror.
#[tokio::test(flavor = "multi_thread")]
async fn a_reboot_is_survived_with_the_mirror() {
    let (world, run) = pivoted().await;
    let of = of(&world, run);
    let standby = world.state_dir().join("standby").join(run.to_string());
    world.reboot().await.unwrap();
    world.assert_pivoted("after a power cut").await;
    let kept = fs::read_to_string(standby.join("kube-apiserver.yaml")).unwrap();
    assert!(kept.contains(of.mirror.join("pki").to_str().unwrap()), "{kept}");
    assert_eq!(names(&world).await, NAMES);
    let back = world.rollback(&world.journal(), run).await;
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    world.assert_static("after a power cut").await;
}

/// What is rotated in a Secret gets into the mirror. What no process could start with does not, and is told.
#[tokio::test(flavor = "multi_thread")]
async fn the_guard_mirrors_what_is_rotated_and_nothing_broken() {
    let (world, run) = pivoted().await;
    let of = of(&world, run);
    let before = fs::read(of.mirror.join("pki/apiserver.crt")).unwrap();
    world.host.renew_certificate("apiserver", &of.root).await.unwrap();
    let mut live = secrets(&world).get("apiserver").await.unwrap();
    let read = |path: &str| ByteString(fs::read(of.root.join(path)).unwrap());
    // The new certificate, and still the former key.
    live.data.as_mut().unwrap().insert("tls.crt".to_owned(), read("pki/apiserver.crt"));
    secrets(&world).replace("apiserver", &PostParams::default(), &live).await.unwrap();
    let pace = intervals(Duration::from_secs(5));
    let guard =
        Guard { env: &*world, intervals: pace, stop: CancellationToken::new(), roll_certificates: false };
    let events: Api<Event> = Api::namespaced(world.simulator.client(), "default");
    let story = async {
        loop {
            let all = events.list(&ListParams::default()).await.unwrap().items;
            let told = all.into_iter().find(|one| one.reason.as_deref() == Some("SecretNotMirrored"));
            if let Some(words) = told.and_then(|event| event.message) {
                assert!(
                    words.contains("Secret kube-system/apiserver: the certificate and the key"),
                    "{words}"
                );
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(fs::read(of.mirror.join("pki/apiserver.crt")).unwrap(), before);
        let mut live = secrets(&world).get("apiserver").await.unwrap();
        live.data.as_mut().unwrap().insert("tls.key".to_owned(), read("pki/apiserver.key"));
        secrets(&world).replace("apiserver", &PostParams::default(), &live).await.unwrap();
        for path in ["pki/apiserver.crt", "pki/apiserver.key"] {
            while fs::read(of.mirror.join(path)).unwrap() != read(path).0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    tokio::select! {
        ended = guard.run(|| {}) => panic!("the guard has ended: {ended:?}"),
        done = tokio::time::timeout(SOON, story) => done.unwrap(),
    }
    world.assert_pivoted("after a rotation").await;
    let back = world.rollback(&world.journal(), run).await;
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    world.assert_static("after a rotation").await;
    assert!(!of.mirror.exists(), "the files have what the Secrets had");
}

/// The Secrets and the mirror have what the files have.
async fn assert_as_files(world: &TestSite, of: &InSecrets, context: &str) {
    for file in of.files() {
        let wanted = fs::read(of.root.join(file.path)).unwrap();
        let live = secrets(world).get(file.secret).await.unwrap();
        assert!(live.data.unwrap()[file.key].0 == wanted, "{context}: Secret {} {}", file.secret, file.key);
        assert!(
            fs::read(of.mirror.join(file.path)).unwrap() == wanted,
            "{context}: the mirror's {}",
            file.path
        );
    }
}

async fn renewal(world: &TestSite, of: &InSecrets, names: &[Renewable]) -> plan::RenewCerts {
    let ports = Component::ALL.map(|one| (one, one.default_port())).into();
    let pace = Pace::patient(Duration::from_millis(20));
    let found = inventory(&*world.host, &ports, &of.root, pace).await;
    plan::RenewCerts::of(&Renewal::of(names, &found, &of.root, Timestamp::now()).unwrap(), SOON)
}

async fn renew(world: &TestSite, pivot: RunId, names: &[Renewable]) -> Ending {
    let wanted = renewal(world, &of(world, pivot), names).await;
    let journal = world.journal();
    let settings = RunInfo::of(load(&journal.reader(), pivot).unwrap().plan()).unwrap().settings;
    let settings = Settings { of_pivot: Some(pivot), ..settings };
    let plan = plan::renew_certs(&settings, pivot, wanted).unwrap();
    world.engine(&journal, settings).await.start(plan).await.unwrap()
}

/// `certs renew` on such a node: files, Secrets and mirror; killed where the Secrets change; and the way back.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_reaches_the_secrets_and_goes_back() {
    let (world, pivot) = pivoted().await;
    let of = of(&world, pivot);
    let names = [Renewable::Apiserver, Renewable::SchedulerConf];
    for when in [None, Some(When::Started), Some(When::Effect), Some(When::Done)] {
        let former = fs::read(of.root.join("pki/apiserver.crt")).unwrap();
        let ending = match when {
            None => renew(&world, pivot, &names).await,
            Some(when) => {
                let point = Point { step: "update-secrets".into(), when };
                let change = Change::RenewCerts(renewal(&world, &of, &names).await);
                let fulcrum = Path::new(env!("CARGO_BIN_EXE_fulcrum"));
                let place = (&point, Fault::Kill, Then::Resume);
                world.inject_fault_in_change(fulcrum, change, place).await.unwrap();
                let journal = world.journal();
                let run = journal.reader().runs().unwrap().last().unwrap().run;
                world.resume(&journal, run).await
            }
        };
        assert_eq!(outcome(&ending), Outcome::Completed, "{when:?}: {}", reason(&ending));
        assert_ne!(fs::read(of.root.join("pki/apiserver.crt")).unwrap(), former);
        assert_as_files(&world, &of, &format!("{when:?}")).await;
        if when.is_none() {
            let back = world.rollback(&world.journal(), ending.run).await;
            assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
            assert_eq!(fs::read(of.root.join("pki/apiserver.crt")).unwrap(), former);
            assert_as_files(&world, &of, "the way back").await;
        }
        world.assert_pivoted(&format!("{when:?}")).await;
    }
    // What is in a Secret only is not overwritten.
    let mut live = secrets(&world).get("apiserver").await.unwrap();
    let theirs = ByteString(b"theirs".to_vec());
    live.data.as_mut().unwrap().insert("tls.crt".to_owned(), theirs.clone());
    secrets(&world).replace("apiserver", &PostParams::default(), &live).await.unwrap();
    let ending = renew(&world, pivot, &names).await;
    assert_eq!(outcome(&ending), Outcome::RolledBack, "{}", reason(&ending));
    assert!(reason(&ending).contains("Secret apiserver has something else"), "{}", reason(&ending));
    assert!(secrets(&world).get("apiserver").await.unwrap().data.unwrap()["tls.crt"] == theirs);
    let back = world.rollback(&world.journal(), pivot).await;
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    world.assert_static("after renewals").await;
}

/// A certificate that is in its Secret only is not lost with it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_a_secret_only_stays_in_the_mirror() {
    let (world, run) = pivoted().await;
    let of = of(&world, run);
    let former = fs::read(of.root.join("scheduler.conf")).unwrap();
    world.host.renew_certificate("scheduler.conf", &of.root).await.unwrap();
    let renewed = fs::read(of.root.join("scheduler.conf")).unwrap();
    let mut live = secrets(&world).get("scheduler.conf").await.unwrap();
    live.data.as_mut().unwrap().insert("scheduler.conf".to_owned(), ByteString(renewed.clone()));
    secrets(&world).replace("scheduler.conf", &PostParams::default(), &live).await.unwrap();
    fs::write(of.root.join("scheduler.conf"), former).unwrap();
    let back = world.rollback(&world.journal(), run).await;
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    world.assert_static("with a Secret that is newer than its file").await;
    assert_eq!(fs::read(of.mirror.join("scheduler.conf")).unwrap(), renewed);
}

/// The journal has names and digests. Keys are in kubeadm's files, in the mirror, and nowhere else.
#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_anywhere_but_in_secrets_and_in_files_for_root() {
    let world = TestSite::boot_with(&of_secrets()).await;
    let root = world.manifests().path().parent().unwrap().to_owned();
    let keys = Keys::of(&root).unwrap();
    let mut said = String::new();
    for verb in [Verb::Pivot, Verb::Rollback] {
        said += &run_with_its_log(&world, verb).await;
        let state_dir = world.state_dir();
        for (path, mode) in keys.found_in(&state_dir).unwrap() {
            assert!(
                path.starts_with(state_dir.join("certificates")) && mode == FOR_ROOT,
                "{}",
                path.display()
            );
            assert_eq!(verb, Verb::Pivot, "{}", path.display());
        }
        let fulcrum = |arguments: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_fulcrum"));
            command.env_clear().args(["-vvv", "--state-dir"]).arg(&state_dir).args(arguments);
            let output = command.stdin(Stdio::null()).output().unwrap();
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
        };
        let export = state_dir.parent().unwrap().join(format!("export-{verb:?}"));
        said += &fulcrum(&["history", "export", export.to_str().unwrap()]);
        assert_eq!(keys.found_in(&export).unwrap(), [], "the export");
        let mut grep = Command::new("grep");
        let found = grep.args(["-rqF", "Secret/kube-system/ca"]).arg(&export).status().unwrap();
        assert!(found.success(), "it says what was made");
        said += &fulcrum(&["history", "last", "--long"]);
        said += &fulcrum(&["history", "last", "--diff", "-o", "json"]);
        said += &fulcrum(&["history", "-o", "jsonl"]);
    }
    for text in ["create-secrets", "delete Secret kube-system/sa"] {
        assert!(said.contains(text), "{text} is not in what was said");
    }
    assert!(!keys.are_in(&said), "a key is in what was said");
    assert_eq!(world.mend(Then::Rollback).await.unwrap(), Outcome::RolledBack);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_is_refused_by_name() {
    let world = TestSite::boot_with(&of_secrets()).await;
    let root = world.manifests().path().parent().unwrap().to_owned();
    let warned = world.preflight().await.unwrap().results;
    let plain = warned.iter().find(|one| one.check == Check::Certificates && one.level == Level::Warn);
    assert!(plain.unwrap().seen.contains("--encryption-provider-config"));

    let mut theirs = Secret::default();
    theirs.metadata.name = Some("sa".to_owned());
    secrets(&world).create(&PostParams::default(), &theirs).await.unwrap();
    fs::copy(root.join("pki/etcd/peer.key"), root.join("pki/apiserver.key")).unwrap();
    fs::remove_file(root.join("pki/front-proxy-ca.crt")).unwrap();
    let refused = world.preflight().await.unwrap_err().to_string();
    for text in ["Secret kube-system/sa is there", "pki/front-proxy-ca.crt: No such file"] {
        assert!(refused.contains(text), "{refused}");
    }
    fs::copy(root.join("pki/ca.crt"), root.join("pki/front-proxy-ca.crt")).unwrap();
    let refused = world.preflight().await.unwrap_err().to_string();
    let text =
        format!("Secret apiserver, below {}: the certificate and the key do not belong", root.display());
    assert!(refused.contains(&text), "{refused}");
    assert_eq!(names(&world).await, ["sa"], "a check changes nothing");

    let mut other = Node::default();
    other.metadata.name = Some("node-2".to_owned());
    other.metadata.labels = Some([(ROLE_LABEL.to_owned(), String::new())].into());
    let nodes: Api<Node> = Api::all(world.simulator.client());
    nodes.create(&PostParams::default(), &other).await.unwrap();
    let refused = world.preflight().await.unwrap_err().to_string();
    assert!(refused.contains("is for one control-plane node, and there are others: node-2."), "{refused}");
}
