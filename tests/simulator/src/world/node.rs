//! One node: its machine, its kubelet, and what is broken there.

use super::election::Elections;
use super::endpoints::Publishing;
use super::kubelet::{self, Kubelet};
use super::{Now, World};
use crate::fault::{Faults, Flaw, Which};
use crate::object::time;
use crate::options::SimulatorOptions;
use crate::process::{Machine, Proc};
use crate::snapshot::Running;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

/// A node. Only its files and its object outlive a boot.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) options: SimulatorOptions,
    pub(crate) machine: Machine,
    pub(super) kubelet: Kubelet,
    pub(super) elections: Elections,
    pub(super) publishing: Publishing,
    pub(crate) faults: Faults,
    /// Nothing gets from this machine to another, or back.
    pub(super) is_cut_off: bool,
}

impl Node {
    pub(super) fn new(options: SimulatorOptions, number: usize) -> Self {
        Self {
            machine: Machine::new(&options, number),
            kubelet: Kubelet::default(),
            elections: Elections::default(),
            publishing: Publishing::default(),
            faults: Faults::default(),
            is_cut_off: false,
            options,
        }
    }

    /// Whether this node's API server answers under the usual port.
    pub(crate) fn api_up(&self) -> bool {
        let address = SocketAddr::new(self.machine.address, self.options.api_port);
        let reached: Vec<u32> =
            self.machine.sockets.reachable(address, self.machine.address).map(|socket| socket.pid).collect();
        self.machine.api_servers().any(|server| reached.contains(&server.pid))
    }

    /// When this process last looked at its lease. `None` if it is no candidate.
    pub(crate) fn looked_at_lease(&self, pid: u32) -> Option<Duration> {
        self.elections.looked_at(pid, self.options.pace.lease_retry)
    }

    /// Every process of a container.
    pub(super) fn running(&self) -> Vec<Running> {
        let running = |p: &Proc| Running {
            component: p.program.name.clone(),
            origin: p.owner.origin,
            pod: p.owner.pod.rsplit('/').next().unwrap_or_default().to_owned(),
            pod_uid: p.owner.pod_uid.clone(),
            pid: p.pid,
            listening: self.machine.sockets.of(p.pid).map(|s| s.port.number).collect(),
            shares_port: p.program.shares_port,
            ready: self.machine.is_ready(p.pid),
            certificates: p.held.digests(),
            ending: p.is_ending(),
        };
        self.machine.procs.values().filter(|p| !p.is_sandbox()).map(running).collect()
    }

    /// The node's object, as the kubelet registers it.
    pub(super) fn object(&self) -> Value {
        let options = &self.options;
        let (major, minor, patch) = options.kubernetes_version;
        let name = &options.node_name;
        let mut labels = json!(options.node_labels);
        labels["kubernetes.io/hostname"] = json!(name);
        labels["kubernetes.io/os"] = json!("linux");
        let taints: Vec<Value> =
            options.node_taints.iter().map(|key| json!({"key": key, "effect": "NoSchedule"})).collect();
        let version = format!("v{major}.{minor}.{patch}");
        let memory = format!("{}Ki", options.memory >> 10);
        let conditions = [
            ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
            ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
            ("PIDPressure", "False", "KubeletHasSufficientPID"),
            ("Ready", "True", "KubeletReady"),
        ];
        let since = time(Timestamp::UNIX_EPOCH);
        let conditions = conditions.map(|(kind, status, reason)| {
            json!({"type": kind, "status": status, "reason": reason, "lastTransitionTime": since})
        });
        json!({
            "metadata": {"name": name, "labels": labels},
            "spec": {"taints": taints},
            "status": {
                "addresses": [
                    {"type": "InternalIP", "address": options.node_address.to_string()},
                    {"type": "Hostname", "address": name},
                ],
                "allocatable": {"cpu": "2", "memory": memory, "pods": "110"},
                "capacity": {"cpu": "2", "memory": memory, "pods": "110"},
                "conditions": conditions,
                "nodeInfo": {
                    "bootID": self.machine.boot_id, "machineID": "rehearsal", "systemUUID": "rehearsal",
                    "kernelVersion": "6.18.0", "osImage": "rehearsal", "operatingSystem": "linux",
                    "architecture": "amd64", "containerRuntimeVersion": "rehearsal://1",
                    "kubeletVersion": version, "kubeProxyVersion": version,
                },
            },
        })
    }
}

/// What is done to a node from outside.
impl World {
    /// Turns the power off and on: processes are gone, objects and files stay.
    pub(crate) fn reboot(&mut self, number: usize, now: Now) {
        self.power_off(number, now);
        self.power_on(number, now);
    }

    /// Loses everything that only memory holds. No kubelet runs.
    pub(crate) fn power_off(&mut self, number: usize, now: Now) {
        let subject = self.subject("machine", number);
        let node = &mut self.nodes[number];
        node.machine.boot();
        node.elections = Elections::default();
        node.publishing = Publishing::default();
        node.kubelet = Kubelet::booted(Duration::MAX);
        self.log.add(now.at, subject, format!("reboots, boot id {}", node.machine.boot_id));
        self.note_quorum();
    }

    /// The kubelet starts.
    pub(crate) fn power_on(&mut self, number: usize, now: Now) {
        let node = &mut self.nodes[number];
        node.kubelet = Kubelet::booted(now.at + node.options.pace.boot);
    }

    /// Kills the processes meant. Returns how many they were.
    pub(crate) fn crash(&mut self, number: usize, which: &Which, now: Now) -> usize {
        let Self { nodes, log, .. } = self;
        let machine = &mut nodes[number].machine;
        let meant = |p: &&Proc| which.is(&p.program.name, p.owner.origin);
        let pids: Vec<u32> = machine.procs.values().filter(meant).map(|p| p.pid).collect();
        for pid in &pids {
            log.add(now.at, format!("process {pid}"), "is killed");
            machine.kill(*pid, 137);
        }
        self.note_quorum();
        pids.len()
    }

    /// Kills the processes meant and keeps them from being started until the flaw is cleared.
    pub(crate) fn hold_down(&mut self, number: usize, which: Which, now: Now) {
        self.crash(number, &which, now);
        self.nodes[number].faults.set_flaw(which, Flaw::HeldDown);
    }

    /// Makes the kubelet slower by this factor. A slow kubelet does not look again for a while.
    pub(crate) fn slow_kubelet(&mut self, number: usize, factor: u32, now: Now) {
        let node = &mut self.nodes[number];
        node.faults.kubelet_slowness = factor;
        kubelet::rest(node, now);
    }
}
