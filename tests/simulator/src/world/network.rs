//! What gets from one machine to another: clients to API servers, directly or through the balancer, and the
//! members of etcd to each other.
//!
//! The balancer gives each new connection to the next node whose API server is ready. (A real one learns late
//! that a server is gone, and gives its connection to another one.)

use super::{Node, Now, World};
use crate::etcd::{self, Member};
use fulcrum_steps::host::{Answer, Process, Question};
use serde_json::Value;
use std::net::SocketAddr;

/// The way of a client's requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller {
    /// The number of the node where the client runs. `None`: on no node.
    pub(crate) on: Option<usize>,
    pub(crate) target: Target,
    /// The port of the API servers meant. An address has its own.
    pub(crate) port: u16,
}

/// Where a client sends its requests.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// To the API servers of the node with this number.
    Node(usize),
    /// To any ready API server.
    Balancer,
    /// To whatever process listens there, an API server or a member of etcd.
    Address(SocketAddr),
}

impl World {
    /// Makes this caller's next connection. Returns the process that gets it, and that one's node.
    pub(crate) fn connect(&mut self, caller: Caller) -> Option<(usize, u32)> {
        let fits = |number: &usize| match caller.target {
            Target::Node(target) => *number == target,
            Target::Balancer => self.nodes[*number].api_up(),
            Target::Address(address) => self.owner(caller.on, address) == Some(*number),
        };
        let reached: Vec<usize> =
            (0..self.nodes.len()).filter(fits).filter(|number| self.reaches(caller, *number)).collect();
        let number = *reached.get(self.balanced % reached.len().max(1))?;
        self.balanced += usize::from(matches!(caller.target, Target::Balancer));
        let machine = &mut self.nodes[number].machine;
        let address = match caller.target {
            Target::Address(address) => address,
            _ => SocketAddr::new(machine.address, caller.port),
        };
        Some((number, machine.connect(address)?))
    }

    /// Whether the caller's packets get to this node.
    pub(crate) fn reaches(&self, caller: Caller, number: usize) -> bool {
        let is_balanced = matches!(caller.target, Target::Balancer);
        let is_cut_off = |number: usize| self.nodes[number].is_cut_off;
        match caller.on {
            Some(on) if on == number && !is_balanced => true,
            on => !is_cut_off(number) && !on.is_some_and(is_cut_off),
        }
    }

    /// The node that has this address, as seen from a node or from none.
    fn owner(&self, from: Option<usize>, address: SocketAddr) -> Option<usize> {
        let has = |number: &usize| self.nodes[*number].options.node_address == address.ip();
        // What no node has is this machine's own, or nobody's: loopback, and the addresses of services.
        (0..self.nodes.len()).find(has).or(from)
    }

    /// Cuts this node off from all other machines, or connects it again.
    pub(crate) fn cut_off(&mut self, number: usize, is_cut_off: bool, now: Now) {
        let what = if is_cut_off { "is cut off" } else { "is connected again" };
        let subject = self.subject("machine", number);
        self.log.add(now.at, subject, what);
        self.nodes[number].is_cut_off = is_cut_off;
        self.note_quorum();
    }

    pub(crate) fn is_cut_off(&self, number: usize) -> bool {
        self.nodes[number].is_cut_off
    }

    /// Tells each machine whether it is with the majority of etcd's members. One node is a majority, wherever
    /// it is. An etcd outside of the nodes has one, for those who reach it.
    pub(crate) fn note_quorum(&mut self) {
        let (all, outside) = (self.nodes.len(), self.options.etcd_outside);
        let takes_part = |node: &&Node| !node.is_cut_off && node.machine.runs_etcd();
        let part = self.nodes.iter().filter(takes_part).count();
        for node in &mut self.nodes {
            node.machine.has_quorum = all == 1 || !node.is_cut_off && (outside || part * 2 > all);
        }
    }

    /// Asks from a node, of its own machine or another one. Only the own kernel tells which process answered.
    pub(crate) fn ask(&mut self, from: usize, question: &Question) -> Result<Answer, String> {
        let (to, status, process) = self.who_answers(from, question)?;
        Ok(Answer { status, process: (to == from).then_some(process) })
    }

    /// Asks from a node. Returns the status, and which process of which node answered.
    pub(crate) fn who_answers(
        &mut self,
        from: usize,
        question: &Question,
    ) -> Result<(usize, u16, Process), String> {
        let Question { address, path, tls, mark } = question;
        let target = Target::Address(*address);
        let caller = Caller { on: Some(from), target, port: address.port() };
        let to = self.owner(Some(from), *address).filter(|to| self.reaches(caller, *to));
        let to = to.ok_or_else(|| format!("no answer from {address}"))?;
        let machine = &mut self.nodes[to].machine;
        let (status, process) = machine.ask_marked(*address, path, *tls, mark.filter(|_| to == from))?;
        Ok((to, status, process))
    }

    /// What the member of etcd on this node answers to this method and path: status and body.
    pub(crate) fn ask_etcd(&self, number: usize, asked: (&str, &str)) -> (u16, Value) {
        etcd::answer(&self.members(), number, self.alarm, asked)
    }

    fn members(&self) -> Vec<Member> {
        let member = |node: &Node| Member {
            name: node.options.node_name.clone(),
            address: node.options.node_address,
            has_leader: node.machine.has_quorum,
            version: node.machine.etcd_version(),
        };
        self.nodes.iter().map(member).collect()
    }
}
