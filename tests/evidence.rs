//! Evidence of real runs: what is signed and kept in the cluster, that no secret leaves, and that no run fails of
//! it.

use crate::support::{SOON, TestSite};
use fulcrum_engine::run::Phase;
use fulcrum_engine::state::{Journal, Reader, RunId};
use fulcrum_engine::{Ending, Outcome};
use fulcrum_evidence::export::export;
use fulcrum_evidence::import;
use fulcrum_evidence::note::Note;
use fulcrum_evidence::verify::{Elsewhere, Standing, verify};
use fulcrum_steps::cluster::Cluster;
use fulcrum_steps::guard::GuardEnv;
use fulcrum_steps::plan;
use fulcrum_steps::run_info::RunInfo;
use fulcrum_steps::sealer::Sealer;
use fulcrum_steps::settings::Settings;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::PostParams;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// What sealers have said to a person.
static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

fn say(line: &str) {
    SAID.lock().unwrap().insert(line.to_owned());
}

async fn sealer(world: &TestSite, settings: &Settings) -> Arc<Sealer> {
    let site = GuardEnv::site(&**world, settings.clone()).await.unwrap();
    Arc::new(Sealer::new(site, "fulcrum test", say))
}

async fn pivot(world: &TestSite, journal: &Journal, settings: &Settings) -> Ending {
    let plan = plan::pivot(settings, SOON).unwrap();
    let engine = world.engine(journal, settings.clone()).await.after(sealer(world, settings).await);
    engine.actor("login-uid", "1000").start(plan).await.unwrap()
}

async fn roll_back(world: &TestSite, journal: &Journal, run: RunId) -> Ending {
    let state = fulcrum_engine::load::load(&journal.reader(), run).unwrap();
    let settings = RunInfo::of(state.plan()).unwrap().settings;
    let engine = world.engine(journal, settings.clone()).await.after(sealer(world, &settings).await);
    engine.roll_back(run, "it was asked for").await.unwrap()
}

fn outcome(ending: &Ending) -> Outcome {
    match ending.phase {
        Phase::Ended(outcome, _) => outcome,
        ref other => panic!("{other}"),
    }
}

