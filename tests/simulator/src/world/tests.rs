//! Actors that rest: what stands still stays as if each of them looked all the time.

use super::{Now, World};
use crate::object::Key;
use crate::reader::Reader;
use crate::resource::Resource;
use crate::store::{Deletion, Part};
use crate::{SimulatorOptions, write_control_plane};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;
use tempfile::TempDir;

const RESOURCES: [&str; 3] = ["daemonsets", "nodes", "pods"];
/// More rounds than anything takes that happens at one instant.
const ROUNDS: usize = 20;

/// A control plane that moves when it is told to.
struct Still {
    world: World,
    dir: TempDir,
    files: Reader,
    now: Now,
}

impl Still {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = SimulatorOptions::new(dir.path());
        write_control_plane(&options).unwrap();
        let now = Now { at: Duration::ZERO, wall: Timestamp::UNIX_EPOCH };
        Self { world: World::new(options, Vec::new(), now), dir, files: Reader::default(), now }
    }

    /// One round at this instant. Returns the versions of what the actors look at.
    fn round(&mut self) -> [u64; 3] {
        self.files.read(self.dir.path()).unwrap();
        self.world.advance(self.now, &[self.files.files()]);
        self.world.store.all_changed(RESOURCES)
    }

    /// Moves on by so many milliseconds. At each of them, when nothing changes any more, every actor looks again: it must
    /// find nothing to do.
    fn moves_on(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds {
            self.now.at += Duration::from_millis(1);
            let mut seen = self.round();
            let still = (0..ROUNDS).any(|_| {
                let before = std::mem::replace(&mut seen, self.round());
                before == seen
            });
            assert!(still, "nothing ends at {:?}: {:#?}", self.now.at, self.world.log.lines());
            self.world.daemons.seen = None;
            (self.world.collected, self.world.scheduled) = Default::default();
            self.world.heartbeats.tainted = None;
            let kubelet = &mut self.world.nodes[0].kubelet;
            (kubelet.told, kubelet.mirrored, kubelet.reported) = (None, None, None);
            assert_eq!(self.round(), seen, "missed at {:?}: {:#?}", self.now.at, self.world.log.lines());
        }
    }

    fn pods(&self) -> Vec<&Value> {
        let own = |pod: &&Value| pod["metadata"]["labels"]["app"] == "a";
        self.world.store.list("pods", None).map(|pod| &**pod).filter(own).collect()
    }
}

#[test]
fn an_actor_that_rests_misses_nothing() {
    let mut still = Still::new();
    still.moves_on(60);
    let (sets, key) = (Resource::named("daemonsets").unwrap(), Key::new("daemonsets", "kube-system", "a"));
    let labels = json!({"app": "a"});
    let set = json!({"metadata": {"name": "a"}, "spec": {
        "minReadySeconds": 9,
        "selector": {"matchLabels": labels},
        "updateStrategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {"metadata": {"labels": labels}, "spec": {
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "a", "image": "registry.k8s.io/a:1"}],
        }},
    }});
    let mut made = (*still.world.store.create(sets, "kube-system", set, still.now.wall).unwrap()).clone();
    still.moves_on(30);
    assert_eq!(still.world.store.get(&key).unwrap()["status"]["numberAvailable"], 1);
    let first = still.pods()[0]["metadata"]["uid"].clone();
    // Another template: the old pod goes when time has made the new one available.
    made["spec"]["template"]["metadata"]["annotations"] = json!({"changed": "yes"});
    made["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    still.world.store.replace(sets, &key, made, Part::Main, still.now.wall).unwrap();
    still.moves_on(5);
    assert_eq!(still.pods().len(), 2);
    still.moves_on(30);
    assert!(still.pods().len() == 1 && still.pods()[0]["metadata"]["uid"] != first);
    // The mirror pod that a client removes comes back.
    let mirror = Key::new("pods", "kube-system", "kube-scheduler-node-1");
    still.world.store.remove(&mirror).unwrap();
    still.moves_on(10);
    assert!(still.world.store.get(&mirror).is_some());
    let how = Deletion { propagation: Some("Foreground".to_owned()), ..Deletion::default() };
    let _ = still.world.store.delete(sets, &key, &how, still.now.wall).unwrap();
    still.moves_on(30);
    assert!(still.pods().is_empty() && still.world.store.get(&key).is_none());
}
