//! `kubernetes` in `default`: where in-cluster clients find the API.
//!
//! Each server has a lease in etcd, named after its address. A server renews its lease when it becomes ready
//! and at every tick, and then writes all addresses whose leases have not run out. It removes its lease and
//! its address when it is told to end, although another server on that address may go on:
//! `RemoveEndpoints` in Kubernetes' lease reconciler. A killed server leaves both: the address stays until the
//! lease has run out and another server ticks. A server with `--endpoint-reconciler-type=none` touches
//! neither.
//!
//! Where other servers have leases, a server that *starts* takes its address out, too, until it is ready. A
//! server that is the only one refuses to leave none.

use super::{Node, Now, World};
use crate::object::{Key, text};
use crate::process::{Life, Proc};
use crate::resource::Resource;
use crate::store::Store;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The leases in etcd: address and the instant at which it runs out.
#[derive(Debug, Default)]
pub(super) struct Leases {
    until: BTreeMap<String, Duration>,
    written: Option<Written>,
}

/// What was last written, and the versions of the objects since. While they stand, nothing has to be written again.
#[derive(Debug, PartialEq, Eq)]
struct Written {
    addresses: Vec<String>,
    port: u16,
    versions: [u64; 2],
}

/// When each API server of a node next renews its lease. A server that is not listed does not publish.
#[derive(Debug, Default)]
pub(super) struct Publishing {
    next: BTreeMap<u32, Duration>,
}

/// The addresses in the Endpoints object.
pub(super) fn published(store: &Store) -> Vec<String> {
    let object = store.get(&Key::new("endpoints", "default", "kubernetes"));
    let subsets = object.and_then(|o| o["subsets"].as_array()).into_iter().flatten();
    let addresses = subsets.flat_map(|s| s["addresses"].as_array().into_iter().flatten());
    addresses.map(|a| text(a, "/ip").to_owned()).collect()
}

pub(super) fn advance(world: &mut World, now: Now) {
    for number in 0..world.nodes.len() {
        for ip in ended(&mut world.nodes[number]).into_iter().chain(started(world, number, now)) {
            world.published.until.remove(&ip);
            withdraw(world, &ip, now);
        }
    }
    // All renew before any writes: what one thread does late looks as if each had done it in time.
    let due: Vec<(String, u16)> = world.nodes.iter_mut().flat_map(|node| renewing(node, now)).collect();
    let until = now.at + world.options.pace.endpoint_lease;
    world.published.until.extend(due.iter().map(|(ip, _)| (ip.clone(), until)));
    if let Some((_, port)) = due.first() {
        let addresses = live(world, now);
        let versions = |world: &World| world.store.all_changed(["endpoints", "endpointslices"]);
        let mut wanted = Written { addresses, port: *port, versions: versions(world) };
        if world.published.written.as_ref() != Some(&wanted) {
            publish(world, &wanted.addresses, *port, now);
            wanted.versions = versions(world);
            world.published.written = Some(wanted);
        }
    }
}

fn live(world: &World, now: Now) -> Vec<String> {
    world.published.until.iter().filter(|(_, until)| now.at < **until).map(|(ip, _)| ip.clone()).collect()
}

/// The addresses of this node's servers that have been told to end since. A server without etcd cannot say so.
fn ended(node: &mut Node) -> Vec<String> {
    let Node { publishing, machine, options, .. } = node;
    let mut ended = Vec::new();
    publishing.next.retain(|pid, _| match machine.procs.get(pid) {
        Some(proc) if matches!(proc.life, Life::Ending(_)) => {
            ended.extend(machine.has_quorum.then(|| address(proc, options.node_address).0));
            false
        }
        Some(_) => true,
        None => false,
    });
    ended
}

