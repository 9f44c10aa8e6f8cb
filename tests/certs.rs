//! A renewal of certificates on a self-hosted node: kubeadm renews, every process gets the new ones, and the way back.

use crate::support::{SOON, TestSite, outcome, reason, setup};
use fulcrum_engine::load::load;
use fulcrum_engine::state::{Journal, RunId};
use fulcrum_engine::{Ending, Outcome};
use fulcrum_evidence::sha256_hex;
use fulcrum_simulator::Ability;
use fulcrum_simulator::rehearsal::{Change, ChildExit, Fault, Point, Then, When, intervals};
use fulcrum_steps::certificates::{KeptDir, Pace, Renewable, Renewal, inventory};
use fulcrum_steps::component::Component;
use fulcrum_steps::guard::{Carried, boot, carry_on};
use fulcrum_steps::plan;
use fulcrum_steps::run_info::RunInfo;
use fulcrum_steps::settings::{HandoverMode, Settings, Wanted};
use fulcrum_steps::unit::HOLD_OFF;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;

/// Content, mode, owner, last change.
pub(crate) type File = (Vec<u8>, u32, u32, u32, SystemTime);

pub(crate) async fn pivoted() -> (TestSite, RunId) {
    let setup = setup().with_handover(Wanted::Way(HandoverMode::Steer)).with_certificates();
    let world = TestSite::boot_with(&setup).await;
    let ending = world.pivot(&world.journal()).await;
    assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
    (world, ending.run)
}

pub(crate) fn root(world: &TestSite) -> PathBuf {
    world.manifests().path().parent().unwrap().to_owned()
}

/// Every file that kubeadm renews.
pub(crate) fn files(world: &TestSite) -> BTreeMap<PathBuf, File> {
    let root = root(world);
    let paths = Renewable::all().flat_map(|name| name.files(&root));
    let one = |path: PathBuf| {
        let (bytes, metadata) = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap());
        let (mode, owner) = (metadata.mode() & 0o7777, (metadata.uid(), metadata.gid()));
        (path, (bytes, mode, owner.0, owner.1, metadata.modified().unwrap()))
    };
    paths.map(one).collect()
}

/// Byte for byte, with mode, owner and time.
pub(crate) fn assert_as(seen: &BTreeMap<PathBuf, File>, before: &BTreeMap<PathBuf, File>) {
    for (path, file) in before {
        assert!(seen.get(path) == Some(file), "{} is not as before", path.display());
    }
}

fn settings(journal: &Journal, run: RunId) -> Settings {
    RunInfo::of(load(&journal.reader(), run).unwrap().plan()).unwrap().settings
}

async fn renewal(world: &TestSite, names: &[Renewable]) -> plan::RenewCerts {
    let ports = Component::ALL.map(|one| (one, one.default_port())).into();
    let found = inventory(&*world.host, &ports, &root(world), Pace::patient(Duration::from_millis(20))).await;
    let renewal = Renewal::of(names, &found, &root(world), Timestamp::now()).unwrap();
    plan::RenewCerts::of(&renewal, SOON)
}

pub(crate) async fn renew(world: &TestSite, pivot: RunId, names: &[Renewable]) -> Ending {
    let wanted = renewal(world, names).await;
    let journal = world.journal();
    let settings = Settings { of_pivot: Some(pivot), ..settings(&journal, pivot) };
    let plan = plan::renew_certs(&settings, pivot, wanted).unwrap();
    world.engine(&journal, settings).await.start(plan).await.unwrap()
}

/// Waits until every process has what its files have. What the processes say of themselves decides, not what
/// `certs check` makes of it.
pub(crate) async fn assert_in_use(world: &TestSite, context: &str) {
    let is_so = |seen: &fulcrum_simulator::Snapshot| {
        seen.processes.iter().all(|process| {
            process.certificates.iter().all(|(path, held)| {
                let name =
                    Renewable::all().find(|name| name.certificate_file(&root(world)) == *path).unwrap();
                name.whole(&root(world)).unwrap().sha256() == *held
            })
        })
    };
    let seen = world.machine().until("every process to have its files' certificates", SOON, is_so).await;
    let seen = seen.unwrap_or_else(|error| panic!("{context}: {error}"));
    let held = |name: &str| {
        seen.processes.iter().filter(|one| one.component == name).all(|one| !one.certificates.is_empty())
    };
    for name in ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
        assert!(held(name), "{context}: {name} has no certificates");
    }
}

pub(crate) async fn guard_goes_on(world: &TestSite) -> Ending {
    let start = boot(&**world, HOLD_OFF).await.unwrap();
    let (pace, stop) = (intervals(Duration::from_secs(5)), CancellationToken::new());
    match carry_on(&**world, &start, &pace, &stop).await.unwrap() {
        Carried::Ended(ending) => ending,
        other => panic!("{}: {other:?}", start.decision.why),
    }
}

