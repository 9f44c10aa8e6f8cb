//! Evidence of real runs: what is signed and kept in the cluster, and that no run fails of it.

use crate::support::{SOON, TestSite};
use fulcrum_engine::run::Phase;
use fulcrum_engine::state::{Journal, RunId};
use fulcrum_engine::{Ending, Outcome};
use fulcrum_evidence::export::export;
use fulcrum_evidence::import;
use fulcrum_evidence::key::PublicKey;
use fulcrum_evidence::note::Note;
use fulcrum_evidence::verify::{Elsewhere, Standing, verify};
use fulcrum_steps::cluster::Cluster;
use fulcrum_steps::guard::GuardEnv;
use fulcrum_steps::plan;
use fulcrum_steps::run_info::RunInfo;
use fulcrum_steps::sealer::Sealer;
use fulcrum_steps::settings::Settings;
use std::collections::BTreeSet;
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
    let note = Note::parse(&entry.checkpoint.unwrap()).unwrap();
    assert!(
        note.is_signed_by(&PublicKey::parse(&entry.key.unwrap()).unwrap()),
        "an auditor has the key from there"
    );
    note
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
