//! The places in a container that name a port to connect to: probes and lifecycle handlers.

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::error::ManifestError;
use crate::component::Component;

/// The question for a component's readiness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthProbe {
    /// The host in the manifest. Without one the kubelet asks the pod's address, i.e. the node's.
    pub host: Option<String>,
    /// The port, always a number.
    pub port: u16,
    /// The path, with its leading slash.
    pub path: String,
    /// Whether to ask over HTTPS.
    pub tls: bool,
}

/// Probes and lifecycle hooks, in the order of the search.
const HOOKS: [&[&str]; 5] = [
    &["startupProbe"],
    &["readinessProbe"],
    &["livenessProbe"],
    &["lifecycle", "postStart"],
    &["lifecycle", "preStop"],
];

impl HealthProbe {
    /// What the container's readiness probe asks, else its liveness probe, else the question that the
    /// component answers without configuration. Passes over probes of other kinds than `httpGet`, and those
    /// of another port than the component's: another process answers there, and asks the component in turn.
    pub(super) fn of(container: &Map<String, Value>, component: Component, port: u16) -> HealthProbe {
        ["readinessProbe", "livenessProbe"]
            .into_iter()
            .filter_map(|probe| HealthProbe::from_http_get(container, container.get(probe)?.get("httpGet")?))
            .find(|probe| probe.port == port)
            .unwrap_or_else(|| HealthProbe {
                host: None,
                port,
                path: component.health_path().to_owned(),
                tls: true,
            })
    }

    fn from_http_get(container: &Map<String, Value>, get: &Value) -> Option<HealthProbe> {
        let text = |key: &str| get.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let path = text("path").unwrap_or("/");
        Some(HealthProbe {
            host: text("host").map(str::to_owned),
            port: port_number(container, get.get("port")?)?,
            path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") },
            tls: text("scheme") == Some("HTTPS"),
        })
    }
}

/// Checks that every port in a probe or handler of the container at `path` is one.
pub(super) fn check(container: &Map<String, Value>, path: &str) -> Result<(), ManifestError> {
    for hook in HOOKS {
        for action in ["httpGet", "tcpSocket"] {
            let Some(place) = walk(container, hook).and_then(|hook| hook.get(action)?.as_object()) else {
                continue;
            };
            let port = place.get("port").unwrap_or(&Value::Null);
            if port_number(container, port).is_none() {
                let at = format!("{path}.{}.{action}", hook.join("."));
                return Err(ManifestError::UnknownPort { at, seen: port.to_string() });
            }
        }
    }
    Ok(())
}

/// Whether the kubelet asks this port over loopback, by itself or by a command in the container.
pub(super) fn asks_loopback(container: &Map<String, Value>, port: u16) -> bool {
    let by_itself = asked(container).any(|(host, asked)| {
        asked == port
            && host.is_some_and(|host| {
                host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            })
    });
    let commands =
        HOOKS.iter().filter_map(|hook| walk(container, hook)?.get("exec")?.get("command")?.as_array());
    by_itself || commands.flatten().filter_map(Value::as_str).any(|word| names_loopback(word, port))
}

/// Whether a word has this port on loopback in it, as in `curl -k https://127.0.0.1:6443/livez`.
pub(super) fn names_loopback(word: &str, port: u16) -> bool {
    let behind = |text: String, ends: fn(&str) -> bool| {
        word.match_indices(&text).any(|(at, found)| ends(&word[at + found.len()..]))
    };
    ["127.0.0.1", "localhost", "[::1]"].iter().any(|host| {
        behind(format!("{host}:{port}"), |rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
            || port == 443 && behind(format!("https://{host}"), |rest| !rest.starts_with([':', '.']))
    })
}

/// Every port that the container's probes and handlers ask, with the host that they name.
pub(super) fn asked(container: &Map<String, Value>) -> impl Iterator<Item = (Option<&str>, u16)> {
    let actions = HOOKS.iter().flat_map(|hook| ["httpGet", "tcpSocket", "grpc"].map(|action| (hook, action)));
    actions.filter_map(|(hook, action)| {
        let place = walk(container, hook)?.get(action)?;
        let host = place.get("host").and_then(Value::as_str).filter(|host| !host.is_empty());
        Some((host, port_number(container, place.get("port")?)?))
    })
}

/// Makes the container independent of its node and of its own `ports`. Named ports become numbers, a host
/// that is one of the node's addresses goes, and then `ports` itself.
///
/// With `hostNetwork` the scheduler takes every entry of `ports` for a host port. It would not place the pod
/// on a node where the static pod holds that port. An address of one node would make the pods of all others
/// probe that node. Without `host` the kubelet asks the pod's own address. `127.0.0.1` is no node address:
/// the controller manager and the scheduler listen nowhere else.
pub(super) fn detach(container: &mut Map<String, Value>, node_addresses: &[IpAddr]) {
    for hook in HOOKS {
        for action in ["httpGet", "tcpSocket"] {
            let number =
                walk(container, hook).and_then(|hook| port_number(container, hook.get(action)?.get("port")?));
            let Some(place) =
                walk_mut(container, hook).and_then(|hook| hook.get_mut(action)?.as_object_mut())
            else {
                continue;
            };
            if let Some(number) = number {
                place.insert("port".to_owned(), number.into());
            }
            if place.get("host").and_then(Value::as_str).is_some_and(|host| is_one_of(host, node_addresses)) {
                place.remove("host");
            }
        }
    }
    container.remove("ports");
}

/// Makes every probe or handler of the container that asks port `from` ask port `to`.
pub(super) fn redirect(container: &mut Map<String, Value>, from: u16, to: u16) {
    for hook in HOOKS {
        for action in ["httpGet", "tcpSocket"] {
            let port = walk_mut(container, hook).and_then(|hook| hook.get_mut(action)?.get_mut("port"));
            if let Some(port) = port.filter(|port| port.as_u64() == Some(from.into())) {
                *port = to.into();
            }
        }
    }
}

/// Whether `host` is an address, with or without brackets, and is one of `addresses`.
pub(super) fn is_one_of(host: &str, addresses: &[IpAddr]) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let address = bare.parse::<IpAddr>().map(|address| address.to_canonical());
    address.is_ok_and(|address| addresses.iter().any(|own| own.to_canonical() == address))
}

/// A port as the kubelet resolves it: a number, the name of one of the container's ports, or a number in
/// quotes.
fn port_number(container: &Map<String, Value>, port: &Value) -> Option<u16> {
    let number = match port {
        Value::String(name) => {
            let named = container.get("ports").and_then(Value::as_array).and_then(|ports| {
                ports.iter().find(|port| port.get("name").and_then(Value::as_str) == Some(name))
            });
            match named {
                Some(port) => port.get("containerPort")?.as_u64()?,
                None => name.parse().ok()?,
            }
        }
        other => other.as_u64()?,
    };
    u16::try_from(number).ok().filter(|number| *number != 0)
}

fn walk<'a>(container: &'a Map<String, Value>, keys: &[&str]) -> Option<&'a Value> {
    let (first, rest) = keys.split_first()?;
    rest.iter().try_fold(container.get(*first)?, |value, key| value.get(*key))
}

fn walk_mut<'a>(container: &'a mut Map<String, Value>, keys: &[&str]) -> Option<&'a mut Value> {
    let (first, rest) = keys.split_first()?;
    rest.iter().try_fold(container.get_mut(*first)?, |value, key| value.get_mut(*key))
}
