//! Looks at the files, and asks the processes.

use super::judge::{Clock, Inventory, judge};
use super::read::{self, Certificate};
use super::seen::{Running, Seen};
use super::used::{Program, Used, flag};
use crate::component::Component;
use crate::host::{Host, HostError, Listener, Presented, Process};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The port of each component, as its flags say.
pub type Ports = BTreeMap<Component, u16>;

/// How long all questions may take where nobody waits for the answer. There are some ten.
const ALL_WITHIN: Duration = Duration::from_secs(15);
/// How long one question may take.
const WITHIN: Duration = Duration::from_secs(1);
/// The kubelet's port, for which kubeadm has no other.
const KUBELET: u16 = 10250;
/// By this name the API server is asked for the certificate that it presents to itself.
const LOOPBACK: &str = "apiserver-loopback-client";

/// Every certificate that this machine's control plane uses. `root` is `/etc/kubernetes`. Never fails: what cannot be
/// seen is said.
pub async fn inventory(host: &dyn Host, ports: &Ports, root: &Path, pace: Pace) -> Inventory {
    let Pace { minute, within } = pace;
    let host = &Asked { host, end: Instant::now() + within };
    let mut seen = Seen { processes: processes(host, ports).await, ..Seen::default() };
    for dir in [root.join("pki"), root.join("pki/etcd")] {
        for path in read::files(&dir, "crt") {
            seen.read_pem(path);
        }
    }
    for path in read::files(root, "conf") {
        seen.read_kubeconfig(path);
    }
    let used: Vec<Used> = seen.processes.iter().flat_map(|one| one.uses.clone()).collect();
    for Used { path, kubeconfig, .. } in used {
        match kubeconfig {
            _ if !path.exists() => drop(seen.missing.insert(path)),
            true => seen.read_kubeconfig(path),
            false => seen.read_pem(path),
        }
    }
    judge(&seen, root, Clock { now: Timestamp::now(), minute })
}

/// How long things take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How often a process looks at its files that looks each minute.
    pub minute: Duration,
    /// No question to a process outlasts this. Each has a limit of its own, too.
    pub within: Duration,
}

impl Pace {
    /// A patient one.
    pub fn patient(minute: Duration) -> Self {
        Self { minute, within: ALL_WITHIN }
    }
}

/// The machine, and when the last question must be answered.
struct Asked<'a> {
    host: &'a dyn Host,
    end: Instant,
}

impl Asked<'_> {
    /// The answer, if it comes in time.
    async fn within<T>(&self, question: impl Future<Output = Result<T, HostError>>) -> Result<T, String> {
        match timeout_at(self.end.min(Instant::now() + WITHIN), question).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }
}

/// The processes that listen on the control plane's ports, with what they present.
async fn processes(host: &Asked<'_>, ports: &Ports) -> Vec<Running> {
    let mut found = Vec::new();
    let components = ports.values().copied();
    for port in components.chain([KUBELET]) {
        on_port(host, port, &mut found).await;
    }
    for port in etcd_ports(&found) {
        on_port(host, port, &mut found).await;
    }
    found
}

/// The ports of the etcd servers that the API servers name. Only those that listen here are looked at.
fn etcd_ports(found: &[Running]) -> BTreeSet<u16> {
    let servers = found.iter().filter_map(|one| flag(&one.process.command, "etcd-servers"));
    let urls = servers.flat_map(|servers| servers.split(',').map(str::to_owned).collect::<Vec<_>>());
    urls.filter_map(|url| url.trim().parse::<http::Uri>().ok()?.port_u16()).collect()
}

async fn on_port(host: &Asked<'_>, port: u16, found: &mut Vec<Running>) {
    let Ok(listeners) = host.within(host.host.listeners(port)).await else { return };
    for listener in listeners {
        let Some(program) = Program::of(&listener.process.command) else { continue };
        if found.iter().any(|one| one.process.pid == listener.process.pid) {
            continue;
        }
        found.push(running(host, program, listener).await);
    }
}

async fn running(host: &Asked<'_>, program: Program, listener: Listener) -> Running {
    let at = reachable(listener.address);
    let process = listener.process;
    let asked = host.within(host.host.presented(at, None)).await;
    let presents = asked.and_then(|presented| of_process(&presented, &process));
    let loopback = match program {
        Program::Component(Component::ApiServer) => {
            let asked = host.within(host.host.presented(at, Some(LOOPBACK))).await;
            let found = asked.and_then(|presented| of_process(&presented, &process));
            // A server that does not know the name presents what it presents to everybody.
            found.ok().filter(|found| presents.as_ref().is_ok_and(|usual| !usual.is(found)))
        }
        _ => None,
    };
    let uses = program.uses(&process.command);
    Running {
        program,
        started: host.within(host.host.started(&process)).await,
        uses,
        presents,
        loopback,
        process,
    }
}

/// The certificate, if this process has presented it.
fn of_process(presented: &Presented, process: &Process) -> Result<Certificate, String> {
    match &presented.process {
        Some(by) if by.pid != process.pid => Err(format!("pid {} answers on its port at present", by.pid)),
        _ => {
            let leaf = presented.chain.first().ok_or("it presents none")?;
            Certificate::of_der(leaf)
        }
    }
}

/// Where a socket can be reached from this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip().to_canonical() {
        ip if !ip.is_unspecified() => ip,
        // Go's sockets for all addresses are IPv6 sockets, also where no IPv6 address is configured. They take
        // IPv4.
        _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    SocketAddr::new(ip, address.port())
}
