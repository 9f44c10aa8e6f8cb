//! The behaviour of a simulated process. Its command line alone decides it.

use super::fault::Flaw;
use fulcrum_steps::component::Component;
use fulcrum_steps::manifest::Started;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The place where a process will listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) number: u16,
    /// Unspecified (`::` or `0.0.0.0`): all addresses.
    pub(super) bind: IpAddr,
    pub(super) tls: bool,
}

/// A command line, understood.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Program {
    /// Base name of the executable: `kube-apiserver`.
    pub(super) name: String,
    pub(super) ports: Vec<Port>,
    /// `--permit-port-sharing=true`: every socket gets `SO_REUSEPORT`.
    pub(super) shares_port: bool,
    /// The lease this program leads by; `None` if it does not elect.
    pub(super) lease: Option<String>,
    /// It does a controller's work without being elected (`--leader-elect=false`).
    pub(super) unelected: bool,
    /// The port of an etcd on this machine that it needs for its work.
    pub(super) etcd: Option<u16>,
    /// The address that it publishes. If absent, the node's.
    pub(super) advertises: Option<IpAddr>,
    /// `--endpoint-reconciler-type=none`: leaves the `kubernetes` endpoints alone.
    pub(super) leaves_endpoints: bool,
    /// `--version` or `--help`: it prints something and ends with 0.
    pub(super) only_prints: bool,
    /// `--simulate=…`: its flaw.
    pub(super) flaw: Option<Flaw>,
}

const ANY: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

impl Program {
    /// Ports and addresses have the defaults of the real programs. The product's own rules read the
    /// components' words: what it takes for a component is one, and with the flags that it sees.
    pub(super) fn of(command: &[String]) -> Self {
        match Started::of(command) {
            Some(started) => Self::of_component(&started),
            None => Self::of_other(command),
        }
    }

    fn of_other(command: &[String]) -> Self {
        let base = |word: &String| word.rsplit('/').next().unwrap_or_default().to_owned();
        let etcd = command.iter().position(|word| !word.starts_with('-') && base(word) == "etcd");
        let command = &command[etcd.unwrap_or(0)..];
        let mut program = Self {
            flaw: flag_value(command, "simulate").and_then(Flaw::named),
            only_prints: prints(|name| flag_value(command, name).map(str::to_owned)),
            name: command.first().map(base).unwrap_or_default(),
            ..Self::default()
        };
        if program.name == "etcd" {
            program.ports = etcd_ports(command);
        }
        program
    }

    fn of_component(started: &Started) -> Self {
        let (component, flag) = (started.component(), |name: &str| started.flag(name));
        let number = flag("secure-port").and_then(|v| v.parse().ok()).unwrap_or(component.default_port());
        let bind = flag("bind-address").and_then(|v| v.parse().ok()).unwrap_or(ANY);
        let mut program = Self {
            shares_port: started.is_on("permit-port-sharing") == Some(true),
            flaw: flag("simulate").as_deref().and_then(Flaw::named),
            only_prints: prints(flag),
            name: component.name().to_owned(),
            ports: vec![Port { number, bind, tls: true }],
            ..Self::default()
        };
        if component == Component::ApiServer {
            program.etcd = flag("etcd-servers").as_deref().and_then(local_etcd);
            program.advertises = flag("advertise-address").and_then(|v| v.parse().ok());
            program.leaves_endpoints = flag("endpoint-reconciler-type").as_deref() == Some("none");
        } else if started.is_on("leader-elect") == Some(false) {
            program.unelected = true;
        } else {
            program.lease = Some(flag("leader-elect-resource-name").unwrap_or(program.name.clone()));
        }
        program
    }

    /// Resident memory in bytes, of the order seen on a small real cluster.
    pub(super) fn memory(&self) -> u64 {
        let mib = match self.name.as_str() {
            "kube-apiserver" => 300,
            "kube-controller-manager" | "etcd" => 100,
            "kube-scheduler" => 60,
            _ => 1,
        };
        mib << 20
    }
}

