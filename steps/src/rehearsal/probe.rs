//! Startup and readiness, as the kubelet finds out: it asks the port, and whoever listens there answers.
//!
//! With a shared port that can be another process than the one meant. A liveness probe that fails does
//! not restart anything here.

use super::options::RehearsalOptions;
use super::process::Machine;
use super::program::Program;
use super::world::Now;
use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::net::SocketAddr;
use std::time::Duration;

/// What the kubelet thinks of a container.
#[derive(Debug)]
pub(super) struct Probes {
    startup: Option<Target>,
    readiness: Option<Target>,
    pub(super) started: bool,
    pub(super) ready: bool,
    failures: u32,
    next: Duration,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Get {
        address: SocketAddr,
        path: String,
        tls: bool,
    },
    /// A port name that the container has not, a host that is no address.
    Nowhere,
}

/// Failures in a row that make a ready container unready (Kubernetes' default).
const FAILURES_MAX: u32 = 3;

impl Probes {
    /// A program whose ports are unknown here is not asked: it is ready as soon as it runs.
    pub(super) fn of(container: &Container, options: &RehearsalOptions) -> Self {
        let words: Vec<String> = container.command.iter().flatten().cloned().collect();
        let known = !Program::of(&words).ports.is_empty();
        let target =
            |p: &Option<Probe>| p.as_ref().filter(|_| known).and_then(|p| target(p, container, options));
        Self {
            startup: target(&container.startup_probe),
            readiness: target(&container.readiness_probe),
            started: false,
            ready: false,
            failures: 0,
            next: Duration::ZERO,
        }
    }

    /// The container has ended.
    pub(super) fn reset(&mut self) {
        (self.started, self.ready, self.failures) = (false, false, 0);
    }
}

/// Asks, if it is time to.
pub(super) fn advance(probes: &mut Probes, machine: &mut Machine, options: &RehearsalOptions, now: Now) {
    if now.at < probes.next {
        return;
    }
    probes.next = now.at + options.pace.probe;
    if !probes.started {
        probes.started = probes.startup.as_ref().is_none_or(|target| answers(target, machine));
    }
    if !probes.started {
        return;
    }
    if probes.readiness.as_ref().is_none_or(|target| answers(target, machine)) {
        (probes.ready, probes.failures) = (true, 0);
    } else {
        probes.failures += 1;
        probes.ready &= probes.failures < FAILURES_MAX;
    }
}

fn answers(target: &Target, machine: &mut Machine) -> bool {
    match target {
        Target::Get { address, path, tls } => {
            machine.ask(*address, path, *tls).is_ok_and(|(status, _)| (200..400).contains(&status))
        }
        Target::Nowhere => false,
    }
}

/// `None` for what is no HTTP probe: taken to succeed.
fn target(probe: &Probe, container: &Container, options: &RehearsalOptions) -> Option<Target> {
    let get = probe.http_get.as_ref()?;
    let port = match &get.port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => name.parse().ok().or_else(|| {
            let mut ports = container.ports.iter().flatten();
            ports.find(|p| p.name.as_ref() == Some(name)).map(|p| p.container_port)
        }),
    };
    let host = match get.host.as_deref() {
        None | Some("") => Some(options.node_address),
        Some(host) => host.parse().ok(),
    };
    let (Some(port), Some(host)) = (port.and_then(|p| u16::try_from(p).ok()), host) else {
        return Some(Target::Nowhere);
    };
    Some(Target::Get {
        address: SocketAddr::new(host, port),
        path: get.path.clone().unwrap_or_else(|| "/".into()),
        tls: get.scheme.as_deref() == Some("HTTPS"),
    })
}
