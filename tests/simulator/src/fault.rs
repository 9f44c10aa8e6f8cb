//! The faults that tests can set.

use super::snapshot::Origin;
use std::time::Duration;

/// What is wrong with a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// It listens and answers 500 (`--simulate=never-ready`).
    NeverReady,
    /// It runs and never listens (`--simulate=never-listens`).
    NeverListens,
    /// It ends as soon as it has started (`--simulate=crash`).
    Crashes,
    /// Its image is not on the node and cannot be pulled (`--simulate=image-missing`).
    ImageMissing,
    /// As an API server it does not have EndpointSlices, which the release has (`--simulate=serves-less`).
    ServesLess,
    /// The kubelet is kept from starting it again.
    HeldDown,
}

impl Flaw {
    /// The flaw that the flag `--simulate=<name>` asks for.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "never-ready" => Self::NeverReady,
            "never-listens" => Self::NeverListens,
            "crash" => Self::Crashes,
            "image-missing" => Self::ImageMissing,
            "serves-less" => Self::ServesLess,
            _ => return None,
        })
    }
}

/// An API that goes with a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeprecatedApi {
    /// Its group. Empty for the core's.
    pub group: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The resource.
    pub resource: &'static str,
    /// The first release without it: `1.36`.
    pub removed_release: &'static str,
}

/// An ability of the machine that a run may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ability {
    /// To share and steer a live listener.
    Steering,
    /// To redirect connections.
    Redirects,
    /// To renew certificates: kubeadm is installed.
    Kubeadm,
}

impl Ability {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Steering => "steering",
            Self::Redirects => "redirects",
            Self::Kubeadm => "kubeadm",
        }
    }
}

/// The room on the node's disk, as its kubelet sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Disk {
    /// Enough.
    #[default]
    Roomy,
    /// Less than the kubelet's eviction threshold. The node has the condition `DiskPressure` and, while a
    /// controller manager works, its taint. The kubelet evicts pods that are not critical and rejects new
    /// ones. It spares static pods and those of a system priority class.
    UnderPressure,
    /// None: under pressure, and no container can be made (`CreateContainerError`). Running containers go on.
    Full,
}

/// The processes that are meant: those of a component, wherever its pods come from, or from one origin only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Which {
    component: String,
    origin: Option<Origin>,
}

impl Which {
    pub(super) fn is(&self, component: &str, origin: Origin) -> bool {
        self.component == component && self.origin.is_none_or(|o| o == origin)
    }
}

impl From<&str> for Which {
    fn from(component: &str) -> Self {
        Self { component: component.into(), origin: None }
    }
}

impl From<(&str, Origin)> for Which {
    fn from((component, origin): (&str, Origin)) -> Self {
        Self { component: component.into(), origin: Some(origin) }
    }
}

/// What happens to a request that was picked to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// 500, and nothing was done.
    InternalError,
    /// 409, and nothing was done.
    Conflict,
    /// 504, and nothing was done.
    Timeout,
    /// No answer, ever; nothing was done. Only the caller's deadline ends it.
    Hangs,
    /// The answer takes this much longer, in real time; nothing is done before.
    Slow(Duration),
    /// The connection ends without an answer, *and the request was carried out*: a retry meets a 409.
    LosesAnswer,
}

/// Makes the next matching requests fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiFault {
    /// HTTP method; `None` matches all.
    pub method: Option<&'static str>,
    /// A part of path and query; empty matches all.
    pub path: String,
    /// How many requests it hits.
    pub times: u32,
    /// What happens to them.
    pub outcome: Outcome,
}

/// Everything that is broken at present.
#[derive(Debug, Default)]
pub(super) struct Faults {
    api: Vec<ApiFault>,
    flaws: Vec<(Which, Flaw)>,
    pub(super) disk: Disk,
    /// The factor. 0 and 1 are the kubelet's own pace.
    pub(super) kubelet_slowness: u32,
}

impl Faults {
    pub(super) fn inject(&mut self, fault: ApiFault) {
        self.api.push(fault);
    }

    pub(super) fn clear_injected(&mut self) {
        self.api.clear();
    }

    /// The fault that hits this request, if any. Uses up one of the fault's times.
    pub(super) fn befalls(&mut self, method: &str, path: &str) -> Option<Outcome> {
        self.api.retain(|fault| fault.times > 0);
        let fault =
            self.api.iter_mut().find(|f| f.method.is_none_or(|m| m == method) && path.contains(&f.path))?;
        fault.times -= 1;
        Some(fault.outcome)
    }

    pub(super) fn set_flaw(&mut self, which: Which, flaw: Flaw) {
        self.clear_flaws(&which);
        self.flaws.push((which, flaw));
    }

    pub(super) fn clear_flaws(&mut self, which: &Which) {
        self.flaws.retain(|(other, _)| other != which);
    }

    /// The newest flaw set on such a process.
    pub(super) fn flaw(&self, component: &str, origin: Origin) -> Option<Flaw> {
        self.flaws.iter().rev().find(|(which, _)| which.is(component, origin)).map(|(_, flaw)| *flaw)
    }
}