/// Whether a flag makes the program print something and end.
fn prints(flag: impl Fn(&str) -> Option<String>) -> bool {
    ["version", "help"].iter().any(|name| flag(name).is_some_and(|value| value != "false"))
}

/// The value of `--flag=value`. Empty for a bare `--flag`. The last one counts, as in the real programs.
pub(super) fn flag_value<'a>(command: &'a [String], flag: &str) -> Option<&'a str> {
    command.iter().rev().find_map(|argument| {
        let rest = argument.strip_prefix("--")?.strip_prefix(flag)?;
        if rest.is_empty() { Some("") } else { rest.strip_prefix('=') }
    })
}

fn etcd_ports(command: &[String]) -> Vec<Port> {
    let listed = |flag: &str, default: &str| {
        flag_value(command, flag).unwrap_or(default).split(',').filter_map(url).collect::<Vec<_>>()
    };
    let urls = [
        listed("listen-client-urls", "http://127.0.0.1:2379"),
        listed("listen-peer-urls", "http://127.0.0.1:2380"),
        listed("listen-metrics-urls", ""),
    ];
    urls.into_iter().flatten().map(|(bind, number, tls)| Port { number, bind, tls }).collect()
}

/// The port of the first etcd on a loopback address. Any other etcd counts as present.
fn local_etcd(servers: &str) -> Option<u16> {
    servers.split(',').filter_map(url).find(|(host, ..)| host.is_loopback()).map(|(_, port, _)| port)
}

fn url(text: &str) -> Option<(IpAddr, u16, bool)> {
    let uri: http::Uri = text.trim().parse().ok()?;
    let host = uri.host()?.trim_matches(['[', ']']);
    let address = if host == "localhost" { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { host.parse().ok()? };
    Some((address, uri.port_u16()?, uri.scheme_str() == Some("https")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(command: &str) -> Program {
        Program::of(&command.split(' ').map(Into::into).collect::<Vec<_>>())
    }

    #[test]
    fn flags_decide() {
        let server = program(
            "/usr/bin/kube-apiserver --secure-port=7443 --etcd-servers=https://127.0.0.1:2379 \
             --permit-port-sharing=true --endpoint-reconciler-type=none --advertise-address=10.0.0.9",
        );
        assert_eq!(server.ports, [Port { number: 7443, bind: ANY, tls: true }]);
        assert!(server.shares_port && server.leaves_endpoints);
        assert_eq!((server.etcd, server.advertises), (Some(2379), "10.0.0.9".parse().ok()));

        let scheduler = program("kube-scheduler --bind-address=127.0.0.1 --leader-elect=true");
        assert_eq!(scheduler.ports[0].bind, IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(scheduler.lease.as_deref(), Some("kube-scheduler"));
        assert!(!scheduler.shares_port);
        assert!(program("kube-controller-manager --leader-elect=false").unelected);

        // What the product takes for a component is one here.
        let wrapped =
            program("/go-runner --log-file=/x /bin/kube-apiserver --secure-port 7443 --permit_port_sharing");
        assert_eq!((wrapped.name.as_str(), wrapped.ports[0].number), ("kube-apiserver", 7443));
        assert!(wrapped.shares_port);
        let words = ["/bin/sh", "-c", "exec \"$0\" \"$@\"", "kube-scheduler", "--leader-elect=false"];
        assert!(Program::of(&words.map(Into::into)).unelected);
        assert_eq!(Program::of(&["sh", "-c", "exec kube-apiserver --a"].map(Into::into)).ports, []);

        let etcd = program("etcd --listen-client-urls=https://127.0.0.1:2379,https://10.0.0.10:2379");
        assert_eq!(
            etcd.ports.iter().map(|p| (p.number, p.tls)).collect::<Vec<_>>(),
            [(2379, true), (2379, true), (2380, false)]
        );
    }
}
