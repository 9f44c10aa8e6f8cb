//! Clients of a cluster of several nodes, as they are outside of it: some through the balancer, one at each node
//! directly. They read all the while, and count the answers.

use super::pulse::{kind, millis, readyz};
use crate::Simulator;
use fulcrum_steps::cluster::{Cluster, ClusterError};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// The requests of one phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PhaseLoad {
    /// What went on meanwhile.
    pub phase: String,
    /// Those through the balancer.
    pub balanced: Answers,
    /// Those at a node's own address.
    pub direct: Answers,
    /// How long the phase lasted.
    #[serde(rename = "took_ms", serialize_with = "millis")]
    pub took: Duration,
}

/// What came of requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Answers {
    /// How many got a good answer.
    pub answered: u64,
    /// How many were under way through the balancer at the very instant at which a node was lost, and failed.
    pub in_flight: u64,
    /// How many failed at the address of a node that was away: until its API server had answered again.
    pub away: u64,
    /// How many others failed, by the cause that was seen.
    pub failed: BTreeMap<String, u64>,
    /// The longest time that one client was without a good answer, where nothing was away.
    #[serde(rename = "longest_gap_ms", serialize_with = "millis")]
    pub longest_gap: Duration,
}

/// The clients. They read until this is dropped.
#[derive(Debug)]
pub struct Load {
    tally: Arc<Mutex<Tally>>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Tally {
    phases: Vec<PhaseLoad>,
    began: Instant,
    away: Option<Away>,
}

/// A node that was lost.
#[derive(Debug)]
struct Away {
    node: usize,
    since: Instant,
    /// Since when it may answer again.
    may_be_back: Option<Instant>,
    /// Whether its API server has served an object since. `/readyz` can be asked before an object can.
    is_back: bool,
}

/// The way of a client's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Balancer,
    Node(usize),
}

/// What a client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Readiness,
    Object,
}

/// What a request that failed counts as.
enum Failure {
    InFlight,
    Away,
    Real,
}

impl Load {
    /// Starts as many clients of the balancer as there are nodes, and one of each node. Each asks again after this time.
    pub fn start(simulator: &Simulator, phase: &str, every: Duration) -> Self {
        let tally = Tally { phases: vec![PhaseLoad::new(phase)], began: Instant::now(), away: None };
        let tally = Arc::new(Mutex::new(tally));
        let tasks = simulator.nodes().enumerate().flat_map(|(number, node)| {
            let (balanced, direct) = (simulator.from_outside(), node.client_from_outside());
            [(Door::Balancer, balanced), (Door::Node(number), direct)].map(|(door, client)| {
                tokio::spawn(read(Cluster::new(client), door, every, Arc::clone(&tally)))
            })
        });
        let tasks = tasks.collect();
        Self { tally, tasks }
    }

    /// Begins another phase.
    pub fn phase(&self, name: &str) {
        let mut tally = lock(&self.tally);
        tally.close();
        tally.phases.push(PhaseLoad::new(name));
    }

    /// The phases up to now, the last of which ends here. Another one begins.
    pub fn take(&self, next: &str) -> Vec<PhaseLoad> {
        let mut tally = lock(&self.tally);
        tally.close();
        std::mem::replace(&mut tally.phases, vec![PhaseLoad::new(next)])
    }

    /// This node is lost now.
    pub(super) fn goes_away(&self, node: usize) {
        let away = Away { node, since: Instant::now(), may_be_back: None, is_back: false };
        lock(&self.tally).away = Some(away);
    }

