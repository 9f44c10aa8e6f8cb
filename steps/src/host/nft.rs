//! New connections that arrive at another port: the table `inet fulcrum` of nftables, through `nft -j`.
//!
//! This module asks `nft` rather than the kernel. Its JSON is stable, and a person who has to mend something
//! can read the rules with `nft list table inet fulcrum`. The crates that speak netlink are bindings to C
//! libraries, or know neither `fib` nor `dnat`. Every change is one transaction. No other table is ever
//! named.
//!
//! The rules rest on these facts, each kept true by `kernel/tests`:
//!
//! * Only SYNs match. When the first rule comes, connection tracking also takes up connections in the middle,
//!   and would have them translated.
//! * A connection with one of our marks is meant for the listener on the real port, also at an address that
//!   is not loopback. A mark does not leave the machine. So only `output` looks at it.
//! * `dnat to :port` keeps the address. So a server that is bound to one address can be reached.
//! * `fib daddr type local`: a node also forwards its pods' connections to other nodes' API servers, which
//!   have the same port.
//! * Connections are translated as long as they are tracked, and they are tracked as long as some rule in the
//!   namespace needs it. Once the last `dnat` or `ct` and the last chain of type nat have gone, the kernel no
//!   longer translates even live connections, and they are reset. So ending a redirect leaves the chains, and
//!   in them a rule whose only use is to need tracking.
//!
//! The kernel knows a connection that was reset for 10 s. A new one from the same port arrives where the old
//! one did: at a bridge that may have gone, or past the redirect. `kernel/tracking.rs` sees to that.

use super::edge::{Hindrance, HostError, MARK_NEWCOMER, MARK_SERVING, Redirect, RedirectState};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const FAMILY: &str = "inet";
const TABLE: &str = "fulcrum";
/// Where connections from outside and from pods come in, and where those of this machine go out.
const CHAINS: [&str; 2] = ["prerouting", "output"];
/// Before kube-proxy's translation of services, which is at -100: the first translation decides.
const PRIORITY: i32 = -110;
/// A transaction takes some 10 ms. `nft` waits for the kernel's lock, without end, if another process holds
/// it.
const DONE_WITHIN: Duration = Duration::from_secs(5);

pub(super) async fn redirect(redirect: &Redirect) -> Result<(), HostError> {
    change("redirect new connections", &["-j", "-f", "-"], &start(redirect)).await
}

/// Has the kernel check a redirect without making it.
pub(super) async fn support() -> Result<(), HostError> {
    let address = IpAddr::from([192, 0, 2, 1]);
    let sample = Redirect { port: 1, to: 2, services: vec![SocketAddr::new(address, 1)], address };
    change("check a redirect with nft", &["-j", "-c", "-f", "-"], &start(&sample)).await
}

pub(super) async fn end() -> Result<(), HostError> {
    if state().await? == RedirectState::Absent {
        return Ok(());
    }
    change("end the redirect", &["-j", "-f", "-"], &stop()).await
}

pub(super) async fn forget() -> Result<(), HostError> {
    // Declared before it is deleted. So a missing table is no error.
    let commands = vec![json!({"add": {"table": table()}}), json!({"delete": {"table": table()}})];
    change("forget the redirect", &["-j", "-f", "-"], &transaction(commands)).await
}

pub(super) async fn state() -> Result<RedirectState, HostError> {
    let attempt = "look at the tables of nft";
    let tables = nft(attempt, &["-j", "list", "tables"], None).await?;
    if !objects(attempt, &tables)?.iter().any(|object| is_ours(&object["table"])) {
        return Ok(RedirectState::Absent);
    }
    let attempt = "look at nft's table inet fulcrum";
    let listed = nft(attempt, &["-j", "list", "table", FAMILY, TABLE], None).await?;
    let translates = |expression: &Value| {
        expression.as_array().into_iter().flatten().any(|part| part.get("dnat").is_some())
    };
    let active = objects(attempt, &listed)?.iter().any(|object| translates(&object["rule"]["expr"]));
    Ok(if active { RedirectState::Active } else { RedirectState::Ended })
}

/// The transaction that sets this redirect up, in place of any earlier one.
fn start(redirect: &Redirect) -> Value {
    let translated = |[left, right]: [Value; 2], to: Value| json!([left, right, is_syn(), { "dnat": to }]);
    let mut commands = chains();
    let marks = json!({"set": [MARK_SERVING, MARK_NEWCOMER]});
    let marked = matches(json!({"meta": {"key": "mark"}}), &marks);
    commands.push(rule("output", json!([marked, {"return": null}])));
    for chain in CHAINS {
        for (family, loopback) in
            [("ip", json!({"prefix": {"addr": "127.0.0.0", "len": 8}})), ("ip6", json!("::1"))]
        {
            commands
                .push(rule(chain, json!([matches(payload(family, "daddr"), &loopback), {"return": null}])));
        }
        let here = matches(json!({"fib": {"result": "type", "flags": ["daddr"]}}), &json!("local"));
        let port = matches(payload("tcp", "dport"), &json!(redirect.port));
        commands.push(rule(chain, translated([here, port], json!({"port": redirect.to}))));
        // A translation stays in its address family.
        let address = redirect.address;
        for service in redirect.services.iter().filter(|service| service.is_ipv4() == address.is_ipv4()) {
            let family = if service.is_ipv4() { "ip" } else { "ip6" };
            let from = matches(payload(family, "daddr"), &json!(service.ip().to_string()));
            let port = matches(payload("tcp", "dport"), &json!(service.port()));
            let to = json!({"family": family, "addr": address.to_string(), "port": redirect.to});
            commands.push(rule(chain, translated([from, port], to)));
        }
    }
    transaction(commands)
}

