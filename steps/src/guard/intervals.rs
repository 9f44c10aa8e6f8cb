//! How patient the guard is, and how often it looks.

use std::time::Duration;

/// How patient the guard is, and how often it looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intervals {
    /// How long a control plane may be silent.
    pub patience: Duration,
    /// How long after a first failure a second one is left to a person.
    pub hold_off: Duration,
    /// How often it looks who listens.
    pub tick: Duration,
    /// How often the API is asked whether it is ready.
    pub ask: Duration,
    /// How often leases and DaemonSets are looked at.
    pub study: Duration,
    /// How long a changed DaemonSet must have served to count as proven.
    pub proof: Duration,
}

impl Intervals {
    /// For a real node.
    pub fn new(patience: Duration, hold_off: Duration) -> Self {
        let seconds = Duration::from_secs;
        let study = (patience / 3).max(seconds(1));
        Self { patience, hold_off, tick: seconds(1), ask: seconds(5), study, proof: seconds(60) }
    }
}
