use super::Pace;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// The options of a rehearsal.
#[derive(Debug, Clone)]
pub struct SimulatorOptions {
    /// Name of the node.
    pub node_name: String,
    /// Its address: `InternalIP`, `status.hostIP`, and the target of `kubernetes`.
    pub node_address: IpAddr,
    /// Labels of the node, apart from its hostname.
    pub node_labels: BTreeMap<String, String>,
    /// Taint keys of the node, each with effect `NoSchedule`.
    pub node_taints: Vec<String>,
    /// The real directory that the simulated kubelet reads. It never writes there.
    pub manifests_dir: PathBuf,
    /// Version of API server and kubelet.
    pub kubernetes_version: (u16, u16, u16),
    /// Memory of the machine in bytes.
    pub memory: u64,
    /// The port under which every client knows the API: people's clients, the kubelet, controllers.
    pub api_port: u16,
    /// Whether etcd runs outside of pods, where the simulation cannot break it.
    pub etcd_outside: bool,
    /// Whether a person has written the endpoints of `kubernetes`, because no API server does.
    pub endpoints_by_hand: bool,
    /// How many changes are kept for watches. A watch from an earlier version is told 410 Expired.
    pub history: usize,
    /// How long things take.
    pub pace: Pace,
    /// The seed for the choice of the listener that answers on a shared port.
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

    /// The node's `/etc/kubernetes`: where its manifests directory is.
    pub(super) fn root(&self) -> PathBuf {
        self.manifests_dir.parent().unwrap_or(&self.manifests_dir).to_owned()
    }

    /// Another control-plane node of this cluster, the one with this number (the first is 0): the next name
    /// and address, and a manifests directory of its own.
    #[must_use]
    pub fn beside(&self, number: u8, manifests_dir: impl Into<PathBuf>) -> Self {
        let name = self.node_name.strip_suffix("-1").unwrap_or(&self.node_name);
        Self {
            node_name: format!("{name}-{}", u16::from(number) + 1),
            node_address: next(self.node_address, number),
            manifests_dir: manifests_dir.into(),
            ..self.clone()
        }
    }
}

/// The address that comes so many places after this one, in its last octet.
fn next(address: IpAddr, number: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            IpAddr::from([a, b, c, d.wrapping_add(number)])
        }
        IpAddr::V6(v6) => {
            let mut octets = v6.octets();
            octets[15] = octets[15].wrapping_add(number);
            IpAddr::from(octets)
        }
    }
}