    /// From now on the node that was lost may answer again.
    pub(super) fn may_be_back(&self) {
        if let Some(away) = &mut lock(&self.tally).away {
            away.may_be_back = Some(Instant::now());
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// In turn it asks whether the API server is ready, and reads an object: a small one, for there are many clients.
async fn read(cluster: Cluster, door: Door, every: Duration, tally: Arc<Mutex<Tally>>) {
    let mut last_good = Instant::now();
    for turn in 0_u64.. {
        let began = Instant::now();
        let question = if turn % 2 == 0 { Question::Readiness } else { Question::Object };
        let answer = match question {
            Question::Readiness => readyz(&cluster).await,
            Question::Object => cluster.uid().await.map(|_| ()),
        };
        if lock(&tally).count((door, question), began, last_good, answer) {
            last_good = Instant::now();
        }
        sleep(every).await;
    }
}

impl Tally {
    /// Counts an answer. Returns whether a gap ends here.
    fn count(
        &mut self,
        (door, question): (Door, Question),
        began: Instant,
        last_good: Instant,
        answer: Result<(), ClusterError>,
    ) -> bool {
        if answer.is_ok() && question == Question::Object {
            self.sees_back(door, began);
        }
        let failure = self.failure(door, began);
        let Some(phase) = self.phases.last_mut() else { return true };
        let answers = match door {
            Door::Balancer => &mut phase.balanced,
            Door::Node(_) => &mut phase.direct,
        };
        match (answer, failure) {
            (Ok(()), _) => {
                answers.answered += 1;
                answers.longest_gap = answers.longest_gap.max(last_good.elapsed());
                return true;
            }
            (Err(_), Failure::InFlight) => answers.in_flight += 1,
            (Err(_), Failure::Away) => {
                answers.away += 1;
                return true;
            }
            (Err(error), Failure::Real) => *answers.failed.entry(kind(&error)).or_default() += 1,
        }
        false
    }

    /// A request that failed and was begun at this instant.
    fn failure(&self, door: Door, began: Instant) -> Failure {
        match (&self.away, door) {
            (Some(away), Door::Balancer) if began <= away.since => Failure::InFlight,
            (Some(away), Door::Node(node)) if node == away.node && !away.is_back => Failure::Away,
            _ => Failure::Real,
        }
    }

    fn sees_back(&mut self, door: Door, began: Instant) {
        if let Some(away) = &mut self.away
            && door == Door::Node(away.node)
            && away.may_be_back.is_some_and(|back| back <= began)
        {
            away.is_back = true;
        }
    }

    fn close(&mut self) {
        let now = Instant::now();
        if let Some(phase) = self.phases.last_mut() {
            phase.took = now - self.began;
        }
        (self.began, self.away) = (now, None);
    }
}

impl PhaseLoad {
    fn new(phase: &str) -> Self {
        let (balanced, direct) = (Answers::default(), Answers::default());
        Self { phase: phase.to_owned(), balanced, direct, took: Duration::ZERO }
    }

    /// The requests of both ways.
    pub fn all(&self) -> Answers {
        let mut all = self.balanced.clone();
        all.add(&self.direct);
        all
    }
}

impl Answers {
    /// How many failed although nothing was lost that they needed.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// Adds these.
    pub fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        self.in_flight += other.in_flight;
        self.away += other.away;
        self.longest_gap = self.longest_gap.max(other.longest_gap);
        for (kind, count) in &other.failed {
            *self.failed.entry(kind.clone()).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulcrum_steps::cluster::Cause;

    fn lost() -> Result<(), ClusterError> {
        let cause = Cause::Unreachable("gone".to_owned());
        Err(ClusterError { attempt: "ask".to_owned(), cause })
    }

    /// What a lost node may cost, and what it may not.
    #[test]
    fn only_what_needed_the_lost_node_is_counted_apart() {
        let before = Instant::now();
        let away = Away { node: 1, since: before, may_be_back: None, is_back: false };
        let mut tally = Tally { phases: vec![PhaseLoad::new("p")], began: before, away: Some(away) };
        let later = before + Duration::from_millis(1);
        let count = |tally: &mut Tally, door, began, answer| {
            tally.count((door, Question::Object), began, before, answer);
        };
        count(&mut tally, Door::Balancer, before, lost());
        count(&mut tally, Door::Balancer, later, lost());
        count(&mut tally, Door::Node(1), later, lost());
        count(&mut tally, Door::Node(0), later, lost());
        // An answer from before it may be back does not end that.
        count(&mut tally, Door::Node(1), later, Ok(()));
        count(&mut tally, Door::Node(1), later, lost());
        if let Some(away) = &mut tally.away {
            away.may_be_back = Some(later);
        }
        // It says that it is not ready: an answer, and it is not back.
        tally.count((Door::Node(1), Question::Readiness), later, before, Ok(()));
        count(&mut tally, Door::Node(1), later, lost());
        count(&mut tally, Door::Node(1), later, Ok(()));
        count(&mut tally, Door::Node(1), later, lost());
        let seen = tally.phases.remove(0);
        let of = |answers: &Answers| (answers.answered, answers.in_flight, answers.away, answers.failures());
        assert_eq!((of(&seen.balanced), of(&seen.direct)), ((0, 1, 0, 1), (3, 0, 3, 2)));
        assert_eq!(seen.all().failures(), 3);
    }
}