/// The addresses of this node's servers that have begun to listen, where there are others.
fn started(world: &mut World, number: usize, now: Now) -> Vec<String> {
    let others = live(world, now);
    let Node { publishing, machine, options, .. } = &mut world.nodes[number];
    let begins = |p: &&Proc| {
        p.program.name == "kube-apiserver"
            && matches!(p.life, Life::WarmingUp(_))
            && !p.program.leaves_endpoints
            && machine.has_quorum
            && !publishing.next.contains_key(&p.pid)
    };
    let begun = machine.procs.values().filter(begins).map(|p| (p.pid, address(p, options.node_address).0));
    let begun: Vec<(u32, String)> = begun.filter(|(_, ip)| others.iter().any(|other| other != ip)).collect();
    publishing.next.extend(begun.iter().map(|(pid, _)| (*pid, now.at)));
    begun.into_iter().map(|(_, ip)| ip).collect()
}

/// The addresses and ports of this node's servers whose time it is.
fn renewing(node: &mut Node, now: Now) -> Vec<(String, u16)> {
    let Node { publishing, machine, options, .. } = node;
    let publishes = machine.api_servers().filter(|p| !p.program.leaves_endpoints);
    let due = publishes.filter(|p| publishing.next.get(&p.pid).is_none_or(|at| now.at >= *at));
    let due: Vec<(u32, (String, u16))> =
        due.map(|proc| (proc.pid, address(proc, options.node_address))).collect();
    publishing.next.extend(due.iter().map(|(pid, _)| (*pid, now.at + options.pace.endpoints)));
    due.into_iter().map(|(_, address)| address).collect()
}

fn address(server: &Proc, node: std::net::IpAddr) -> (String, u16) {
    let ip = server.program.advertises.unwrap_or(node).to_string();
    (ip, server.program.ports.first().map_or(6443, |port| port.number))
}

pub(super) fn publish(world: &mut World, ips: &[String], port: u16, now: Now) {
    let addresses: Vec<Value> = ips.iter().map(|ip| json!({"ip": ip})).collect();
    let subsets =
        json!([{"addresses": addresses, "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}]);
    let endpoints: Vec<Value> =
        ips.iter().map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}})).collect();
    let ports = json!([{"name": "https", "port": port, "protocol": "TCP"}]);
    let labels = json!({"endpointslice.kubernetes.io/skip-mirror": "true"});
    let service = json!({"kubernetes.io/service-name": "kubernetes"});
    let slice = json!({
        "metadata": {"name": "kubernetes", "labels": service},
        "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
    });
    let object = json!({"metadata": {"name": "kubernetes", "labels": labels}, "subsets": subsets});
    let changed = put(world, "endpoints", object, "subsets", now)
        | put(world, "endpointslices", slice, "endpoints", now);
    if changed {
        world.log.add(now.at, "endpoints default/kubernetes", format!("{} put in", ips.join(", ")));
    }
}

/// Sets one field of the object, or makes the object. Returns whether that changed anything.
fn put(world: &mut World, plural: &'static str, object: Value, field: &str, now: Now) -> bool {
    let key = Key::new(plural, "default", "kubernetes");
    if let Some(there) = world.store.get(&key) {
        return there[field] != object[field]
            && world.store.edit(&key, |there| there[field] = object[field].clone());
    }
    let Some(resource) = Resource::named(plural) else { return false };
    world.store.create(resource, "default", object, now.wall).is_ok()
}

fn withdraw(world: &mut World, ip: &str, now: Now) {
    let key = |plural| Key::new(plural, "default", "kubernetes");
    world.store.edit(&key("endpoints"), |object| {
        let Some(subsets) = object["subsets"].as_array_mut() else { return };
        for subset in subsets.iter_mut() {
            if let Some(addresses) = subset["addresses"].as_array_mut() {
                addresses.retain(|address| address["ip"] != ip);
            }
        }
        subsets.retain(|subset| subset["addresses"].as_array().is_some_and(|list| !list.is_empty()));
    });
    world.store.edit(&key("endpointslices"), |object| {
        if let Some(list) = object["endpoints"].as_array_mut() {
            list.retain(|one| !one["addresses"].as_array().into_iter().flatten().any(|a| *a == ip));
        }
    });
    world.log.add(now.at, "endpoints default/kubernetes", format!("{ip} taken out"));
}
