//! Asks the API all the while, as its clients do, and counts the answers.

use super::pace::PULSE;
use fulcrum_steps::cluster::{Cause, Cluster, ClusterError};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The requests of one phase, and their results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// `before`, `pivot`, `between`, `rollback`, `after`; of [`Story::Secrets`](super::Story::Secrets) also `power-cut` and
    /// `rotation`.
    pub phase: &'static str,
    /// How many were sent: in turn `/readyz`, the node, and the pods of kube-system.
    pub requests: u64,
    /// How many of them failed, by the cause that was seen.
    pub failed: BTreeMap<String, u64>,
    /// How many others failed while the node had no power, up to the first object that it served after that.
    pub away: u64,
    /// The longest time without a good answer.
    #[serde(rename = "longest_gap_ms", serialize_with = "millis")]
    pub longest_gap: Duration,
    /// How long the phase lasted.
    #[serde(rename = "took_ms", serialize_with = "millis")]
    pub took: Duration,
}

/// Asks until it is dropped.
pub(super) struct Pulse {
    tally: Arc<Mutex<Tally>>,
    task: JoinHandle<()>,
}

struct Tally {
    phases: Vec<Asked>,
    began: Instant,
    last_answer: Instant,
    power: Power,
}

/// Whether the node can answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Power {
    /// It can.
    On,
    /// It has no power.
    Off,
    /// It has power since this instant, and has served no object since. `/readyz` can be asked before an object can.
    Boots(Instant),
}

impl Pulse {
    /// Begins to ask, in the phase `before`.
    pub(super) fn start(cluster: Cluster, node: String) -> Self {
        let now = Instant::now();
        let phases = vec![Asked::new("before")];
        let tally = Tally { phases, began: now, last_answer: now, power: Power::On };
        let tally = Arc::new(Mutex::new(tally));
        let counting = Arc::clone(&tally);
        let task = tokio::spawn(async move {
            for turn in 0_u64.. {
                let began = Instant::now();
                let answer = match turn % 3 {
                    0 => readyz(&cluster).await,
                    1 => cluster.node(&node).await.map(|_| ()),
                    _ => cluster.pods_labelled("").await.map(|_| ()),
                };
                counting.lock().unwrap_or_else(PoisonError::into_inner).count(began, turn % 3 > 0, answer);
                tokio::time::sleep(PULSE).await;
            }
        });
        Self { tally, task }
    }

    /// Begins another phase.
    pub(super) fn phase(&self, name: &'static str) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.close();
        tally.phases.push(Asked::new(name));
    }

    /// The node loses its power now.
    pub(super) fn power_off(&self) {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).power = Power::Off;
    }

    /// The node gets its power back now.
    pub(super) fn power_on(&self) {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).power = Power::Boots(Instant::now());
    }

    /// Ends, and returns the results.
    pub(super) fn stop(self) -> Vec<Asked> {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.close();
        std::mem::take(&mut tally.phases)
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tally {
    /// Counts an answer to a request for an object, or for `/readyz`.
    fn count(&mut self, began: Instant, is_object: bool, answer: Result<(), ClusterError>) {
        let gap = self.last_answer.elapsed();
        let Some(phase) = self.phases.last_mut() else { return };
        phase.requests += 1;
        if answer.is_ok() && is_object && matches!(self.power, Power::Boots(since) if since <= began) {
            self.power = Power::On;
        }
        match (answer, self.power) {
            (Ok(()), Power::On) => {
                phase.longest_gap = phase.longest_gap.max(gap);
                self.last_answer = Instant::now();
            }
            // A server that starts says on `/readyz` that it does not serve yet.
            (Ok(()), _) => {}
            (Err(_), Power::Off | Power::Boots(_)) => phase.away += 1,
            (Err(error), Power::On) => *phase.failed.entry(kind(&error)).or_default() += 1,
        }
    }

    /// A gap that is still open counts for the phase that ends. The rest of it counts for the next phase.
    fn close(&mut self) {
        let now = Instant::now();
        let (gap, took) = (now - self.last_answer, now - self.began);
        if let Some(phase) = self.phases.last_mut() {
            phase.longest_gap = phase.longest_gap.max(gap);
            phase.took = took;
        }
        (self.began, self.last_answer) = (now, now);
    }
}

impl Asked {
    fn new(phase: &'static str) -> Self {
        let (longest_gap, took) = (Duration::ZERO, Duration::ZERO);
        Self { phase, requests: 0, failed: BTreeMap::new(), away: 0, longest_gap, took }
    }

    /// How many requests failed in all.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }
}

/// Asks for `/readyz` on the client's connection. A server that ends says 500 there, which is its job, and serves.
pub(super) async fn readyz(cluster: &Cluster) -> Result<(), ClusterError> {
    match cluster.readyz().await {
        Err(ClusterError { cause: Cause::Refused { code: 500, .. }, .. }) => Ok(()),
        other => other,
    }
}

pub(super) fn kind(error: &ClusterError) -> String {
    match &error.cause {
        Cause::Timeout(_) => "no answer in time".to_owned(),
        Cause::Unreachable(_) => "no connection".to_owned(),
        Cause::Refused { code, .. } => format!("HTTP {code}"),
        Cause::Unreadable(_) => "an answer that could not be read".to_owned(),
    }
}

pub(super) fn millis<S: Serializer>(time: &Duration, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a power cut may cost, and what it may not.
    #[test]
    fn only_what_a_node_without_power_cannot_answer_is_counted_apart() {
        let lost =
            || Err(ClusterError { attempt: "ask".to_owned(), cause: Cause::Unreachable("gone".to_owned()) });
        let before = Instant::now();
        let later = before + Duration::from_millis(1);
        let phases = vec![Asked::new("power-cut")];
        let mut tally = Tally { phases, began: before, last_answer: before, power: Power::On };
        tally.count(before, true, lost());
        tally.power = Power::Off;
        tally.count(before, true, lost());
        tally.power = Power::Boots(later);
        // Neither an answer from before, nor `/readyz` alone, shows that it serves again.
        for (began, is_object) in [(before, true), (later, false)] {
            tally.count(began, is_object, Ok(()));
            tally.count(later, true, lost());
        }
        tally.count(later, true, Ok(()));
        tally.count(later, true, lost());
        let seen = tally.phases.remove(0);
        assert_eq!((seen.requests, seen.away, seen.failures()), (8, 3, 2));
    }
}
