//! The whole simulation, in one struct, and the order in which its parts move. The modules below are the
//! actors: each is a function that moves the world on to an instant.

mod daemonset;
mod election;
mod endpoints;
mod garbage;
mod kubelet;
mod node_lifecycle;
mod scheduler;

use crate::fault::{Faults, Flaw, Which};
use crate::log::Log;
use crate::object::time;
use crate::options::SimulatorOptions;
use crate::process::Machine;
use crate::reader::Files;
use crate::resource::Resource;
use crate::snapshot::{Running, Snapshot};
use crate::store::Store;
use election::Elections;
use endpoints::Endpoints;
use jiff::Timestamp;
use kubelet::Kubelet;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// The instant of an event, handed in from outside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// Since the rehearsal began.
    pub(super) at: Duration,
    pub(super) wall: Timestamp,
}

/// The simulated cluster. Only the store outlives a boot.
#[derive(Debug)]
pub(super) struct World {
    pub(super) options: SimulatorOptions,
    pub(super) store: Store,
    pub(super) machine: Machine,
    kubelet: Kubelet,
    elections: Elections,
    endpoints: Endpoints,
    daemons: daemonset::Daemons,
    pub(super) faults: Faults,
    pub(super) log: Log,
    /// How often all watches were cut.
    pub(super) watch_cuts: u64,
    /// For each API server that serves: the version at which it began to serve.
    caches: BTreeMap<u32, u64>,
}

