//! `kubernetes` in `default`: where in-cluster clients find the API.
//!
//! A server puts its address in when it becomes ready and at every tick. It takes the address out when it is
//! told to end, although another server on that address may go on: `RemoveEndpoints` in Kubernetes' lease
//! reconciler, whose leases are named after the address. A killed server leaves it, and one with
//! `--endpoint-reconciler-type=none` never touches it. (With several control-plane nodes a server that
//! *starts* takes the address out, too, until it is ready. A server that is the only one, as here, refuses to
//! leave none.)

use super::{Now, World};
use crate::object::{Key, text};
use crate::process::Life;
use crate::resource::Resource;
use crate::store::Store;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// When each API server next puts its address in. A server that is not listed does not publish.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
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
    let publishing: Vec<u32> = world.endpoints.next.keys().copied().collect();
    for pid in publishing {
        match world.machine.procs.get(&pid).map(|p| (p.life, address(world, p))) {
            None => {
                world.endpoints.next.remove(&pid);
            }
            Some((Life::Ending(_), (ip, _))) => {
                world.endpoints.next.remove(&pid);
                withdraw(world, &ip, now);
            }
            Some(_) => {}
        }
    }
    let publishes = |p: &&crate::process::Proc| !p.program.leaves_endpoints;
    let due: Vec<(u32, String, u16)> = world
        .machine
        .api_servers()
        .filter(publishes)
        .filter(|p| world.endpoints.next.get(&p.pid).is_none_or(|at| now.at >= *at))
        .map(|p| {
            let (ip, port) = address(world, p);
            (p.pid, ip, port)
        })
        .collect();
    for (pid, ip, port) in due {
        world.endpoints.next.insert(pid, now.at + world.options.pace.endpoints);
        publish(world, &ip, port, now);
    }
}

fn address(world: &World, server: &crate::process::Proc) -> (String, u16) {
    let ip = server.program.advertises.unwrap_or(world.options.node_address).to_string();
    (ip, server.program.ports.first().map_or(6443, |port| port.number))
}

pub(super) fn publish(world: &mut World, ip: &str, port: u16, now: Now) {
    let subsets =
        json!([{"addresses": [{"ip": ip}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}]);
    let endpoint = json!([{"addresses": [ip], "conditions": {"ready": true}}]);
    let ports = json!([{"name": "https", "port": port, "protocol": "TCP"}]);
    let labels = json!({"endpointslice.kubernetes.io/skip-mirror": "true"});
    let service = json!({"kubernetes.io/service-name": "kubernetes"});
    let slice = json!({
        "metadata": {"name": "kubernetes", "labels": service},
        "addressType": "IPv4", "endpoints": endpoint, "ports": ports,
    });
    let object = json!({"metadata": {"name": "kubernetes", "labels": labels}, "subsets": subsets});
    let changed = put(world, "endpoints", object, "subsets", now)
        | put(world, "endpointslices", slice, "endpoints", now);
    if changed {
        world.log.add(now.at, "endpoints default/kubernetes", format!("{ip} put in"));
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
    let without = |object: &mut Value, field: &str| {
        if let Some(list) = object[field].as_array_mut() {
            list.retain(|entry| {
                !entry["addresses"].as_array().into_iter().flatten().any(|a| *a == ip || a["ip"] == ip)
            });
        }
    };
    let key = |plural| Key::new(plural, "default", "kubernetes");
    world.store.edit(&key("endpoints"), |object| without(object, "subsets"));
    world.store.edit(&key("endpointslices"), |object| without(object, "endpoints"));
    world.log.add(now.at, "endpoints default/kubernetes", format!("{ip} taken out"));
}