/// No key, nor a part of one, is in a file of the journal, its archive of certificates aside.
fn assert_no_key_in_the_journal(world: &TestSite, keys: &[Vec<u8>]) {
    let mut dirs = vec![world.state_dir()];
    let mut looked_at = 0;
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                let is_kept = path.file_name().is_some_and(|name| name == "certificates");
                if is_kept {
                    assert_kept_for_root(&path);
                } else {
                    dirs.push(path);
                }
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            looked_at += 1;
            for key in keys {
                let found = bytes.windows(key.len()).any(|part| part == key);
                assert!(!found, "{} has a key in it", path.display());
            }
        }
    }
    assert!(looked_at > 3, "the journal has moved");
}

fn assert_kept_for_root(dir: &Path) {
    assert_eq!(fs::metadata(dir).unwrap().permissions().mode() & 0o777, 0o700);
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
}

/// The words of the keys in these files: a line of a PEM file, and a piece of what a kubeconfig has.
fn key_words(files: &BTreeMap<PathBuf, File>) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    for (path, (bytes, ..)) in files {
        let text = String::from_utf8(bytes.clone()).unwrap();
        if path.extension().is_some_and(|end| end == "key") {
            words.push(text.lines().nth(1).unwrap().as_bytes()[24..60].to_vec());
        } else if let Some((_, key)) = text.split_once("client-key-data\":\"") {
            words.push(key.as_bytes()[60..100].to_vec());
        }
    }
    assert_eq!(words.len(), 11);
    words
}

#[tokio::test(flavor = "multi_thread")]
async fn every_process_has_the_renewed_certificates_and_the_former_files_come_back() {
    let (world, pivot) = pivoted().await;
    assert_in_use(&world, "before").await;
    let before = files(&world);
    let ending = renew(&world, pivot, &[]).await;
    assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
    let after = files(&world);
    for (path, (bytes, mode, uid, gid, _)) in &before {
        let now = &after[path];
        assert_ne!(*bytes, now.0, "{} is not renewed", path.display());
        assert_eq!((*mode, *uid, *gid), (now.1, now.2, now.3), "{}", path.display());
    }
    assert_in_use(&world, "after a renewal").await;
    world.assert_pivoted("after a renewal").await;
    let keys = [key_words(&before), key_words(&after)].concat();
    assert_no_key_in_the_journal(&world, &keys);

    // What was changed is in the journal, by its digests.
    let reader = world.journal().reader();
    let entries: Vec<String> = reader.entries(ending.run).map(|entry| entry.unwrap().body).collect();
    let told = entries.concat();
    for (path, (bytes, ..)) in before.iter().chain(&after) {
        assert!(told.contains(&sha256_hex(bytes)), "{} is not told", path.display());
    }
    drop(reader);

    let back = world.rollback(&world.journal(), ending.run).await;
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    assert_as(&files(&world), &before);
    assert_in_use(&world, "after the way back").await;
    world.assert_pivoted("after the way back").await;
    assert!(!KeptDir::of(&world.state_dir().join("archive"), ending.run).exists(), "nothing is kept");
    for component in Component::ALL {
        let live = world.cluster.daemonset(component.daemonset_name()).await.unwrap().unwrap();
        assert!(live["spec"]["template"]["metadata"]["annotations"]["fulcrum.dev/certificates"].is_null());
    }
    let back = world.rollback(&world.journal(), pivot).await;
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    world.assert_static("after renewals").await;
}

/// What reads its file by itself is not restarted.
#[tokio::test(flavor = "multi_thread")]
async fn only_who_does_not_read_again_is_rolled_out() {
    let (world, pivot) = pivoted().await;
    let pids = |world: &TestSite| -> BTreeMap<String, u32> {
        world.machine().snapshot().processes.into_iter().map(|one| (one.component, one.pid)).collect()
    };
    let before = pids(&world);
    let first = renew(&world, pivot, &[Renewable::Apiserver, Renewable::SchedulerConf]).await;
    assert_eq!(outcome(&first), Outcome::Completed, "{}", reason(&first));
    let after = pids(&world);
    let changed: Vec<&String> =
        before.iter().filter(|(name, pid)| after[*name] != **pid).map(|(name, _)| name).collect();
    assert_eq!(changed, ["kube-scheduler"]);
    assert_in_use(&world, "after a renewal of two").await;

    // A later renewal takes the files of the first one: only the last one can be rolled back.
    let archive = world.state_dir().join("archive");
    assert!(KeptDir::of(&archive, first.run).exists());
    let second = renew(&world, pivot, &[Renewable::Apiserver]).await;
    assert_eq!(outcome(&second), Outcome::Completed, "{}", reason(&second));
    assert!(!KeptDir::of(&archive, first.run).exists());
    assert!(KeptDir::of(&archive, second.run).exists());
}

