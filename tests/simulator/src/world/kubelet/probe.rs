//! Startup, liveness and readiness, as the kubelet finds out: it asks the port, and the process that listens
//! there answers.
//!
//! With a shared port that can be another process than the one meant. All probes go at one pace. The manifest
//! says how many failures count as one.

use crate::options::SimulatorOptions;
use crate::process::Machine;
use crate::program::Program;
use crate::world::Now;
use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The kubelet's view of a container.
#[derive(Debug)]
pub(super) struct Probes {
    startup: Option<Asked>,
    liveness: Option<Asked>,
    readiness: Option<Asked>,
    pub(super) started: bool,
    pub(super) ready: bool,
    next: Duration,
}

/// One probe, and how often in a row it failed.
#[derive(Debug)]
struct Asked {
    target: Target,
    failures: u32,
    /// This many failures in a row count as one.
    threshold: u32,
}

/// The target of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Get {
        address: SocketAddr,
        path: String,
        tls: bool,
    },
    /// A port name that the container lacks, or a host that is no address.
    Nowhere,
}

impl Probes {
    /// `command` is what runs in the container. An unknown program is not asked: it is ready as soon as it
    /// runs.
    pub(super) fn of(container: &Container, command: &[String], options: &SimulatorOptions) -> Self {
        let program = Program::of(command);
        let known = !program.ports.is_empty() || program.name == "pause";
        let asked = |probe: &Option<Probe>| {
            let probe = probe.as_ref().filter(|_| known)?;
            let threshold = probe.failure_threshold.and_then(|n| u32::try_from(n).ok()).unwrap_or(3);
            Some(Asked { target: target(probe, container, options)?, failures: 0, threshold })
        };
        Self {
            startup: asked(&container.startup_probe),
            liveness: asked(&container.liveness_probe),
            readiness: asked(&container.readiness_probe),
            started: false,
            ready: false,
            next: Duration::ZERO,
        }
    }

    /// The container has ended.
    pub(super) fn reset(&mut self) {
        (self.started, self.ready) = (false, false);
        for asked in [&mut self.startup, &mut self.liveness, &mut self.readiness].into_iter().flatten() {
            asked.failures = 0;
        }
    }
}

impl Asked {
    /// Asks, and returns whether the probe succeeds. Counts failures.
    fn ask(&mut self, machine: &mut Machine) -> bool {
        let succeeds = answers(&self.target, machine);
        self.failures = if succeeds { 0 } else { self.failures + 1 };
        succeeds
    }

    fn has_failed(&self) -> bool {
        self.failures >= self.threshold
    }
}

/// Asks when its time comes. Returns whether the container has to be restarted.
#[must_use]
pub(super) fn advance(
    probes: &mut Probes,
    machine: &mut Machine,
    options: &SimulatorOptions,
    now: Now,
) -> bool {
    if now.at < probes.next {
        return false;
    }
    probes.next = now.at + options.pace.probe;
    if !probes.started {
        probes.started = probes.startup.as_mut().is_none_or(|asked| asked.ask(machine));
    }
    if !probes.started {
        return probes.startup.as_ref().is_some_and(Asked::has_failed);
    }
    if let Some(asked) = &mut probes.readiness {
        probes.ready = asked.ask(machine) || (probes.ready && !asked.has_failed());
    } else {
        probes.ready = true;
    }
    probes.liveness.as_mut().is_some_and(|asked| !asked.ask(machine) && asked.has_failed())
}

fn answers(target: &Target, machine: &mut Machine) -> bool {
    match target {
        Target::Get { address, path, tls } => {
            machine.ask(*address, path, *tls).is_ok_and(|status| (200..400).contains(&status))
        }
        Target::Nowhere => false,
    }
}

/// `None` for any other kind than HTTP. It counts as a success.
fn target(probe: &Probe, container: &Container, options: &SimulatorOptions) -> Option<Target> {
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
        Some("localhost") => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
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
