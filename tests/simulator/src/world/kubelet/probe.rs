//! Startup, liveness and readiness, as the kubelet finds out: it asks the port, and the process that listens
//! there answers.
//!
//! With a shared port that can be another process than the one meant. Startup and readiness are asked at one pace, as a
//! node asks each second. Liveness is asked as often as the manifest says: how long a server may fail before it is
//! restarted (80 s as kubeadm writes it) stands beside what a leader survives (10 s). The manifest says how many failures
//! count as one.

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
    /// In seconds.
    period: u32,
    /// Liveness is not asked before this instant.
    next: Duration,
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
            let number = |field: Option<i32>| field.and_then(|n| u32::try_from(n).ok());
            let threshold = number(probe.failure_threshold).unwrap_or(3);
            let period = number(probe.period_seconds).unwrap_or(10).max(1);
            let target = target(probe, container, options)?;
            Some(Asked { target, failures: 0, threshold, period, next: Duration::ZERO })
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
            (asked.failures, asked.next) = (0, Duration::ZERO);
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

    /// Asks if its period is over. `second` is the length of one. Returns whether it has failed now.
    fn fails(&mut self, machine: &mut Machine, second: Duration, now: Duration) -> bool {
        if now < self.next {
            return false;
        }
        self.next = now + second * self.period;
        !self.ask(machine) && self.has_failed()
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
    probes.liveness.as_mut().is_some_and(|asked| asked.fails(machine, options.pace.probe, now.at))
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

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use serde_json::json;

    /// A partition that a leader does not survive restarts no API server: 10 s beside 80 s, as kubeadm writes it.
    #[test]
    fn a_server_that_fails_is_restarted_after_the_periods_of_its_manifest() {
        let options = SimulatorOptions::new("/nowhere");
        let get = json!({"host": "127.0.0.1", "port": 6443, "path": "/livez"});
        let probe = json!({"httpGet": get, "periodSeconds": 10, "failureThreshold": 8});
        let container: Container =
            serde_json::from_value(json!({"name": "a", "livenessProbe": probe})).unwrap();
        let mut probes = Probes::of(&container, &["/pause".to_owned()], &options);
        let (mut machine, second) = (Machine::new(&options, 0), options.pace.probe);
        let mut fails =
            |at| advance(&mut probes, &mut machine, &options, Now { at, wall: Timestamp::UNIX_EPOCH });
        let first = (0..200).map(|number| second * number).find(|at| fails(*at));
        assert_eq!(first, Some(second * 70), "the eighth time");
        assert!(first > Some(options.pace.lease * 2), "a leader has gone by then");
    }
}
