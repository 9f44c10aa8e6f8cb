//! Leader election over leases, as client-go does it. A candidate honours a lease for its whole length,
//! counted from when *it* last saw it renewed. A leader that cannot renew ends.

use super::{Node, Now, World};
use crate::object::{Key, text};
use crate::process::{Life, Machine, Proc};
use crate::resource::Resource;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The candidates for each lease.
#[derive(Debug, Default)]
pub(super) struct Elections {
    candidates: BTreeMap<u32, Candidate>,
}

/// The memory of one process.
#[derive(Debug)]
struct Candidate {
    lease: String,
    identity: String,
    leads: bool,
    /// Holder and renewal as last seen, and when that was first seen.
    observed: (String, Duration),
    last_renewed: Duration,
    next_try: Duration,
}

impl Elections {
    /// When this process last looked at its lease, if candidates look at this pace.
    pub(super) fn looked_at(&self, pid: u32, pace: Duration) -> Option<Duration> {
        self.candidates.get(&pid).map(|candidate| candidate.next_try.saturating_sub(pace))
    }

    /// The leases that this node's processes lead by, each with the pid. A dying leader does no more work.
    fn leaders<'a>(&'a self, world: &'a World, machine: &'a Machine) -> impl Iterator<Item = (&'a str, u32)> {
        let works = move |pid: &u32| machine.procs.get(pid).is_some_and(|p| p.life == Life::Working);
        let holds = move |candidate: &Candidate| {
            let lease = world.store.get(&Key::new("leases", "kube-system", &candidate.lease));
            lease.is_some_and(|lease| text(lease, "/spec/holderIdentity") == candidate.identity)
        };
        // Most candidates do not lead. They are not looked up.
        let lead =
            move |(pid, candidate): &(&u32, &Candidate)| candidate.leads && works(pid) && holds(candidate);
        self.candidates.iter().filter(lead).map(|(pid, candidate)| (candidate.lease.as_str(), *pid))
    }
}

/// The pid of each lease's leader, on whichever node.
pub(super) fn leaders(world: &World) -> BTreeMap<String, u32> {
    let leaders = world.nodes.iter().flat_map(|node| node.elections.leaders(world, &node.machine));
    leaders.map(|(lease, pid)| (lease.to_owned(), pid)).collect()
}

/// Whether a process does this component's work right now: elected, or told not to elect. It works through
/// the API server of its own node.
pub(super) fn works(world: &World, component: &str) -> bool {
    world.nodes.iter().filter(|node| node.api_up()).any(|node| {
        let is_it = |p: &Proc| p.program.name == component;
        let unelected = |p: &Proc| is_it(p) && p.program.unelected && p.life == Life::Working;
        let elected = |pid: u32| node.machine.procs.get(&pid).is_some_and(is_it);
        node.elections.leaders(world, &node.machine).any(|(_, pid)| elected(pid))
            || node.machine.procs.values().any(unelected)
    })
}

/// Every candidate looks at its lease when its time comes. Another node's candidates are the first each time:
/// none is always in time for a lease that is given back.
pub(super) fn advance(world: &mut World, now: Now) {
    let (first, all) = (world.rounds % world.nodes.len(), world.nodes.len());
    for number in (first..all).chain(0..first) {
        advance_on(world, number, now);
    }
}

fn advance_on(world: &mut World, number: usize, now: Now) {
    let Node { machine, elections, options, .. } = &mut world.nodes[number];
    let lives = |pid: &u32| machine.procs.get(pid).is_some_and(|p| p.life == Life::Working);
    elections.candidates.retain(|pid, _| lives(pid));
    for proc in machine.procs.values().filter(|p| p.life == Life::Working) {
        let Some(lease) = &proc.program.lease else { continue };
        elections.candidates.entry(proc.pid).or_insert_with(|| Candidate {
            lease: lease.clone(),
            identity: format!("{}_{}", options.node_name, uuid::Uuid::now_v7()),
            leads: false,
            observed: (String::new(), now.at),
            last_renewed: now.at,
            next_try: now.at,
        });
    }
    let pids: Vec<u32> = elections.candidates.keys().copied().collect();
    let api_up = world.nodes[number].api_up();
    for pid in pids {
        let Some(mut candidate) = world.nodes[number].elections.candidates.remove(&pid) else { continue };
        if now.at >= candidate.next_try {
            candidate.next_try = now.at + world.options.pace.lease_retry;
            if api_up {
                candidate.look(world, now);
            }
        }
        if candidate.leads && now.at > candidate.last_renewed + world.options.pace.renew_deadline {
            let why = format!("{pid} could not renew in time and ends");
            world.log.add(now.at, format!("lease {}", candidate.lease), why);
            world.nodes[number].machine.kill(pid, 1);
            continue;
        }
        world.nodes[number].elections.candidates.insert(pid, candidate);
    }
}

impl Candidate {
    /// Renews the lease, takes it if it is free, or waits.
    fn look(&mut self, world: &mut World, now: Now) {
        let key = Key::new("leases", "kube-system", &self.lease);
        let Some(lease) = world.store.get(&key) else { return self.create(world, now) };
        let holder = text(lease, "/spec/holderIdentity").to_owned();
        if holder == self.identity {
            return self.write(world, &key, false, now);
        }
        self.leads = false;
        let record = format!("{holder} {}", text(lease, "/spec/renewTime"));
        if self.observed.0 != record {
            self.observed = (record, now.at);
        }
        if holder.is_empty() || now.at >= self.observed.1 + world.options.pace.lease {
            let from = if holder.is_empty() { "nobody".into() } else { holder };
            let what = format!("taken by {} from {from}", self.identity);
            world.log.add(now.at, format!("lease {}", self.lease), what);
            self.write(world, &key, true, now);
        }
    }

    fn create(&mut self, world: &mut World, now: Now) {
        let Some(leases) = Resource::named("leases") else { return };
        let mut lease = json!({"metadata": {"name": self.lease}, "spec": {}});
        self.fill(&mut lease, world.options.pace.lease, true, now);
        match world.store.create(leases, "kube-system", lease, now.wall) {
            Ok(_) => self.renewed(now),
            Err(failure) => world.log.add(now.at, format!("lease {}", self.lease), failure.message),
        }
    }

    fn write(&mut self, world: &mut World, key: &Key, taken: bool, now: Now) {
        let length = world.options.pace.lease;
        world.store.edit(key, |lease| self.fill(lease, length, taken, now));
        self.renewed(now);
    }

    fn renewed(&mut self, now: Now) {
        self.leads = true;
        self.last_renewed = now.at;
    }

    fn fill(&self, lease: &mut Value, length: Duration, taken: bool, now: Now) {
        // The field counts whole seconds. Candidates honour the pace's length.
        let seconds = length.as_secs().max(1);
        let micros = now.wall.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
        let spec = &mut lease["spec"];
        if taken {
            let before = spec["leaseTransitions"].as_i64();
            spec["leaseTransitions"] = json!(before.map_or(0, |n| n + 1));
            spec["acquireTime"] = json!(micros);
            spec["holderIdentity"] = json!(self.identity);
        }
        spec["leaseDurationSeconds"] = json!(seconds);
        spec["renewTime"] = json!(micros);
    }
}
