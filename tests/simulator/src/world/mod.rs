//! The whole simulation, in one struct, and the order in which its parts move. The modules below are the
//! actors: each is a function that moves the world on to an instant.

mod daemonset;
mod election;
mod endpoints;
mod garbage;
mod kubelet;
mod network;
mod node;
mod node_lifecycle;
mod revisions;
mod scheduler;
#[cfg(test)]
mod tests;

pub(super) use network::{Caller, Target};
pub(super) use node::Node;

use crate::etcd::Alarm;
use crate::log::Log;
use crate::options::SimulatorOptions;
use crate::process::Proc;
use crate::reader::Files;
use crate::resource::Resource;
use crate::snapshot::Snapshot;
use crate::store::Store;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The instant of an event, handed in from outside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// Since the rehearsal began.
    pub(super) at: Duration,
    pub(super) wall: Timestamp,
}

/// The simulated cluster: what its nodes share, and the nodes. Only the store outlives a boot of all nodes.
#[derive(Debug)]
pub(super) struct World {
    /// The first node's. What is not a node's own is the cluster's.
    pub(super) options: SimulatorOptions,
    pub(super) store: Store,
    /// At least one. Its place here is a node's number.
    pub(super) nodes: Vec<Node>,
    published: endpoints::Leases,
    daemons: daemonset::Daemons,
    heartbeats: node_lifecycle::Heartbeats,
    collected: garbage::Collected,
    scheduled: scheduler::Scheduled,
    /// What etcd's members report.
    pub(super) alarm: Option<Alarm>,
    pub(super) log: Log,
    /// How often all watches were cut.
    pub(super) watch_cuts: u64,
    /// For each API server that serves: the version at which it began to serve.
    caches: BTreeMap<u32, u64>,
    /// How many connections the balancer has given out.
    balanced: usize,
    /// How often the world has moved.
    rounds: usize,
}

impl World {
    /// A cluster fresh from `kubeadm init` and `kubeadm join`: namespaces and the nodes, nothing running yet.
    pub(super) fn new(first: SimulatorOptions, others: Vec<SimulatorOptions>, now: Now) -> Self {
        let options = first.clone();
        let all = std::iter::once(first).chain(others);
        let mut world = Self {
            store: Store::new(options.history),
            nodes: all.enumerate().map(|(number, options)| Node::new(options, number)).collect(),
            published: endpoints::Leases::default(),
            daemons: daemonset::Daemons::default(),
            heartbeats: node_lifecycle::Heartbeats::default(),
            collected: garbage::Collected::default(),
            scheduled: scheduler::Scheduled::default(),
            alarm: None,
            log: Log::default(),
            watch_cuts: 0,
            caches: BTreeMap::new(),
            balanced: 0,
            rounds: 0,
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
        for number in 0..world.nodes.len() {
            let node = world.nodes[number].object();
            world.seed("nodes", "", node, now);
        }
        if world.options.endpoints_by_hand {
            let addresses: Vec<String> =
                world.nodes.iter().map(|node| node.options.node_address.to_string()).collect();
            let port = world.options.api_port;
            endpoints::publish(&mut world, &addresses, port, now);
        }
        world.note_quorum();
        world
    }

    fn seed(&mut self, plural: &str, namespace: &str, object: Value, now: Now) {
        let Some(resource) = Resource::named(plural) else { return };
        if let Err(failure) = self.store.create(resource, namespace, object, now.wall) {
            self.log.add(now.at, plural, failure.message);
        }
    }

    /// Moves everything on to `now`. `files` are the files in each node's manifests directory.
    pub(super) fn advance(&mut self, now: Now, files: &[&Files]) {
        self.rounds = self.rounds.wrapping_add(1);
        let up: Vec<bool> = self.nodes.iter().map(Node::api_up).collect();
        for node in &mut self.nodes {
            node.machine.advance(now.at, &self.options.pace, &node.faults, &mut self.log);
        }
        self.note_quorum();
        self.note_caches();
        for (number, files) in files.iter().enumerate() {
            kubelet::advance(self, number, now, files);
        }
        self.note_quorum();
        election::advance(self, now);
        endpoints::advance(self, now);
        daemonset::advance(self, now);
        scheduler::advance(self, now);
        garbage::advance(self, now);
        node_lifecycle::advance(self, now);
        for (number, was_up) in up.into_iter().enumerate() {
            if was_up != self.nodes[number].api_up() {
                let subject = self.subject("api", number);
                self.log.add(now.at, subject, if was_up { "is down" } else { "is up" });
            }
        }
    }

    /// The subject of a line of the log. Names the node where there are several.
    fn subject(&self, what: &str, number: usize) -> String {
        match self.nodes.len() {
            1 => what.to_owned(),
            _ => format!("{what} of {}", self.nodes[number].options.node_name),
        }
    }

    /// The process with this pid, and its node's number. No two nodes have a pid in common.
    pub(super) fn process(&self, pid: u32) -> Option<(usize, &Proc)> {
        let mut nodes = self.nodes.iter().enumerate();
        nodes.find_map(|(number, node)| Some((number, node.machine.procs.get(&pid)?)))
    }

    /// This API server knows every change from this version on.
    pub(super) fn known_since(&self, server: u32) -> u64 {
        let began = self.caches.get(&server).copied().unwrap_or(self.store.version());
        began.max(self.store.history.oldest())
    }

    /// A server's watch cache begins with a list, when it starts to serve.
    fn note_caches(&mut self) {
        let Self { caches, nodes, store, .. } = self;
        caches.retain(|pid, _| nodes.iter().any(|node| node.machine.procs.contains_key(pid)));
        for server in nodes.iter().flat_map(|node| node.machine.api_servers()) {
            caches.entry(server.pid).or_insert(store.version());
        }
    }

    /// What runs on this node, and what the cluster says.
    pub(super) fn snapshot(&self, number: usize) -> Snapshot {
        let node = &self.nodes[number];
        Snapshot {
            boot_id: node.machine.boot_id.clone(),
            api_up: node.api_up(),
            processes: node.running(),
            leaders: election::leaders(self),
            endpoints: endpoints::published(&self.store),
        }
    }
}
