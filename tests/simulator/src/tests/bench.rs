//! A simulated control plane for one test, and the waits on it.

use crate::{Pace, Simulator, SimulatorOptions, Snapshot, write_control_plane};
use kube::Api;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use std::time::Duration;

pub(super) const SOON: Duration = Duration::from_secs(10);

/// A rehearsal of a whole control plane, and its directory.
pub(super) struct Bench {
    pub(super) simulator: Simulator,
    pub(super) dir: tempfile::TempDir,
}

impl Bench {
    /// A bench with the built-in control plane up and both leases led.
    pub(super) async fn up() -> Self {
        Self::up_at(Pace::default()).await
    }

    pub(super) async fn up_at(pace: Pace) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = SimulatorOptions { pace, ..SimulatorOptions::new(dir.path()) };
        write_control_plane(&options).unwrap();
        let bench = Self { simulator: Simulator::start(options).unwrap(), dir };
        bench.until("a control plane", |s| s.api_up && s.leaders.len() == 2).await;
        bench
    }

    pub(super) async fn until(&self, what: &str, holds: impl FnMut(&Snapshot) -> bool + Send) -> Snapshot {
        match self.simulator.until(what, SOON, holds).await {
            Ok(seen) => seen,
            Err(e) => panic!("{e}\n{:#?}", self.simulator.log()),
        }
    }

    /// Waits for a condition on what the API says.
    pub(super) async fn until_object<K>(&self, api: &Api<K>, name: &str, holds: impl Fn(Option<&K>) -> bool)
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        let mut last = None;
        let look = async {
            let mut tick = tokio::time::interval(Duration::from_millis(2));
            loop {
                tick.tick().await;
                last = api.get_opt(name).await.ok();
                if last.as_ref().is_some_and(|object| holds(object.as_ref())) {
                    break;
                }
            }
        };
        if tokio::time::timeout(SOON, look).await.is_err() {
            panic!("{name}: last seen {last:#?}\n{:#?}", self.simulator.log());
        }
    }

    pub(super) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.simulator.client(), "kube-system")
    }

    pub(super) fn manifest(&self, component: &str) -> PathBuf {
        self.dir.path().join(format!("{component}.yaml"))
    }

    pub(super) fn rewrite(&self, component: &str, from: &str, to: &str) {
        let path = self.manifest(component);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from));
        let mut file = tempfile::Builder::new().prefix(".").tempfile_in(self.dir.path()).unwrap();
        std::io::Write::write_all(&mut file, text.replace(from, to).as_bytes()).unwrap();
        file.persist(path).unwrap();
    }
}

/// A rehearsal of three nodes, and their directories.
pub(super) struct Nodes {
    pub(super) simulator: Simulator,
    _dirs: [tempfile::TempDir; 3],
}

impl Nodes {
    /// Three nodes whose API servers serve and are published, with both leases led.
    pub(super) async fn up() -> Self {
        let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let first = SimulatorOptions::new(dirs[0].path());
        let others: Vec<_> =
            (1..).zip(&dirs[1..]).map(|(number, dir)| first.beside(number, dir.path())).collect();
        std::iter::once(&first).chain(&others).for_each(|options| write_control_plane(options).unwrap());
        let nodes = Self { simulator: Simulator::start_with(first, others).unwrap(), _dirs: dirs };
        nodes.all_serve().await;
        nodes
    }

    pub(super) async fn all_serve(&self) {
        for number in 0..3 {
            let whole = |s: &Snapshot| s.api_up && s.leaders.len() == 2 && s.endpoints.len() == 3;
            self.until(number, "a whole control plane", whole).await;
        }
    }

    pub(super) async fn until(
        &self,
        number: usize,
        what: &str,
        holds: impl FnMut(&Snapshot) -> bool + Send,
    ) -> Snapshot {
        match self.simulator.node(number).until(what, SOON, holds).await {
            Ok(seen) => seen,
            Err(e) => panic!("{e}\n{:#?}", self.simulator.log()),
        }
    }
}
