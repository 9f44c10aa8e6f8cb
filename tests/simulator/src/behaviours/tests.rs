use super::{ALL, Behaviour, Ground, Other, SECOND_PORT, SEVERAL, Tempo};
use crate::{Simulator, SimulatorOptions, write_certificates, write_control_plane};
use fulcrum_steps::host::ManifestsDir;
use std::collections::BTreeMap;

/// The rehearsal's half. `examples/behaviours.rs` asks a real node the same questions.
#[tokio::test(flavor = "multi_thread")]
async fn the_rehearsal_behaves_as_a_cluster_does() {
    let dir = tempfile::tempdir().unwrap();
    let manifests = dir.path().join("manifests");
    std::fs::create_dir(&manifests).unwrap();
    let options = SimulatorOptions::new(&manifests);
    write_control_plane(&options).unwrap();
    write_certificates(&options).unwrap();
    let simulator = Simulator::start(options).unwrap();
    let clients = (simulator.client(), simulator.client_at(SECOND_PORT));
    let manifests = ManifestsDir::new(manifests);
    let ground = Ground::survey(clients, manifests, simulator.host(), Tempo::REHEARSAL).await.unwrap();
    all_hold(ALL, &ground).await;
}

/// From the second of three nodes: the first one's place is nothing special.
#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_of_several_nodes_behaves_as_a_cluster_does() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let first = SimulatorOptions::new(dirs[0].path());
    let others: Vec<_> =
        (1..).zip(&dirs[1..]).map(|(number, dir)| first.beside(number, dir.path())).collect();
    std::iter::once(&first).chain(&others).for_each(|options| write_control_plane(options).unwrap());
    let simulator = Simulator::start_with(first, others).unwrap();
    let here = simulator.node(1);
    let clients = (here.client(), here.client_at(SECOND_PORT));
    let manifests = ManifestsDir::new(dirs[1].path());
    let ground = Ground::survey(clients, manifests, here.host(), Tempo::REHEARSAL).await.unwrap();
    let others = [simulator.node(0), simulator.node(2)];
    let others = others.map(|node| Other { node: node.name().to_owned(), client: node.client() });
    all_hold(SEVERAL, &ground.beside(others.into())).await;
}

async fn all_hold(behaviours: &[Behaviour], ground: &Ground) {
    let before = files(&ground.manifests);
    let mut failed = Vec::new();
    for behaviour in behaviours {
        if let Err(error) = behaviour.check(ground).await {
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
