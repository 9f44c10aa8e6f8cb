//! The pivot and the way back against the rehearsal cluster.

use crate::cli::{kubeconfig, root};
use crate::support::{SOON, TestSite, outcome, reason, setup};
use fulcrum_engine::Outcome;
use fulcrum_simulator::{ApiFault, Origin, Outcome as Fate};
use fulcrum_steps::cluster::{AUDIT_HEAD_ANNOTATION, Lock, NodeEntry, RunPhase};
use fulcrum_steps::component::Component;
use fulcrum_steps::plan;
use fulcrum_steps::settings::{HandoverMode, Wanted};
use std::time::Duration;
use tokio::net::TcpListener;

#[tokio::test(flavor = "multi_thread")]
async fn there_and_back() {
    let world = TestSite::boot().await;
    let journal = world.journal();
    let pivoted = world.pivot(&journal).await;
    assert_eq!(outcome(&pivoted), Outcome::Completed, "{}", reason(&pivoted));
    world.assert_pivoted("after the pivot").await;
    let daemonset = world.cluster.daemonset("self-hosted-kube-apiserver").await.unwrap().unwrap();
    let sealed = daemonset["metadata"]["annotations"][AUDIT_HEAD_ANNOTATION].as_str().unwrap();
    let (seq, hash) = sealed.split_once(':').unwrap();
    let entry =
        journal.reader().entries(pivoted.run).nth(seq.parse::<usize>().unwrap() - 1).unwrap().unwrap();
    assert_eq!(entry.hash.to_string(), hash, "what is on the cluster is in the journal");
    let back = world.rollback(&journal, pivoted.run).await;
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    world.assert_static("after the rollback").await;
    journal.reader().verify(pivoted.run).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_server_that_never_serves_is_undone() {
    use fulcrum_simulator::Flaw;
    for (component, flaw) in [
        ("kube-apiserver", Flaw::NeverReady),
        ("kube-scheduler", Flaw::ImageMissing),
        ("kube-controller-manager", Flaw::Crashes),
    ] {
        let world = TestSite::boot().await;
        world.simulator.flaw((component, Origin::Api), flaw);
        let journal = world.journal();
        let settings = world.preflight().await.unwrap().settings;
        let plan = plan::pivot(&settings, Duration::from_secs(3)).unwrap();
        let ending = world.engine(&journal, settings).await.start(plan).await.unwrap();
        assert_eq!(outcome(&ending), Outcome::RolledBack, "{component}: {}", reason(&ending));
        assert!(reason(&ending).contains(&format!("await-ready/{component}")), "{}", reason(&ending));
        world.assert_static(component).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_api_down_the_rollback_restores_the_files_first() {
    let world = TestSite::boot().await;
    let journal = world.journal();
    let ending = world.pivot_until(&journal, "retire-static/kube-apiserver").await;
    // The DaemonSet's API server dies and stays dead: nothing answers until the static one is back.
    world.simulator.hold_down(("kube-apiserver", Origin::Api));
    world.simulator.until("the API to be down", SOON, |seen| !seen.api_up).await.unwrap();
    let back = world.rollback(&journal, ending.run).await;
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    world.assert_static("after a rollback with the API down").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completed_pivot_is_rolled_back_with_the_api_down() {
    let world = TestSite::boot().await;
    let journal = world.journal();
    let pivoted = world.pivot(&journal).await;
    for component in Component::ALL {
        world.simulator.hold_down((component.name(), Origin::Api));
    }
    world.simulator.until("the API to be down", SOON, |seen| !seen.api_up).await.unwrap();
    let back = world.rollback(&journal, pivoted.run).await;
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    world.assert_static("all of it was down").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pivot_copes_with_an_api_that_stumbles() {
    let world = TestSite::boot().await;
    let journal = world.journal();
    let settings = world.preflight().await.unwrap().settings;
    for (method, path, outcome) in [
        ("POST", "daemonsets", Fate::LosesAnswer),
        ("POST", "leases", Fate::LosesAnswer),
        ("PATCH", "nodes", Fate::InternalError),
        ("GET", "pods", Fate::InternalError),
        ("DELETE", "leases", Fate::LosesAnswer),
    ] {
        world.simulator.inject(ApiFault { method: Some(method), path: path.into(), times: 1, outcome });
    }
    let plan = plan::pivot(&settings, SOON).unwrap();
    let ending = world.engine(&journal, settings).await.start(plan).await.unwrap();
    assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
    world.assert_pivoted("after stumbles").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reboot_halfway_is_taken_up() {
    let world = TestSite::boot().await;
    let journal = world.journal();
    let ending = world.pivot_until(&journal, "await-ready/kube-scheduler").await;
    world.simulator.reboot();
    // At once: what the API says of the pods is old, and nothing of them runs yet.
    let ending = world.resume(&journal, ending.run).await;
    assert_eq!(outcome(&ending), Outcome::Completed, "{}", reason(&ending));
    world.assert_pivoted("after a reboot").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_edit_is_not_overwritten() {
    // The way that edits manifests itself.
    let world = TestSite::boot_with(&setup().with_handover(Wanted::Way(HandoverMode::Restart))).await;
    let journal = world.journal();
    let ending = world.pivot_until(&journal, "share-port/kube-scheduler").await;
    let name = Component::Scheduler.manifest_file();
    let edited = world.manifests().read(name).unwrap().unwrap();
    let edited = edited.with_content(edited.content.replace("--permit-port-sharing=true", "--v=4"));
    world.manifests().write(name, &edited).unwrap();
    let back = world.rollback(&journal, ending.run).await;
    assert_eq!(outcome(&back), Outcome::NeedsOperator);
    assert!(reason(&back).contains("changed by somebody else"), "{}", reason(&back));
    assert_eq!(world.manifests().read(name).unwrap().unwrap(), edited);
    // The person puts the original back, and the same command ends it.
    world.manifests().write(name, &world.before[name]).unwrap();
    let back = world.rollback(&journal, ending.run).await;
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    world.assert_static("after a person settled it").await;
}

/// A flag that a person adds while the run waits is not in the DaemonSet, which is made from the archive: the
/// cut would take it away unseen.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_during_the_run_is_not_cut_away() {
    for breakpoint in ["archive", "await-ready/kube-scheduler"] {
        let world = TestSite::boot().await;
        let journal = world.journal();
        let paused = world.pivot_until(&journal, breakpoint).await;
        let name = Component::Scheduler.manifest_file();
        let image = world.manifests().read(name).unwrap().unwrap();
        let edited = image.with_content(image.content.replace("--leader-elect=true", "--leader-elect=1"));
        assert_ne!(edited, image);
        world.manifests().write(name, &edited).unwrap();
        let ending = world.resume(&journal, paused.run).await;
        assert_ne!(outcome(&ending), Outcome::Completed, "{breakpoint}: the edit was cut away");
        assert!(reason(&ending).contains("changed"), "{}", reason(&ending));
        assert_eq!(world.manifests().read(name).unwrap().unwrap(), edited, "{breakpoint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pivot_may_not_touch_is_refused() {
    type Spoil = fn(&fulcrum_steps::host::ManifestsDir);
    let cases: [(Spoil, &str); 3] = [
        (
            |dir| edit(dir, Component::Scheduler, "--leader-elect=true", "--leader-elect=false"),
            "leader-election",
        ),
        (
            |dir| _ = std::fs::copy(dir.file("kube-scheduler.yaml"), dir.file("kube-scheduler.bak")),
            "foreign-file",
        ),
        (
            |dir| edit(dir, Component::ControllerManager, "hostNetwork: true", "hostNetwork: false"),
            "hostNetwork",
        ),
    ];
    for (spoil, expected) in cases {
        let world = TestSite::boot().await;
        spoil(&world.manifests());
        let refused = world.preflight().await.unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_run_at_a_time_in_the_cluster() {
    let world = TestSite::boot().await;
    Lock::of("node-1", "lost-run").take(&world.cluster).await.unwrap();
    let refused = world.preflight().await.unwrap_err().to_string();
    assert!(refused.contains("node-1/lost-run"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_is_pivoted_by_other_means_is_refused() {
    let world = TestSite::boot().await;
    let report = world.preflight().await.unwrap();
    let daemonset = report.static_pods[0].daemonset(&report.settings.target(None));
    world.cluster.create_daemonset(&daemonset, false).await.unwrap();
    let refused = world.preflight().await.unwrap_err().to_string();
    assert!(refused.contains("fulcrum did not make it"), "{refused}");
}

fn edit(dir: &fulcrum_steps::host::ManifestsDir, component: Component, from: &str, to: &str) {
    let image = dir.read(component.manifest_file()).unwrap().unwrap();
    assert!(image.content.contains(from), "{}", image.content);
    let changed = image.with_content(image.content.replace(from, to));
    dir.write(component.manifest_file(), &changed).unwrap();
}

/// The API gave no answer when the run said that it has ended. `status --cluster` and `--all-nodes` go by that.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_has_nothing_to_do_says_how_the_run_has_ended() {
    if !root() {
        return;
    }
    let world = TestSite::boot().await;
    let (name, cluster) = (world.machine().name(), &world.cluster);
    let run = world.pivot(&world.journal()).await.run;
    let back = world.rollback(&world.journal(), run).await;
    assert_eq!(outcome(&back), Outcome::RolledBack, "{}", reason(&back));
    let as_if_it_went_on = |entry: &mut NodeEntry| entry.phase = RunPhase::RollingBack;
    cluster.update_entry(name, as_if_it_went_on).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = world.machine().serve_on(listener).unwrap();
    std::fs::write(world.kubeconfig(), kubeconfig(&format!("http://{api}"))).unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_fulcrum"));
    command.env_clear().arg("--state-dir").arg(world.state_dir()).args(["rollback", "--yes"]);
    let said = command.output().await.unwrap();
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && text.contains("nothing to do"), "{text}");
    assert_eq!(cluster.entry_of(name).await.unwrap().unwrap().phase, RunPhase::RolledBack);
}
