//! The ports that a container's words and variables tell its program to listen on, where no `ports` and no probe has
//! them: `--listen=:3990`, `--agent-port 8132`, `LISTEN_ADDR=127.0.0.1:8787`.
//!
//! Programs differ. A name that speaks of listening, of binding or of a port of its own is believed. A name that speaks
//! of another's port is not.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Map, Value};

use super::variables::Variables;

/// Parts of a name that speak of the program's own socket.
const OWN: [&str; 3] = ["listen", "bind", "serving"];
/// Parts of a name whose port is that of another program, to which this one connects.
const OTHERS: [&str; 13] = [
    "upstream",
    "backend",
    "remote",
    "target",
    "etcd",
    "apiserver",
    "api-server",
    "kube",
    "peer",
    "proxy-to",
    "dest",
    "forward",
    "connect",
];
/// Names of the other end, beside which `--port` is the other end's.
const HOSTS: [&str; 3] = ["host", "hostname", "server"];

/// The ports, without zero, which means none or any.
pub(super) fn told(container: &Map<String, Value>) -> BTreeSet<u16> {
    let variables = Variables::of(container);
    let words: Vec<String> = ["command", "args"]
        .iter()
        .filter_map(|key| container.get(*key)?.as_array())
        .flatten()
        .filter_map(|word| Some(variables.expand(word.as_str()?)))
        .collect();
    let flags = words.iter().enumerate().filter_map(|(at, word)| {
        let text = word.strip_prefix('-')?;
        let text = text.strip_prefix('-').unwrap_or(text);
        let next = || words.get(at + 1).filter(|next| !next.starts_with('-'));
        text.split_once('=').or_else(|| Some((text, next()?.as_str())))
    });
    let env = container.get("env").and_then(Value::as_array).into_iter().flatten();
    let env = env.filter_map(|variable| Some((variable["name"].as_str()?, variable["value"].as_str()?)));
    let named = |(name, value): (&str, &str)| {
        (
            name.to_ascii_lowercase().replace('_', "-"),
            value.split_once("://").map_or(value, |(_, rest)| rest).to_owned(),
        )
    };
    let all: Vec<(String, String)> = flags.chain(env).map(named).collect();
    let is_client = all.iter().any(|(name, value)| HOSTS.contains(&name.as_str()) && !is_here(value));
    let ports = all.iter().filter(|(name, _)| !(is_client && name == "port"));
    ports.filter_map(|(name, value)| port_of(name, value)).filter(|port| *port != 0).collect()
}

/// Whether a host is this machine.
fn is_here(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    matches!(host, "" | "localhost") || address.is_ok_and(|ip| ip.is_unspecified() || ip.is_loopback())
}

/// The port in the value of a flag or variable whose name speaks of the program's own. Nobody connects to an address
/// that stands for all of a machine: it is listened on, whatever the name.
fn port_of(name: &str, value: &str) -> Option<u16> {
    if OTHERS.iter().any(|part| name.contains(part)) {
        return None;
    }
    let value = value.split(['/', ',']).next()?;
    let everywhere = ["", "0.0.0.0", "[::]", "*"];
    match value.rsplit_once(':') {
        Some((host, port)) if everywhere.contains(&host) || OWN.iter().any(|part| name.contains(part)) => {
            port.parse().ok()
        }
        Some(_) => None,
        None if OWN.iter().any(|part| name.contains(part)) => value.parse().ok(),
        None => (name == "port" || name.ends_with("-port")).then(|| value.parse().ok())?,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_are_those_that_the_program_opens_itself() {
        let of = |args: &[&str], env: Value| -> Vec<u16> {
            told(json!({ "args": args, "env": env }).as_object().unwrap()).into_iter().collect()
        };
        for (args, ports) in [
            (&["--listen=:3990"][..], &[3990][..]),
            (&["-listen", "127.0.0.1:8787"], &[8787]),
            (&["--bind-address", "[::]:9443"], &[9443]),
            (&["--listen-client-urls=https://127.0.0.1:2379,https://192.0.2.10:2379"], &[2379]),
            (
                &["--server-port=0", "--agent-port=8132", "--admin_port", "8133", "--health-port=8134"],
                &[8132, 8133, 8134],
            ),
            (&["server", "--address=127.0.0.1", "--port=21362"], &[21362]),
            (&["--port", "$(PORT)"], &[8081]),
            (&["--host=0.0.0.0", "--port=8080", "--metrics-addr=:8081"], &[8080, 8081]),
            (&["--host=db.example.org", "--port=5432", "--vault-address=192.0.2.7:8200"], &[]),
            (&["--listen=unix:///run/kms.sock", "--uds-name=/run/k.socket"], &[]),
            (&["--server=https://192.0.2.10:6443", "--etcd-port=2379", "--upstream-port=6443"], &[]),
            (&["--remote=192.0.2.1:514", "--kube-api-port=6443", "--port-name", "9", "--listen"], &[]),
        ] {
            let env = if args.contains(&"$(PORT)") {
                json!([{ "name": "PORT", "value": "8081" }])
            } else {
                json!([])
            };
            assert_eq!(of(args, env), ports, "{args:?}");
        }
        for (name, value, ports) in [
            ("LISTEN_ADDR", "0.0.0.0:8081", &[8081][..]),
            ("PORT", "8082", &[8082]),
            ("KUBERNETES_PORT", "443", &[]),
        ] {
            assert_eq!(of(&[], json!([{ "name": name, "value": value }])), ports, "{name}");
        }
    }
}
