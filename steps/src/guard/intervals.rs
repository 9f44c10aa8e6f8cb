//! The guard's waiting times and intervals.

use std::time::Duration;

/// The guard's waiting times and intervals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intervals {
    /// How long a control plane may be silent.
    pub patience: Duration,
    /// A second failure within this time of a first one is left to a person.
    pub hold_off: Duration,
    /// How often the guard looks which processes listen.
    pub tick: Duration,
    /// How often the guard asks the API whether it is ready.
    pub ask: Duration,
    /// How often the guard looks at leases and DaemonSets.
    pub study: Duration,
    /// How long a changed DaemonSet must have served to count as proven.
    pub proof: Duration,
    /// How often the guard looks at the certificates.
    pub certificates: Duration,
}

impl Intervals {
    /// The intervals for a real node.
    pub fn new(patience: Duration, hold_off: Duration) -> Self {
        let seconds = Duration::from_secs;
        let study = (patience / 3).max(seconds(1));
        let (proof, certificates) = (seconds(60), seconds(3600));
        Self { patience, hold_off, tick: seconds(1), ask: seconds(5), study, proof, certificates }
    }
}
