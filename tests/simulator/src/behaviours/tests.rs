use super::{ALL, Ground, SECOND_PORT, Tempo};
use crate::{Simulator, SimulatorOptions, write_control_plane};
use fulcrum_steps::host::ManifestsDir;
use std::collections::BTreeMap;

/// The rehearsal's half. `examples/behaviours.rs` asks a real node the same questions.
#[tokio::test(flavor = "multi_thread")]
async fn the_rehearsal_behaves_as_a_cluster_does() {
    let dir = tempfile::tempdir().unwrap();
    let options = SimulatorOptions::new(dir.path());
    write_control_plane(&options).unwrap();
    let simulator = Simulator::start(options).unwrap();
    let clients = (simulator.client(), simulator.client_at(SECOND_PORT));
    let manifests = ManifestsDir::new(dir.path());
    let ground = Ground::survey(clients, manifests, simulator.host(), Tempo::REHEARSAL).await.unwrap();
    let before = files(&ground.manifests);
    let mut failed = Vec::new();
    for behaviour in ALL {
        if let Err(error) = behaviour.check(&ground).await {
            failed.push(format!("{}: {error}", behaviour.name));
        }
        assert_eq!(files(&ground.manifests), before, "{} left something behind", behaviour.name);
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

fn files(manifests: &ManifestsDir) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(manifests.path()).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())).collect()
}
