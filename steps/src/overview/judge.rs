//! Makes a row of each node. Pure: facts in, rows out.

use super::facts::{LockFacts, NodeFacts, OverviewFacts, PodFacts};
use crate::cluster::{Answer, GUARD_SILENT_AFTER, GuardState, NodeEntry, NodeMode, RunPhase, node_of};
use crate::component::Component;
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// A run in flight that has said nothing new for this long is looked at by a person. A pivot has 10 min by default.
const LONG: Duration = Duration::from_secs(900);

/// The control plane, node by node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Overview {
    /// A row for each control-plane node, by name.
    pub nodes: Vec<NodeRow>,
    /// The lock, if a run holds it.
    pub lock: Option<LockRow>,
    /// What could not be seen, and why.
    pub unseen: Vec<String>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeRow {
    /// Its name.
    pub node: String,
    /// What it is, by its pods.
    pub is: Is,
    /// Whether the cluster counts it as Ready.
    pub node_ready: bool,
    /// The components that have a pod that is Ready.
    pub components_ready: Vec<Component>,
    /// Its last run. `None` if it has never said anything of one.
    pub run: Option<RunRow>,
    /// Its guard.
    pub guard: GuardRow,
    /// Its standby. `None` if its guard has said nothing of one.
    pub standby: Option<StandbyRow>,
    /// What a person should know, each with what to do.
    pub attention: Vec<String>,
}

/// What a node is, by its pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Is {
    /// Every component runs from its static pod alone.
    Static,
    /// Every component runs from its DaemonSet alone.
    SelfHosted,
    /// Some of each, or both of one.
    Mixed,
    /// No pod of the three is known, or the pods could not be listed.
    Unknown,
}

/// The last run of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunRow {
    /// Its id.
    pub run: String,
    /// Its purpose. Empty if an earlier version wrote the entry.
    pub kind: String,
    /// How it stands.
    #[serde(serialize_with = "by_name")]
    pub phase: RunPhase,
    /// Why it has ended or paused, or why it goes back.
    pub reason: Option<String>,
    /// How long ago it said so.
    pub said_seconds_ago: Option<u64>,
    /// The program that has worked on it.
    pub program: String,
}

/// The guard of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GuardRow {
    /// What it does.
    pub state: GuardSeen,
    /// How long ago it said so.
    pub said_seconds_ago: Option<u64>,
    /// What keeps it from its work, or why the static pods stay.
    pub says: Option<String>,
}

/// What is known of a guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuardSeen {
    /// It has never said anything.
    None,
    /// A run has armed it. It has said nothing yet.
    Armed,
    /// It watches.
    Watching,
    /// It has fallen back, and the static pods stay.
    StaysStatic,
    /// It has not said anything for several minutes.
    Silent,
    /// It says something that this version does not know.
    Unknown,
}

/// The standby of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StandbyRow {
    /// How old the oldest of its manifests is.
    pub unchanged_seconds: Option<u64>,
    /// Whether the DaemonSets have changed since, and have not yet proven themselves.
    pub behind: bool,
}

/// The lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LockRow {
    /// Who holds it: node and run.
    pub holder: String,
    /// How long it has been held.
    pub held_seconds: Option<u64>,
}

/// Makes rows of what the cluster says.
pub fn judge(facts: &OverviewFacts) -> Overview {
    let row = |node: &NodeFacts| node_row(facts, node);
    let lock = facts.lock.as_ref().map(|lock| LockRow {
        holder: lock.holder.clone(),
        held_seconds: ago(facts.now, lock.since).map(|ago| ago.as_secs()),
    });
    let mut unseen = facts.unseen.clone();
    for name in facts.roll_call.keys().filter(|name| facts.nodes.iter().all(|node| node.name != **name)) {
        unseen.push(format!("node {name}: it has an entry in the roll call, and is no control-plane node"));
    }
    Overview { nodes: facts.nodes.iter().map(row).collect(), lock, unseen }
}

fn node_row(facts: &OverviewFacts, node: &NodeFacts) -> NodeRow {
    let answer = facts.roll_call.get(&node.name);
    let entry = answer.and_then(|answer| answer.as_ref().ok());
    let pods = node.pods.as_deref().unwrap_or_default();
    let ready = |component: &Component| pods.iter().any(|pod| pod.component == *component && pod.ready);
    let said = |at: Option<Timestamp>| ago(facts.now, at).map(|ago| ago.as_secs());
    let run = entry.filter(|entry| !entry.run.is_empty()).map(|entry| RunRow {
        run: entry.run.clone(),
        kind: entry.kind.clone(),
        phase: entry.phase,
        reason: entry.reason.clone(),
        said_seconds_ago: said(entry.written),
        program: entry.program.clone(),
    });
    let standby = entry.and_then(|entry| entry.guard.as_ref()?.standby.as_ref());
    let mut row = NodeRow {
        node: node.name.clone(),
        is: what(pods),
        node_ready: node.ready,
        components_ready: Component::ALL.into_iter().filter(ready).collect(),
        run,
        guard: guard(facts.now, entry),
        standby: standby
            .map(|standby| StandbyRow { unchanged_seconds: said(standby.since), behind: standby.behind }),
        attention: Vec::new(),
    };
    row.attention = attention(&row, entry, answer, facts.lock.as_ref());
    row
}

/// What the pods make of a node.
fn what(pods: &[PodFacts]) -> Is {
    let any = |component: Component, hosted: bool| {
        pods.iter().any(|pod| pod.component == component && pod.hosted == hosted)
    };
    let [all_static, all_hosted] =
        [false, true].map(|hosted| Component::ALL.iter().all(|component| any(*component, hosted)));
    let [one_static, one_hosted] = [false, true].map(|hosted| pods.iter().any(|pod| pod.hosted == hosted));
    match (one_static, one_hosted) {
        (false, false) => Is::Unknown,
        (true, false) if all_static => Is::Static,
        (false, true) if all_hosted => Is::SelfHosted,
        _ => Is::Mixed,
    }
}