async fn in_the_cluster(world: &TestSite, node: &str) -> Note {
    let entry = Cluster::new(world.simulator.client()).entry_of(node).await.unwrap().unwrap();
    Note::parse(&entry.checkpoint.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_each_run_is_signed_and_kept_in_the_cluster() {
    let world = TestSite::boot().await;
    let settings = world.preflight().await.unwrap().settings;
    let (journal, state_dir) = (world.journal(), world.state_dir());
    let ending = pivot(&world, &journal, &settings).await;
    assert_eq!(outcome(&ending), Outcome::Completed);
    let first = in_the_cluster(&world, &settings.node).await;
    assert_eq!(outcome(&roll_back(&world, &journal, ending.run).await), Outcome::RolledBack);
    let second = in_the_cluster(&world, &settings.node).await;
    assert!(second.checkpoint.size > first.checkpoint.size, "the way back is signed, too");
    let known = [first, second].map(|note| Elsewhere { place: "the cluster".into(), note: Ok(note) });
    let report = verify(&journal.reader(), &state_dir, &known).unwrap();
    assert_eq!(report.worst(), Standing::Verified, "{report:#?}");

    // What the steps have changed is stated, from what to what.
    let to = tempfile::tempdir().unwrap();
    export(&journal.reader(), &state_dir, &[], to.path()).unwrap();
    assert_eq!(import::check(to.path(), &known).unwrap().worst(), Standing::Verified);
    let entries = std::fs::read_to_string(to.path().join("entries.jsonl")).unwrap();
    for words in ["\"login-uid\":\"1000\"", "\"name\":\"DaemonSet/kube-system/self-hosted-kube-scheduler\""] {
        assert!(entries.contains(words), "{words}");
    }
    let manifest = world.manifests().file("kube-scheduler.yaml").display().to_string();
    let change =
        entries.lines().find(|line| line.contains("retire-static/kube-scheduler") && line.contains("facts"));
    assert!(
        change.is_some_and(|change| change.contains(&manifest) && change.contains("\"after\":null")),
        "{entries}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_run_fails_of_its_evidence() {
    let world = TestSite::boot().await;
    let settings = world.preflight().await.unwrap().settings;
    let journal = world.journal();
    let ending = pivot(&world, &journal, &settings).await;
    // Neither the key nor its directory can be used any more.
    let evidence = world.state_dir().join("evidence");
    std::fs::remove_dir_all(&evidence).unwrap();
    std::fs::write(&evidence, "a file").unwrap();
    assert_eq!(outcome(&roll_back(&world, &journal, ending.run).await), Outcome::RolledBack);
    let said = SAID.lock().unwrap().clone();
    assert!(said.iter().any(|line| line.starts_with("UNSIGNED")), "{said:?}");
    world.assert_static("without evidence").await;
}

/// The texts of all files below a directory, but for the key itself.
fn texts(dir: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => texts(&path, found),
            false if path.ends_with("evidence/key") => {}
            false => found.push((path.display().to_string(), std::fs::read(&path).unwrap())),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_leaves_the_node() {
    let world = TestSite::boot().await;
    let client = world.simulator.client();
    let home = tempfile::tempdir().unwrap();
    let mut marks = Vec::new();
    for name in ["ca.key", "apiserver.key", "sa.key", "etcd-server.key", "admin.conf"] {
        let mark = format!("MARK-OF-{name}");
        std::fs::write(home.path().join(name), format!("-----BEGIN PRIVATE KEY-----\n{mark}\n")).unwrap();
        marks.push(mark);
    }
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "kube-system");
    let mut secret = Secret::default();
    secret.metadata.name = Some("bootstrap-token".to_owned());
    secret.data = Some([("token".to_owned(), ByteString(b"MARK-OF-TOKEN".to_vec()))].into());
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    marks.push("MARK-OF-TOKEN".to_owned());
    marks.push("TUFSSy1PRi1UT0tFT".to_owned()); // The same, as the API writes it.

    let mut settings = world.preflight().await.unwrap().settings;
    settings.kubeconfig = home.path().join("admin.conf");
    let (journal, state_dir) = (world.journal(), world.state_dir());
    let ending = pivot(&world, &journal, &settings).await;
    assert_eq!(outcome(&roll_back(&world, &journal, ending.run).await), Outcome::RolledBack);
    let key = std::fs::read_to_string(state_dir.join("evidence/key")).unwrap();
    // Behind the part that all keys have in common.
    marks.push(key.lines().nth(2).unwrap()[24..60].to_owned());
    let to = tempfile::tempdir().unwrap();
    export(&journal.reader(), &state_dir, &[], to.path()).unwrap();
    drop(journal);

    let mut found = Vec::new();
    texts(&state_dir, &mut found);
    texts(to.path(), &mut found);
    for arguments in [&["history"][..], &["history", "-o", "json"], &["history", "--verify"], &["status"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fulcrum"));
        let output = command.arg("--state-dir").arg(&state_dir).args(arguments).output().unwrap();
        found.push((format!("{arguments:?}"), [output.stdout, output.stderr].concat()));
    }
    let maps: Api<ConfigMap> = Api::namespaced(client, "kube-system");
    let map = maps.get("fulcrum").await.unwrap();
    found.push(("the ConfigMap".to_owned(), serde_json::to_vec(&map).unwrap()));
    let said = SAID.lock().unwrap().iter().cloned().collect::<Vec<_>>().join("\n");
    found.push(("what was said".to_owned(), said.into_bytes()));
    assert!(found.len() > 20 && !Reader::open(&state_dir).unwrap().runs().unwrap().is_empty());
    for (place, content) in found {
        for mark in &marks {
            let there = content.windows(mark.len()).any(|some| some == mark.as_bytes());
            assert!(!there, "{mark} is in {place}");
        }
    }
}
