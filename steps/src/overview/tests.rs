//! Facts in, rows out.

use super::*;
use crate::cluster::{Answer, GuardEntry, GuardState, NodeEntry, NodeMode, RunPhase, StandbyEntry};
use crate::component::Component;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

fn at(seconds_ago: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds_ago)
}

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn node(name: &str, hosted: &[bool]) -> NodeFacts {
    let pods = hosted.iter().flat_map(|hosted| {
        Component::ALL.map(|component| PodFacts { component, hosted: *hosted, ready: true })
    });
    NodeFacts { name: name.to_owned(), ready: true, pods: Some(pods.collect()) }
}

fn entry(mode: NodeMode, phase: RunPhase, written: i64, beat: i64) -> NodeEntry {
    let standby = Some(StandbyEntry { since: Some(at(7200)), behind: false, of: BTreeMap::new() });
    NodeEntry {
        mode,
        phase,
        run: "r".to_owned(),
        kind: "pivot".to_owned(),
        written: Some(at(written)),
        guard: Some(GuardEntry { state: GuardState::Watching, beat: Some(at(beat)), standby, says: None }),
        ..NodeEntry::default()
    }
}

fn judged(nodes: Vec<NodeFacts>, roll_call: Vec<(&str, NodeEntry)>, lock: Option<&str>) -> Overview {
    let answers: BTreeMap<String, Answer> =
        roll_call.into_iter().map(|(name, entry)| (name.to_owned(), Ok(entry))).collect();
    let lock = lock.map(|holder| LockFacts { holder: holder.to_owned(), since: Some(at(60)) });
    judge(&OverviewFacts { now: now(), nodes, lock, roll_call: answers, unseen: Vec::new() })
}

#[test]
fn two_self_hosted_nodes_and_a_static_one_are_told_apart() {
    let hosted = || entry(NodeMode::SelfHosted, RunPhase::Completed, 500, 30);
    let seen = judged(
        vec![node("a", &[true]), node("b", &[true]), node("c", &[false])],
        vec![("a", hosted()), ("b", hosted())],
        None,
    );
    assert_eq!(
        seen.nodes.iter().map(|row| row.is).collect::<Vec<_>>(),
        [Is::SelfHosted, Is::SelfHosted, Is::Static]
    );
    assert!(
        seen.nodes.iter().all(|row| row.attention.is_empty() && row.components_ready.len() == 3),
        "{seen:?}"
    );
    assert_eq!(
        (seen.nodes[0].guard.state, seen.nodes[2].guard.state),
        (GuardSeen::Watching, GuardSeen::None)
    );
    assert_eq!(seen.nodes[0].standby.as_ref().unwrap().unchanged_seconds, Some(7200));
    assert!(seen.nodes[2].run.is_none() && seen.nodes[2].standby.is_none());
}

/// While a run is at work its guard waits, and its pods are of both kinds.
#[test]
fn a_run_in_flight_is_no_alarm_until_it_takes_long_or_another_has_the_lock() {
    let attention = |written, lock| {
        let entry = entry(NodeMode::Static, RunPhase::Cutting, written, 800);
        let seen = judged(vec![node("a", &[true, false])], vec![("a", entry)], lock);
        assert_eq!((seen.nodes[0].is, seen.nodes[0].guard.state), (Is::Mixed, GuardSeen::Watching));
        seen.nodes[0].attention.join("; ")
    };
    assert_eq!(attention(60, Some("a/r")), "");
    let long = attention(1200, Some("a/r"));
    assert!(long.contains("cutting since 20 min") && long.contains("`fulcrum resume` on a"), "{long}");
    let waits = attention(60, Some("b/s"));
    assert!(waits.contains("b/s has the lock"), "{waits}");
}

#[test]
fn what_is_amiss_is_named_with_what_to_do() {
    let told = |node: NodeFacts, entry: NodeEntry| {
        judged(vec![node], vec![("a", entry)], None).nodes.remove(0).attention.join("; ")
    };
    let hosted = |written, beat| entry(NodeMode::SelfHosted, RunPhase::Completed, written, beat);
    let silent = told(node("a", &[true]), hosted(9000, 600));
    assert!(silent.contains("has said nothing for 10 min") && silent.contains("guard status"), "{silent}");
    let mut armed = hosted(600, 0);
    (armed.guard.as_mut().unwrap().state, armed.guard.as_mut().unwrap().beat) = (GuardState::Armed, None);
    let armed = told(node("a", &[true]), armed);
    assert!(armed.contains("has said nothing for 10 min"), "it never came: {armed}");
    let other = told(node("a", &[false]), hosted(9000, 10));
    assert!(other.contains("not what its last run has left"), "{other}");
    let down = told(NodeFacts { ready: false, ..node("a", &[true]) }, hosted(9000, 10));
    assert!(down.contains("not Ready"), "{down}");
    let stuck = entry(NodeMode::SelfHosted, RunPhase::NeedsOperator, 60, 10);
    let stuck = told(node("a", &[true]), NodeEntry { reason: Some("a disk is full".to_owned()), ..stuck });
    assert!(stuck.contains("needs a person: a disk is full"), "{stuck}");
    let mut fallen = entry(NodeMode::Static, RunPhase::Completed, 60, 10);
    let guard = fallen.guard.as_mut().unwrap();
    (guard.state, guard.says) = (GuardState::StaysStatic, Some("no DaemonSet".to_owned()));
    let fallen = told(node("a", &[false]), fallen);
    assert!(fallen.contains("stay: no DaemonSet") && fallen.contains("guard hand-over"), "{fallen}");
    // Written before the roll call was, and never again.
    let old = NodeEntry { run: "r".to_owned(), phase: RunPhase::Completed, ..NodeEntry::default() };
    let old = told(node("a", &[true]), old);
    assert!(old.contains("no guard has said anything"), "{old}");
}

#[test]
fn what_could_not_be_seen_or_read_is_said() {
    let roll_call = BTreeMap::from([
        ("a".to_owned(), Err("no JSON".to_owned())),
        ("gone".to_owned(), Ok(NodeEntry::default())),
    ]);
    let nodes = vec![NodeFacts { name: "a".to_owned(), ready: true, pods: None }];
    let unseen = vec!["list the pods of node a: no answer".to_owned()];
    let seen = judge(&OverviewFacts { now: now(), nodes, lock: None, roll_call, unseen });
    assert_eq!(seen.nodes[0].is, Is::Unknown);
    assert!(seen.nodes[0].attention[0].contains("no JSON"), "{seen:?}");
    assert_eq!(seen.unseen.len(), 2, "{:?}", seen.unseen);
    assert!(seen.unseen[1].contains("node gone"), "{:?}", seen.unseen);
}

#[test]
fn ages_are_read_at_a_glance() {
    let ages = [5, 119, 120, 7199, 7200, 172_799, 172_800].map(|seconds| Age(seconds).to_string());
    assert_eq!(ages, ["5 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 d"]);
}
