use super::Pace;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// What a rehearsal is started with.
#[derive(Debug, Clone)]
pub struct SimulatorOptions {
    /// Name of the one node.
    pub node_name: String,
    /// Its address: `InternalIP`, `status.hostIP`, and what `kubernetes` points to.
    pub node_address: IpAddr,
    /// Labels of the node beside its hostname.
    pub node_labels: BTreeMap<String, String>,
    /// Taint keys of the node, each with effect `NoSchedule`.
    pub node_taints: Vec<String>,
    /// The real directory that the simulated kubelet reads. It is never written to.
    pub manifests_dir: PathBuf,
    /// Version of API server and kubelet.
    pub kubernetes_version: (u16, u16, u16),
    /// Memory of the machine in bytes.
    pub memory: u64,
    /// The port under which everybody knows the API: clients, kubelet, controllers.
    pub api_port: u16,
    /// Whether etcd runs outside of pods, where nothing here can break it.
    pub etcd_outside: bool,
    /// Whether a person has written the endpoints of `kubernetes`, because no API server does.
    pub endpoints_by_hand: bool,
    /// How many changes are kept for watches. A watch from a version before them is told 410 Expired.
    pub history: usize,
    /// How long things take.
    pub pace: Pace,
    /// Which listener of a shared port answers is drawn from this.
    pub seed: u64,
}

impl SimulatorOptions {
    /// A kubeadm 1.35.3 node `node-1` that reads `manifests_dir`: control-plane role, label and taint.
    pub fn new(manifests_dir: impl Into<PathBuf>) -> Self {
        let role = "node-role.kubernetes.io/control-plane";
        Self {
            node_name: "node-1".into(),
            node_address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)),
            node_labels: BTreeMap::from([(role.into(), String::new())]),
            node_taints: vec![role.into()],
            manifests_dir: manifests_dir.into(),
            kubernetes_version: (1, 35, 3),
            memory: 4 << 30,
            api_port: 6443,
            etcd_outside: false,
            endpoints_by_hand: false,
            history: 1000,
            pace: Pace::default(),
            seed: 1,
        }
    }
}