/// SIGKILL at each boundary of each step. The guard goes on, as with an edit.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_is_killed_anywhere_is_finished_by_the_guard() {
    let (world, pivot) = pivoted().await;
    let scheduler = "kube-scheduler";
    let steps = [
        "lock".to_owned(),
        format!("prepare-rollback/roll-certs/{scheduler}"),
        "renew-certs/apiserver".to_owned(),
        "renew-certs/scheduler.conf".to_owned(),
        format!("roll-certs/{scheduler}"),
        format!("await-roll-out/{scheduler}"),
        "prove-certs".to_owned(),
        "forget-certs".to_owned(),
        "seal".to_owned(),
    ];
    let names = [Renewable::Apiserver, Renewable::EtcdServer, Renewable::SchedulerConf];
    for step in steps {
        for when in [When::Started, When::Effect, When::Done] {
            // The result of the last step ends the run.
            if (step.as_str(), when) == ("seal", When::Done) {
                continue;
            }
            let point = Point { step: step.as_str().into(), when };
            let before = files(&world);
            let change = Change::RenewCerts(renewal(&world, &names).await);
            let fulcrum = Path::new(env!("CARGO_BIN_EXE_fulcrum"));
            let killed =
                world.inject_fault_in_change(fulcrum, change, (&point, Fault::Kill, Then::Resume)).await;
            assert_eq!(killed.unwrap(), ChildExit::Killed, "{point}");
            let ending = guard_goes_on(&world).await;
            assert_eq!(outcome(&ending), Outcome::Completed, "{point}: {}", reason(&ending));
            let after = files(&world);
            for name in names {
                let path = name.certificate_file(&root(&world));
                assert_ne!(before[&path].0, after[&path].0, "{point}: {name}");
            }
            assert_in_use(&world, &point.to_string()).await;
            world.assert_pivoted(&point.to_string()).await;
        }
    }
    let back = world.rollback(&world.journal(), pivot).await;
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    world.assert_static("after renewals that were killed").await;
}

/// A kubeadm that was killed leaves a new key beside an old certificate, or half a file.
#[tokio::test(flavor = "multi_thread")]
async fn half_a_renewal_is_gone_on_with_and_can_be_undone() {
    let (world, _) = pivoted().await;
    let names = [Renewable::Apiserver, Renewable::EtcdPeer, Renewable::SchedulerConf];
    let other_key = fs::read(root(&world).join("pki/etcd/peer.key")).unwrap();
    for (broken, resumed) in [(0, true), (2, true), (0, false), (2, false)] {
        let before = files(&world);
        let path = names[broken].files(&root(&world)).pop().unwrap();
        let half = if broken == 0 { &other_key[..] } else { &before[&path].0[..200] };
        let change = Change::RenewCerts(renewal(&world, &names).await);
        let point = Point { step: format!("renew-certs/{}", names[broken]).into(), when: When::Started };
        let fulcrum = Path::new(env!("CARGO_BIN_EXE_fulcrum"));
        let killed = world.inject_fault_in_change(fulcrum, change, (&point, Fault::Kill, Then::Resume)).await;
        assert_eq!(killed.unwrap(), ChildExit::Killed);
        fs::write(&path, half).unwrap();
        if resumed {
            let ending = guard_goes_on(&world).await;
            assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
            let after = files(&world);
            for name in names {
                name.whole(&root(&world)).unwrap();
                let path = name.certificate_file(&root(&world));
                assert_ne!(after[&path].0, before[&path].0, "{name}");
            }
        } else {
            let run = world.journal().reader().runs().unwrap().last().unwrap().run;
            let ending = world.rollback(&world.journal(), run).await;
            assert_eq!(outcome(&ending), Outcome::RolledBack, "{}", reason(&ending));
            assert_as(&files(&world), &before);
        }
        assert_in_use(&world, "after half a renewal").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_has_renewed_since_is_not_overwritten() {
    let (world, pivot) = pivoted().await;
    let ending = renew(&world, pivot, &[Renewable::Apiserver, Renewable::AdminConf]).await;
    assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
    world.host.renew_certificate("admin.conf", &root(&world)).await.unwrap();
    let theirs = files(&world);
    let back = world.rollback(&world.journal(), ending.run).await;
    assert_eq!(outcome(&back), Outcome::NeedsOperator, "{}", reason(&back));
    assert!(reason(&back).contains("admin.conf: neither the file from before"), "{}", reason(&back));
    assert_as(&files(&world), &theirs);
}

/// kubeadm goes away in the middle: what it has renewed is put back.
#[tokio::test(flavor = "multi_thread")]
async fn without_kubeadm_the_former_files_come_back() {
    let (world, pivot) = pivoted().await;
    let before = files(&world);
    let wanted = renewal(&world, &[]).await;
    world.machine().lack(Ability::Kubeadm);
    let journal = world.journal();
    let settings = Settings { of_pivot: Some(pivot), ..settings(&journal, pivot) };
    let plan = plan::renew_certs(&settings, pivot, wanted).unwrap();
    let ending = world.engine(&journal, settings).await.start(plan).await.unwrap();
    assert_eq!(outcome(&ending), Outcome::RolledBack, "{}", reason(&ending));
    assert_as(&files(&world), &before);
    world.assert_pivoted("without kubeadm").await;
}