fn guard(now: Timestamp, entry: Option<&NodeEntry>) -> GuardRow {
    let Some(guard) = entry.and_then(|entry| entry.guard.as_ref()) else {
        return GuardRow { state: GuardSeen::None, said_seconds_ago: None, says: None };
    };
    // Where it has never said anything, the run that has armed it did.
    let said = ago(now, guard.beat.or_else(|| entry.and_then(|entry| entry.written)));
    // While a run is at work the guard waits, and says nothing.
    let in_flight = entry.is_some_and(|entry| entry.phase.in_flight());
    let silent = !in_flight && said.is_some_and(|said| said > GUARD_SILENT_AFTER);
    let state = match guard.state {
        GuardState::Unknown => GuardSeen::Unknown,
        _ if silent => GuardSeen::Silent,
        GuardState::Armed => GuardSeen::Armed,
        GuardState::Watching => GuardSeen::Watching,
        GuardState::StaysStatic => GuardSeen::StaysStatic,
    };
    GuardRow { state, said_seconds_ago: said.map(|said| said.as_secs()), says: guard.says.clone() }
}

/// What a person should know of a node, each with what to do.
fn attention(
    row: &NodeRow,
    entry: Option<&NodeEntry>,
    answer: Option<&Answer>,
    lock: Option<&LockFacts>,
) -> Vec<String> {
    let mut told = Vec::new();
    if let Some(Err(why)) = answer {
        told.push(format!("its entry in the roll call cannot be read: {why}; its next run writes it anew"));
    }
    if !row.node_ready {
        told.push("the node is not Ready: what is said of it may be old".to_owned());
    }
    if let Some(run) = &row.run {
        told.extend(about_run(row, run, lock));
    }
    let in_flight = row.run.as_ref().is_some_and(|run| run.phase.in_flight());
    let mode = entry.map_or(NodeMode::Unknown, |entry| entry.mode);
    if !in_flight
        && row.guard.state != GuardSeen::StaysStatic
        && matches!(
            (mode, row.is),
            (NodeMode::Static, Is::SelfHosted) | (NodeMode::SelfHosted, Is::Static) | (_, Is::Mixed)
        )
    {
        told.push(format!("its pods are not what its last run has left; see {}", on_it(&row.node, "status")));
    }
    match row.guard.state {
        GuardSeen::Silent => told.push(format!(
            "its guard has said nothing for {}: after a reboot, or a failure, nothing may bring this control plane \
             back; see {}",
            Age(row.guard.said_seconds_ago.unwrap_or_default()),
            on_it(&row.node, "guard status")
        )),
        GuardSeen::StaysStatic => told.push(format!(
            "the static pods stay{}; mend the DaemonSets, then {}",
            row.guard.says.as_ref().map(|says| format!(": {says}")).unwrap_or_default(),
            on_it(&row.node, "guard hand-over")
        )),
        GuardSeen::None if row.is == Is::SelfHosted && !in_flight => told.push(format!(
            "no guard has said anything: after a reboot nothing may bring this control plane back; see {}",
            on_it(&row.node, "guard status")
        )),
        _ => {}
    }
    told
}

/// What a person should know of a node's last run.
fn about_run(row: &NodeRow, run: &RunRow, lock: Option<&LockFacts>) -> Option<String> {
    let since = Age(run.said_seconds_ago.unwrap_or_default());
    let reason = run.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let go_on = on_it(&row.node, "resume");
    match run.phase {
        RunPhase::Paused => {
            Some(format!("run {} is paused{reason}; {go_on} goes on, `fulcrum rollback` undoes it", run.run))
        }
        RunPhase::NeedsOperator => Some(format!(
            "run {} needs a person{reason}; settle what it names, then {go_on} tries again",
            run.run
        )),
        phase if phase.in_flight() => {
            let others = lock.filter(|lock| node_of(&lock.holder) != row.node);
            let stale = run.said_seconds_ago.is_some_and(|ago| ago > LONG.as_secs());
            match (others, stale) {
                (Some(lock), _) => Some(format!(
                    "run {} is {} since {since}, and {} has the lock: it waits, or was cut short; see {}",
                    run.run,
                    phase.name(),
                    lock.holder,
                    on_it(&row.node, "status")
                )),
                (None, true) => Some(format!(
                    "run {} is {} since {since}: if no process is at work on it, {go_on} goes on; see {}",
                    run.run,
                    phase.name(),
                    on_it(&row.node, "status")
                )),
                (None, false) => None,
            }
        }
        _ => None,
    }
}

fn on_it(node: &str, command: &str) -> String {
    format!("`fulcrum {command}` on {node}")
}

/// How long ago that was. `None` if it is not known. A clock that is behind counts as now.
fn ago(now: Timestamp, at: Option<Timestamp>) -> Option<Duration> {
    at.map(|at| Duration::try_from(now.duration_since(at)).unwrap_or_default())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn by_name<S: Serializer>(phase: &RunPhase, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(phase.name())
}

/// Seconds as a person reads them, in one unit.
pub struct Age(pub u64);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            seconds @ ..120 => write!(f, "{seconds} s"),
            seconds @ ..7200 => write!(f, "{} min", seconds / 60),
            seconds @ ..172_800 => write!(f, "{} h", seconds / 3600),
            seconds => write!(f, "{} d", seconds / 86_400),
        }
    }
}
