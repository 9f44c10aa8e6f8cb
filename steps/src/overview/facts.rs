//! What the cluster says, without a judgement.

use crate::cluster::Answer;
use crate::component::Component;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// What the cluster says of its control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverviewFacts {
    /// When it was asked.
    pub now: Timestamp,
    /// The control-plane nodes, by name.
    pub nodes: Vec<NodeFacts>,
    /// The lock, if a run holds it.
    pub lock: Option<LockFacts>,
    /// What each node has said of itself.
    pub roll_call: BTreeMap<String, Answer>,
    /// What could not be seen, and why.
    pub unseen: Vec<String>,
}

/// A control-plane node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// Whether the cluster counts it as Ready.
    pub ready: bool,
    /// Its pods of the three components. `None` if they could not be listed.
    pub pods: Option<Vec<PodFacts>>,
}

/// A pod of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodFacts {
    /// The component.
    pub component: Component,
    /// Whether a DaemonSet of fulcrum's has made it. If not, it is the mirror of a static pod.
    pub hosted: bool,
    /// Whether it is Ready, and not on its way out.
    pub ready: bool,
}

/// The lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockFacts {
    /// Who holds it: node and run.
    pub holder: String,
    /// Since when.
    pub since: Option<Timestamp>,
}
