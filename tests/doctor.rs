//! Broken nodes, made by hand in the simulator: `doctor` finds what is wrong with each, and names what puts it
//! right. Pure cases are in `steps/src/doctor/tests.rs`.

use crate::support::{SOON, TestSite, outcome};
use fulcrum_engine::Outcome;
use fulcrum_engine::state::{Reader, RunId};
use fulcrum_simulator::Origin;
use fulcrum_steps::cluster::Lock;
use fulcrum_steps::component::Component;
use fulcrum_steps::doctor::{Area, Finding, Health, Patient, gather, judge};
use fulcrum_steps::guard::JournalView;
use fulcrum_steps::host::{FileImage, Node, Redirect, Units};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

/// The longest that an examination may take with the API up, and with the API down. On a machine that does
/// nothing else these are 2 s and 5 s; tests run side by side.
const UP: Duration = Duration::from_secs(8);
const DOWN: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_node_is_called_so_before_and_after() {
    let world = TestSite::boot().await;
    assert_well(&world, "static").await;
    let journal = world.journal();
    let pivoted = world.pivot(&journal).await;
    drop(journal);
    keep_standby(&world);
    assert_well(&world, "self-hosted").await;
    let journal = world.journal();
    let _ = world.rollback(&journal, pivoted.run).await;
    drop(journal);
    world.settle().await.unwrap();
    assert_well(&world, "rolled back").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_static_node_is_found() {
    let world = TestSite::boot().await;
    // 1: a DaemonSet of kubeadm's own pivot, or made by hand.
    let report = world.preflight().await.unwrap();
    let mut foreign = report.static_pods[2].daemonset(&report.settings.target(None));
    foreign["spec"]["template"]["spec"]["nodeSelector"] = serde_json::json!({ "no": "where" });
    world.cluster.create_daemonset(&foreign, false).await.unwrap();
    let said = find(&world, Area::Daemonsets, "made by kubeadm's pivot, or by hand").await;
    assert!(
        said.remedy.starts_with("kubectl -n kube-system delete daemonset self-hosted-kube-scheduler"),
        "{said:?}"
    );
    let uid =
        world.cluster.daemonset("self-hosted-kube-scheduler").await.unwrap().unwrap()["metadata"]["uid"]
            .clone();
    world.cluster.delete_daemonset("self-hosted-kube-scheduler", uid.as_str().unwrap()).await.unwrap();
    // 2: another node's lock.
    let lock = Lock::of("cp2", "0192");
    lock.take(&world.cluster).await.unwrap();
    let said = find(&world, Area::Lock, "cp2/0192 (node/run) holds it").await;
    assert!(said.remedy.contains("delete lease fulcrum"), "{said:?}");
    lock.release(&world.cluster).await.unwrap();
    // 3: a redirect that nothing needs.
    let redirect =
        Redirect { port: 6443, to: 16443, services: Vec::new(), address: report.settings.node_addresses[0] };
    world.host.redirect(&redirect).await.unwrap();
    assert_eq!(find(&world, Area::Leftovers, "are redirected").await.remedy, "nft delete table inet fulcrum");
    world.host.end_redirect().await.unwrap();
    // 4: the table that a redirect leaves.
    assert_eq!(find(&world, Area::Leftovers, "has ended").await.remedy, "nft delete table inet fulcrum");
    world.host.forget_redirect().await.unwrap();
    // 5: a file that a crash has left half-written.
    let half = world.manifests().path().join(".fulcrum-kube-scheduler.yaml-x.tmp");
    std::fs::write(&half, "half").unwrap();
    assert_eq!(
        find(&world, Area::Leftovers, "a crash has left").await.remedy,
        format!("rm {}", half.display())
    );
    std::fs::remove_file(&half).unwrap();
    assert_well(&world, "each remedy was carried out").await;
    // 6: a certificate that cannot be read.
    std::fs::create_dir(world.manifests().path().parent().unwrap().join("pki")).unwrap();
    let bad = world.manifests().path().parent().unwrap().join("pki/apiserver.crt");
    std::fs::write(&bad, "no certificate").unwrap();
    find(&world, Area::Certificates, "pki/apiserver.crt").await;
    std::fs::remove_file(&bad).unwrap();
    // 7: a component that does not serve; 8: etcd, and with it the API, is down.
    world.simulator.hold_down(("kube-scheduler", Origin::Static));
    find(&world, Area::Serving, "kube-scheduler does not serve").await;
    world.simulator.hold_down(("etcd", Origin::Static));
    world.simulator.until("the API to be down", SOON, |seen| !seen.api_up).await.unwrap();
    assert!(find_within(&world, Area::Etcd, "", DOWN).await.remedy.contains("crictl ps -a --name etcd"));
    find_within(&world, Area::Api, "", DOWN).await;
    // 9: a manifest is missing.
    std::fs::remove_file(world.manifests().file("kube-scheduler.yaml")).unwrap();
    find_within(&world, Area::Manifests, "kube-scheduler.yaml, and no run", DOWN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_self_hosted_node_is_found() {
    let (world, run) = pivoted().await;
    let manifests = world.manifests();
    // 10: no guard is installed; 11: one that no boot starts.
    let unit = world.units().dir().join(fulcrum_steps::unit::UNIT);
    let text = std::fs::read(&unit).unwrap();
    world.units().disable(fulcrum_steps::unit::UNIT, false).await.unwrap();
    assert_eq!(
        find(&world, Area::Guard, "no boot starts").await.remedy,
        "systemctl enable --now fulcrum-guard"
    );
    std::fs::remove_file(&unit).unwrap();
    assert_eq!(find(&world, Area::Guard, "no guard is installed").await.remedy, "fulcrum guard install");
    std::fs::write(&unit, text).unwrap();
    world.units().enable(fulcrum_steps::unit::UNIT).await.unwrap();
    a_bad_standby_is_found(&world, run).await;
    // 15: a bridge that no run needs.
    let bridge = manifests.file("kube-apiserver-bridge.yaml");
    std::fs::write(&bridge, "left").unwrap();
    assert_eq!(
        find(&world, Area::Leftovers, "third API server").await.remedy,
        format!("rm {}", bridge.display())
    );
    std::fs::remove_file(&bridge).unwrap();
    // 16: a person has put a static manifest back.
    let by_hand = &world.before["kube-scheduler.yaml"];
    let edited: FileImage = by_hand.with_content(format!("{}# by hand\n", by_hand.content));
    manifests.write("kube-scheduler.yaml", &edited).unwrap();
    find(&world, Area::Manifests, "fulcrum has not put the file there").await;
    manifests.remove("kube-scheduler.yaml").unwrap();
    keep_standby(&world);
    assert_well(&world, "each remedy was carried out").await;
    // 17: a DaemonSet was deleted.
    let name = Component::Scheduler.daemonset_name();
    let uid = world.cluster.daemonset(name).await.unwrap().unwrap()["metadata"]["uid"].clone();
    world.cluster.delete_daemonset(name, uid.as_str().unwrap()).await.unwrap();
    let said = find(&world, Area::Daemonsets, "self-hosted-kube-scheduler is gone").await;
    assert_eq!(said.remedy, "fulcrum rollback, then fulcrum pivot");
    let journal = world.journal();
    assert_eq!(outcome(&world.rollback(&journal, run).await), Outcome::RolledBack);
    world.settle().await.unwrap();
    assert_eq!(outcome(&world.pivot(&journal).await), Outcome::Completed);
    drop(journal);
    keep_standby(&world);
    assert_well(&world, "rolled back and pivoted").await;
    // 18: the API server is down. What needs no API is examined all the same.
    world.simulator.hold_down(("kube-apiserver", Origin::Api));
    world.simulator.until("the API to be down", SOON, |seen| !seen.api_up).await.unwrap();
    find_within(&world, Area::Serving, "kube-apiserver does not serve", DOWN).await;
    world.simulator.repair(("kube-apiserver", Origin::Api));
    assert_well(&world, "the API server is back").await;
}

async fn a_bad_standby_is_found(world: &TestSite, run: RunId) {
    let (manifests, standby) = (world.manifests(), world.state_dir().join("standby").join(run.to_string()));
    // 12: a standby that is no manifest; 13: one that is gone; 14: its spare is gone.
    let kept = standby.join("kube-scheduler.yaml");
    let original = std::fs::read(&kept).unwrap();
    std::fs::write(&kept, "not: a pod").unwrap();
    find(world, Area::Standby, "the standby of kube-scheduler cannot be used").await;
    std::fs::remove_file(&kept).unwrap();
    find(world, Area::Standby, "it is not there").await;
    std::fs::write(&kept, original).unwrap();
    std::fs::set_permissions(&kept, std::fs::Permissions::from_mode(0o600)).unwrap();
    let spare = manifests.spare("kube-scheduler.yaml");
    let _ = std::fs::remove_file(&spare);
    find(world, Area::Standby, "there is no spare").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_journal_is_found() {
    let (world, _) = pivoted().await;
    // 19: the journal is damaged.
    let log = std::fs::read_dir(world.state_dir().join("log")).unwrap();
    let log =
        log.map(|entry| entry.unwrap().path()).find(|path| path.extension().is_some_and(|e| e == "log"));
    let log = log.unwrap();
    let mut bytes = std::fs::read(&log).unwrap();
    // In an entry: of a pre-image another step may have kept a copy.
    let word = b"attempt-done";
    let middle = bytes.windows(word.len()).position(|found| found == word).unwrap();
    bytes[middle] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let said = find_within(&world, Area::Journal, "", DOWN).await;
    assert!(said.health == Health::Bad && said.remedy.contains("fulcrum history --verify"), "{said:?}");
}

/// 20: a run that nothing works on any more, and 21: in its middle, a second API server without a rule.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_left_is_found_and_its_command_mends_it() {
    let world = TestSite::boot().await;
    let journal = world.journal();
    let ending = world.pivot_until(&journal, "await-ready/kube-apiserver").await;
    drop(journal);
    let said = find(&world, Area::Run, "(pivot) is paused").await;
    assert_eq!(said.remedy, format!("fulcrum resume {0}, or fulcrum rollback {0}", ending.run));
    let listeners = world.host.listeners(6443).await.unwrap();
    assert_eq!(listeners.len(), 2);
    world.host.unsteer(&listeners).await.unwrap();
    find(&world, Area::Preference, "spreads new connections").await;
    let journal = world.journal();
    let resumed = world.resume(&journal, ending.run).await;
    assert_eq!(outcome(&resumed), Outcome::Completed, "{}", resumed.phase);
    drop(journal);
    keep_standby(&world);
    assert_well(&world, "the command has mended it").await;
}

/// By the exit code a script knows that something is broken, and by the last lines which command mends it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_is_the_exit_code_10() {
    if !crate::cli::root() {
        return;
    }
    let world = TestSite::boot().await;
    std::fs::write(world.kubeconfig(), crate::cli::kubeconfig("http://127.0.0.1:9")).unwrap();
    let mut doctor = std::process::Command::new(env!("CARGO_BIN_EXE_fulcrum"));
    doctor.env_clear().arg("doctor").arg("--state-dir").arg(world.state_dir());
    doctor.arg("--kubeconfig").arg(world.kubeconfig()).arg("--manifests-dir").arg(world.manifests().path());
    let output = doctor.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(10), "{said}");
    assert!(said.contains("BAD     api") && said.contains("-> "), "{said}");
}

async fn pivoted() -> (TestSite, RunId) {
    let world = TestSite::boot().await;
    let journal = world.journal();
    let ending = world.pivot(&journal).await;
    assert_eq!(outcome(&ending), Outcome::Completed);
    drop(journal);
    keep_standby(&world);
    (world, ending.run)
}

/// What the guard does once a pivot has completed.
fn keep_standby(world: &TestSite) {
    let told = JournalView::of(&Reader::open(world.state_dir()).unwrap()).unwrap().unwrap();
    let standby = told.standby(&world.state_dir());
    standby.begin(&told.retired).unwrap();
    let manifests = world.manifests();
    for component in Component::ALL {
        let spare = manifests.spare(component.manifest_file());
        let image = standby.get(component).unwrap().unwrap();
        manifests.write(spare.file_name().unwrap().to_str().unwrap(), &image).unwrap();
    }
}

/// Nothing is wrong, at the latest when the node has come to rest.
async fn assert_well(world: &TestSite, context: &str) {
    let began = Instant::now();
    loop {
        let found = ill(world, UP).await;
        if found.is_empty() {
            return;
        }
        assert!(began.elapsed() < SOON, "{context}: {found:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn examine(world: &TestSite, limit: Duration) -> Vec<Finding> {
    let input = world.preflight_input();
    let patient = Patient {
        node: Node { ..input.node },
        cluster: world.cluster.clone(),
        no_way: None,
        state_dir: world.state_dir(),
        kubeconfig: world.kubeconfig(),
        verify: true,
    };
    let began = Instant::now();
    let facts = Box::pin(gather(&patient)).await;
    let took = began.elapsed();
    assert!(took < limit, "an examination took {took:?}");
    judge(&facts)
}

/// What is warned of, or bad. The simulated node has no certificates.
async fn ill(world: &TestSite, limit: Duration) -> Vec<Finding> {
    let worth = |finding: &Finding| finding.health > Health::Unknown;
    examine(world, limit).await.into_iter().filter(worth).collect()
}

pub(crate) async fn find(world: &TestSite, area: Area, words: &str) -> Finding {
    find_within(world, area, words, UP).await
}

/// The finding, which a node that is still moving may show a little later.
async fn find_within(world: &TestSite, area: Area, words: &str, limit: Duration) -> Finding {
    let began = Instant::now();
    loop {
        let findings = ill(world, limit).await;
        let found = findings.iter().find(|one| one.area == area && one.seen.contains(words));
        match found {
            Some(found) => {
                assert!(!found.remedy.is_empty(), "{found:?}");
                return found.clone();
            }
            None if began.elapsed() < SOON => tokio::time::sleep(Duration::from_millis(20)).await,
            None => panic!("{area}: {words}: {findings:?}"),
        }
    }
}
