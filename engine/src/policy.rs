//! How often and how long a step is tried.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Attempts, back-off and timeout of one direction (run or undo) of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Policy {
    /// The number of failed attempts after which the step has failed, at least 1. Attempts that a crash
    /// cut short do not count. A resumed run counts anew.
    pub attempts: u32,
    /// The pause between attempts.
    pub backoff: Backoff,
    /// The longest that one attempt may take.
    #[serde(rename = "timeout_ms", with = "millis")]
    pub timeout: Duration,
}

/// Pause after the n-th failure: `initial * 2^(n-1)`, at most `max`. A random half of it is jitter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// Pause after the first failure.
    #[serde(rename = "initial_ms", with = "millis")]
    pub initial: Duration,
    /// The longest pause.
    #[serde(rename = "max_ms", with = "millis")]
    pub max: Duration,
}

impl Policy {
    /// One attempt, and no second one.
    pub fn once(timeout: Duration) -> Self {
        Self { attempts: 1, timeout, ..Self::default() }
    }

    /// `attempts` attempts of at most `timeout` each, with the default back-off.
    pub fn tries(attempts: u32, timeout: Duration) -> Self {
        Self { attempts, timeout, ..Self::default() }
    }
}

impl Policy {
    /// Sets the pause between attempts.
    #[must_use]
    pub fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }
}

impl Default for Policy {
    /// Three attempts of a minute, 200 ms to 5 s apart.
    fn default() -> Self {
        Self { attempts: 3, backoff: Backoff::default(), timeout: Duration::from_secs(60) }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial: Duration::from_millis(200), max: Duration::from_secs(5) }
    }
}

impl Backoff {
    /// The pause after `failures` failures in a row. `jitter` in 0..=1 chooses within the upper half.
    pub fn pause(&self, failures: u32, jitter: f64) -> Duration {
        if failures == 0 {
            return Duration::ZERO;
        }
        let doubled = self.initial.saturating_mul(1_u32.checked_shl(failures - 1).unwrap_or(u32::MAX));
        let half = doubled.min(self.max) / 2;
        half.saturating_add(half.mul_f64(jitter.clamp(0.0, 1.0)))
    }
}

/// Durations as whole milliseconds, which a person can read in a plan.
pub(crate) mod millis {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(crate) fn serialize<S: Serializer>(value: &Duration, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
        u64::deserialize(input).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_its_maximum() {
        let backoff = Backoff { initial: Duration::from_millis(100), max: Duration::from_millis(350) };
        let pauses: Vec<u128> = [0, 1, 2, 3, 40].map(|n| backoff.pause(n, 1.0).as_millis()).to_vec();
        assert_eq!(pauses, [0, 100, 200, 350, 350]);
        assert_eq!(backoff.pause(1, 0.0).as_millis(), 50);
    }

    #[test]
    fn no_pause_is_too_long_to_be_told() {
        let backoff = Backoff { initial: Duration::MAX, max: Duration::MAX };
        for (failures, jitter) in [(1, 0.0), (1, 1.0), (33, 0.999_999_999), (u32::MAX, 1.0)] {
            assert!(backoff.pause(failures, jitter) >= Duration::MAX / 2);
        }
    }
}
