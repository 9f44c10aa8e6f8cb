//! What an examination finds.

use serde::Serialize;
use std::fmt;

/// What was examined, in the order in which people read it. It serialises as its name, which never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    /// The journal opens and is whole.
    Journal,
    /// The last run is over.
    Run,
    /// The API answers.
    Api,
    /// The static manifests are there, or are not, as the journal says.
    Manifests,
    /// The DaemonSets are there, or are not, as the journal says.
    Daemonsets,
    /// The right process serves each component.
    Serving,
    /// The kernel sends new connections to one API server.
    Preference,
    /// The controller manager and the scheduler have leaders.
    Leaders,
    /// The manifests that a boot brings back are there.
    Standby,
    /// The guard is installed, enabled and runs.
    Guard,
    /// Certificates are valid, and stay so for a while.
    Certificates,
    /// etcd is healthy.
    Etcd,
    /// Nothing of an interrupted run is left.
    Leftovers,
    /// The lock on the cluster's control plane is free.
    Lock,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// As it should be.
    Good,
    /// It could not be seen.
    Unknown,
    /// It works, and a person should see to it.
    Warning,
    /// It does not work, or would not survive the next failure.
    Bad,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was examined.
    pub area: Area,
    /// How it is.
    pub health: Health,
    /// What was seen.
    pub seen: String,
    /// The command that puts it right, or what a person does. Empty if nothing is to be done.
    pub remedy: String,
}

impl Finding {
    pub(super) fn good(area: Area, seen: impl Into<String>) -> Self {
        Self { area, health: Health::Good, seen: seen.into(), remedy: String::new() }
    }

    pub(super) fn unknown(area: Area, seen: impl Into<String>) -> Self {
        Self { area, health: Health::Unknown, seen: seen.into(), remedy: String::new() }
    }

    pub(super) fn warning(area: Area, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { area, health: Health::Warning, seen: seen.into(), remedy: remedy.into() }
    }

    pub(super) fn bad(area: Area, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { area, health: Health::Bad, seen: seen.into(), remedy: remedy.into() }
    }
}

impl Area {
    /// The name, as it is stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Run => "run",
            Self::Api => "api",
            Self::Manifests => "manifests",
            Self::Daemonsets => "daemonsets",
            Self::Serving => "serving",
            Self::Preference => "preference",
            Self::Leaders => "leaders",
            Self::Standby => "standby",
            Self::Guard => "guard",
            Self::Certificates => "certificates",
            Self::Etcd => "etcd",
            Self::Leftovers => "leftovers",
            Self::Lock => "lock",
        }
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