/// The transaction that leaves what live connections need. No packet that comes to these chains is untracked.
fn stop() -> Value {
    let untracked = matches(json!({"ct": {"key": "state"}}), &json!("untracked"));
    let keep = |chain| rule(chain, json!([untracked, {"return": null}]));
    transaction(chains().into_iter().chain(CHAINS.map(keep)).collect())
}

fn rule(chain: &str, expression: Value) -> Value {
    json!({"add": {"rule": {"family": FAMILY, "table": TABLE, "chain": chain, "expr": expression}}})
}

/// The table and its chains, without any rule.
fn chains() -> Vec<Value> {
    let mut commands = vec![json!({"add": {"table": table()}})];
    for name in CHAINS {
        let mut chain = json!({"family": FAMILY, "table": TABLE, "name": name});
        let flush = json!({"flush": {"chain": chain}});
        for (key, value) in [
            ("type", json!("nat")),
            ("hook", json!(name)),
            ("prio", json!(PRIORITY)),
            ("policy", json!("accept")),
        ] {
            chain[key] = value;
        }
        commands.extend([json!({"add": {"chain": chain}}), flush]);
    }
    commands
}

fn transaction(commands: Vec<Value>) -> Value {
    json!({ "nftables": commands })
}

fn table() -> Value {
    json!({"family": FAMILY, "name": TABLE})
}

fn is_ours(table: &Value) -> bool {
    table["family"] == FAMILY && table["name"] == TABLE
}

fn payload(protocol: &str, field: &str) -> Value {
    json!({"payload": {"protocol": protocol, "field": field}})
}

fn matches(left: Value, right: &Value) -> Value {
    json!({"match": {"op": "==", "left": left, "right": right}})
}

/// The packet that begins a connection: SYN without ACK.
fn is_syn() -> Value {
    matches(json!({"&": [payload("tcp", "flags"), {"|": ["syn", "ack"]}]}), &json!("syn"))
}

fn objects(attempt: &str, output: &[u8]) -> Result<Vec<Value>, HostError> {
    let parsed: Value = serde_json::from_slice(output).map_err(|error| HostError::new(attempt, error))?;
    parsed["nftables"].as_array().cloned().ok_or_else(|| HostError::new(attempt, "nft did not list anything"))
}

async fn change(attempt: &str, arguments: &[&str], transaction: &Value) -> Result<(), HostError> {
    nft(attempt, arguments, Some(transaction.to_string())).await.map(|_| ())
}

async fn nft(attempt: &str, arguments: &[&str], input: Option<String>) -> Result<Vec<u8>, HostError> {
    let output = match tokio::time::timeout(DONE_WITHIN, run(arguments, input)).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(HostError::hindered(Hindrance::Unsupported, attempt, "nft is not installed"));
        }
        Ok(Err(error)) => return Err(HostError::new(attempt, error)),
        Err(_) => return Err(HostError::new(attempt, format!("nft has not ended within {DONE_WITHIN:?}"))),
    };
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or("nft failed and said nothing").to_owned();
    Err(HostError::hindered(hindrance(&said), attempt, said))
}

/// Reads the cause from the words of `nft`, which passes on what the kernel said only there.
fn hindrance(said: &str) -> Hindrance {
    match said {
        said if said.contains("Operation not permitted") => Hindrance::NotPermitted,
        said if said.contains("Operation not supported")
            || said.contains("Protocol not supported")
            || said.contains("JSON support not compiled-in") =>
        {
            Hindrance::Unsupported
        }
        // A check of our own rules: this kernel lacks an expression.
        said if said.contains("No such file or directory") => Hindrance::Unsupported,
        _ => Hindrance::Other,
    }
}

async fn run(arguments: &[&str], input: Option<String>) -> std::io::Result<Output> {
    let mut command = Command::new("nft");
    command.args(arguments).env("LC_ALL", "C").kill_on_drop(true);
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut nft = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let (Some(mut stdin), Some(input)) = (nft.stdin.take(), input) {
        match stdin.write_all(input.as_bytes()).await {
            // `nft` has not read all of it. Its own words say why.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            written => written?,
        }
    }
    nft.wait_with_output().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_these_rules() {
        let redirect = Redirect {
            port: 6443,
            to: 16443,
            services: vec!["10.96.0.1:443".parse().unwrap(), "[fd00::1]:443".parse().unwrap()],
            address: "10.0.0.9".parse().unwrap(),
        };
        let transaction = start(&redirect);
        let commands = transaction["nftables"].as_array().unwrap();
        // The table, two chains with a flush each, the rule for marks, and four rules each. The service of
        // another family has none.
        assert_eq!(commands.len(), 1 + 2 * 2 + 1 + 2 * 4);
        let marked = &commands[5]["add"]["rule"];
        assert_eq!(marked["chain"], "output");
        assert_eq!(marked["expr"][0]["match"]["right"], json!({"set": [0xFE, 0xFF]}));
        let chain = json!({"family": "inet", "table": "fulcrum", "name": "prerouting", "type": "nat",
            "hook": "prerouting", "prio": -110, "policy": "accept"});
        assert_eq!(commands[1]["add"]["chain"], chain);
        let rule = &commands[8]["add"]["rule"];
        let syn = json!({"match": {"op": "==", "right": "syn", "left":
            {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, {"|": ["syn", "ack"]}]}}});
        assert_eq!(rule["chain"], "prerouting");
        assert_eq!(rule["expr"].as_array().unwrap()[2..], [syn, json!({"dnat": {"port": 16443}})]);
        let service = &commands[9]["add"]["rule"]["expr"];
        assert_eq!(service[0]["match"]["right"], "10.96.0.1");
        assert_eq!(service[3], json!({"dnat": {"family": "ip", "addr": "10.0.0.9", "port": 16443}}));
    }
}