impl World {
    /// A cluster fresh from `kubeadm init`: namespaces and the node, nothing running yet.
    pub(super) fn new(options: SimulatorOptions, now: Now) -> Self {
        let mut world = Self {
            store: Store::new(options.history),
            machine: Machine::new(options.node_address, options.memory, options.seed),
            kubelet: Kubelet::default(),
            elections: Elections::default(),
            endpoints: Endpoints::default(),
            daemons: daemonset::Daemons::default(),
            faults: Faults::default(),
            log: Log::default(),
            watch_cuts: 0,
            caches: BTreeMap::new(),
            options,
        };
        for namespace in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            world.seed("namespaces", "", json!({"metadata": {"name": namespace}}), now);
        }
        let service = json!({
            "metadata": {"name": "kubernetes"},
            "spec": {
                "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"],
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": world.options.api_port}],
            },
        });
        world.seed("services", "default", service, now);
        let node = node(&world);
        world.seed("nodes", "", node, now);
        world.machine.etcd_outside = world.options.etcd_outside;
        if world.options.endpoints_by_hand {
            let (ip, port) = (world.options.node_address.to_string(), world.options.api_port);
            endpoints::publish(&mut world, &ip, port, now);
        }
        world
    }

    fn seed(&mut self, plural: &str, namespace: &str, object: Value, now: Now) {
        let Some(resource) = Resource::named(plural) else { return };
        if let Err(failure) = self.store.create(resource, namespace, object, now.wall) {
            self.log.add(now.at, plural, failure.message);
        }
    }

    /// Moves everything on to `now`. `files` are the files in the manifests directory.
    pub(super) fn advance(&mut self, now: Now, files: &Files) {
        let up = self.api_up();
        self.machine.advance(now.at, &self.options.pace, &self.faults, &mut self.log);
        self.note_caches();
        kubelet::advance(self, now, files);
        election::advance(self, now);
        endpoints::advance(self, now);
        daemonset::advance(self, now);
        scheduler::advance(self, now);
        garbage::advance(self, now);
        node_lifecycle::advance(self, now);
        if up != self.api_up() {
            self.log.add(now.at, "api", if up { "is down" } else { "is up" });
        }
    }

    /// Whether the API answers under its usual port.
    pub(super) fn api_up(&self) -> bool {
        self.server_at(self.options.api_port).is_some()
    }

    /// The oldest ready API server among those that a connection to this port may reach.
    fn server_at(&self, port: u16) -> Option<u32> {
        let address = SocketAddr::new(self.machine.address, port);
        let reached: Vec<u32> =
            self.machine.sockets.reachable(address, self.machine.address).map(|socket| socket.pid).collect();
        self.machine.api_servers().map(|server| server.pid).find(|pid| reached.contains(pid))
    }

    /// This API server knows every change from this version on.
    pub(super) fn known_since(&self, server: u32) -> u64 {
        let began = self.caches.get(&server).copied().unwrap_or(self.store.version());
        began.max(self.store.history.oldest())
    }

    /// A server's watch cache begins with a list, when it starts to serve.
    fn note_caches(&mut self) {
        self.caches.retain(|pid, _| self.machine.procs.contains_key(pid));
        for server in self.machine.api_servers() {
            self.caches.entry(server.pid).or_insert(self.store.version());
        }
    }

    /// When this process last looked at its lease. `None` if it is no candidate.
    pub(super) fn looked_at_lease(&self, pid: u32) -> Option<Duration> {
        self.elections.looked_at(pid, self.options.pace.lease_retry)
    }

    /// Turns the power off and on: processes are gone, objects and files stay.
    pub(super) fn reboot(&mut self, now: Now) {
        self.power_off(now);
        self.power_on(now);
    }

    /// Loses everything that only memory holds. No kubelet runs.
    pub(super) fn power_off(&mut self, now: Now) {
        self.machine.boot();
        self.elections = Elections::default();
        self.endpoints = Endpoints::default();
        self.kubelet = Kubelet::booted(Duration::MAX);
        self.log.add(now.at, "machine", format!("reboots, boot id {}", self.machine.boot_id));
    }

    /// The kubelet starts.
    pub(super) fn power_on(&mut self, now: Now) {
        self.kubelet = Kubelet::booted(now.at + self.options.pace.boot);
    }

    /// Kills the processes meant. Returns how many they were.
    pub(super) fn crash(&mut self, which: &Which, now: Now) -> usize {
        let meant = |p: &&crate::process::Proc| which.is(&p.program.name, p.owner.origin);
        let pids: Vec<u32> = self.machine.procs.values().filter(meant).map(|p| p.pid).collect();
        for pid in &pids {
            self.log.add(now.at, format!("process {pid}"), "is killed");
            self.machine.kill(*pid, 137);
        }
        pids.len()
    }

    /// Kills the processes meant and keeps them from being started until the flaw is cleared.
    pub(super) fn hold_down(&mut self, which: Which, now: Now) {
        self.crash(&which, now);
        self.faults.set_flaw(which, Flaw::HeldDown);
    }

    /// Makes the kubelet slower by this factor. A slow kubelet does not look again for a while.
    pub(super) fn slow_kubelet(&mut self, factor: u32, now: Now) {
        self.faults.kubelet_slowness = factor;
        kubelet::rest(self, now);
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let running = |p: &crate::process::Proc| Running {
            component: p.program.name.clone(),
            origin: p.owner.origin,
            pod: p.owner.pod.rsplit('/').next().unwrap_or_default().to_owned(),
            pod_uid: p.owner.pod_uid.clone(),
            pid: p.pid,
            listening: self.machine.sockets.of(p.pid).map(|s| s.port.number).collect(),
            shares_port: p.program.shares_port,
            ready: self.machine.is_ready(p.pid),
            ending: p.is_ending(),
        };
        Snapshot {
            boot_id: self.machine.boot_id.clone(),
            api_up: self.api_up(),
            processes: self.machine.procs.values().filter(|p| !p.is_sandbox()).map(running).collect(),
            leaders: self.elections.leaders(self),
            endpoints: endpoints::published(&self.store),
        }
    }
}

fn node(world: &World) -> Value {
    let options = &world.options;
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
                "bootID": world.machine.boot_id, "machineID": "rehearsal", "systemUUID": "rehearsal",
                "kernelVersion": "6.18.0", "osImage": "rehearsal", "operatingSystem": "linux",
                "architecture": "amd64", "containerRuntimeVersion": "rehearsal://1",
                "kubeletVersion": version, "kubeProxyVersion": version,
            },
        },
    })
}
